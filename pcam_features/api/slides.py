"""Maps of slides: where on a slide a model sees tumor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from ..constants import STRIDE, THRESHOLD, Adapt, Device, Layout
from ..convert.convert import KEY, MARK, WHAT
from ..encoders.options import names_in
from ..errors import InputError
from ..execution.cluster import check_cluster, connected
from ..extraction.transformer import device_of, kernels_to_compile
from ..learn.predict import families_read, other_fit
from ..slides import scoring
from ..slides.mapping import MapOptions, MapRecord, write_map
from ..slides.patches import CutPatches, PatchOptions, find_patches, write_patches
from ..slides.predictor import Predictor
from ..slides.reading import open_slide
from ..slides.scoring import SlideScores
from ..storage.folders import check_free
from .arguments import (
    check_flags,
    check_log,
    check_numbers,
    check_path,
    check_progress,
    check_scale,
    check_text,
    check_texts,
)
from .data import Log, unheard
from .messages import for_python
from .model import Model, open_model
from .predicting import families_of
from .progress import Advance, Progress, shown
from .slide_cluster import ready_crew


@dataclass(frozen=True)
class SlideMap:
    """A map of a slide; `map_slide` returns it.

    Parameters
    ----------
    path
        Its folder.
    record
        What it says of the slide, and how it was made.
    """

    path: Path
    record: MapRecord

    @property
    def centers(self) -> pd.DataFrame:
        """A row for each center: x, y of its middle in level 0, row and column, probability."""
        return pd.read_parquet(self.path / "map.parquet")

    @property
    def score(self) -> float:
        """The slide's score: the maximum of the map after averaging over 3×3 centers."""
        return self.record.score

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `pcam slide map --json` prints."""
        return self.record.to_dict()

    def __repr__(self) -> str:
        return f"<pcam map {self.path}: {self.record.sentence()}>"


@for_python
def map_slide(
    slide: str | Path,
    model: Model | str | Path,
    out: str | Path,
    *,
    mpp: float | None = None,
    mask: str | Path | None = None,
    stride: int = STRIDE,
    threshold: float = THRESHOLD,
    encoder: str | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    cluster: Any = None,
    overwrite: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> SlideMap:
    """Map where on a slide a model sees tumor.

    The 96×96 patches whose centers tile the tissue are predicted as `Model.predict_split` predicts a
    source. The slide is never in memory as a whole. If the call is stopped, call it again to continue.

    Parameters
    ----------
    slide
        A slide in a format of OpenSlide (extra `slides`), or a TIFF, PNG or JPEG file.
    model
        The model, or its folder.
    out
        The folder to create: `map.tif`, `map.parquet`, `overlay.png`, `regions.geojson`, `slide.html`
        and `map.json`.
    mpp
        Micrometers per pixel of the slide. Default: as its file tells.
    mask
        A picture of the whole slide that is black where there is no tissue. Default: tissue is found by
        color.
    stride
        Distance of neighboring patches in pixels at PCam's scale. With 32, each center is scored once.
    threshold
        The least probability of a region.
    encoder
        For a model that takes embeddings of an ONNX file, a timm network or a network of
        `fit_network`: the encoder.
    device
        Where features are computed: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core. With a cluster, those of each unit of work; 0 is one.
    cluster
        A Dask cluster that predicts (extra `cluster`): a `distributed.Client`, an address such as
        "tcp://scheduler:8786", a scheduler's file, or "local:4". The map has the same bytes.
    overwrite
        Whether an earlier map in `out` may be replaced.
    progress
        See `features`.
    log
        Called with sentences on what the map is; `print` prints them.

    Returns
    -------
    SlideMap
        The map.

    Raises
    ------
    InputError
        If the slide cannot be read, shows no tissue, or does not tell its scale; if `out` exists.
    """
    check_path("slide", slide, "the file of a slide")
    check_path("out", out, "the folder to create")
    if mask is not None:
        check_path("mask", mask, "a picture")
    check_flags(overwrite=overwrite)
    check_numbers(threads=threads, stride=stride, threshold=threshold)
    check_scale(mpp)
    check_text(encoder=encoder)
    check_progress(progress)
    check_log(log)
    if cluster is not None:
        check_cluster(cluster)
    options = MapOptions(stride, threshold, None if mask is None else Path(mask))
    opened = model if isinstance(model, Model) else open_model(model)
    predictor = predictor_of(opened, encoder, device_of(device), threads or joblib.cpu_count())
    if scale := other_fit(opened.bundle, None):
        log(f"warning: {scale}")
    with open_slide(slide, mpp) as read, ExitStack() as stack:
        crew = None
        if cluster is not None:
            each = threads or 1
            executor = stack.enter_context(connected(cluster, each))
            crew = ready_crew(executor, read, opened.path, stride, encoder, Device(device), each)
        record = write_map(
            read,
            predictor,
            Path(out),
            options,
            overwrite=overwrite,
            display=display_of_centers(progress, predictor),
            crew=crew,
        )
    if record.unreadable or record.overview_unreadable:
        log(
            f"warning: {record.unreadable:,} of {record.centers:,} centers and "
            f"{record.overview_unreadable:.1%} of the overview could not be read and are left out"
        )
    return SlideMap(Path(out), record)


@for_python
def cut_slides(
    slides: str | Path,
    out: str | Path,
    annotations: str | Path,
    *,
    to: Layout | str = "parquet",
    mpp: float | None = None,
    stride: int = STRIDE,
    balanced: bool = True,
    most: int | None = None,
    test: float = 0.0,
    unannotated: bool = False,
    tumor: str | Sequence[str] | None = None,
    hard: Model | str | Path | Sequence[Model | str | Path] | None = None,
    encoder: str | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> CutPatches:
    """Cut labeled patches like PCam's from slides with outlines of tumor.

    A patch is labeled tumor if an outline reaches its center 32×32. The folder is a source that all
    functions read, with the slide of each patch; `positions.csv` in it says where patches are.

    Parameters
    ----------
    slides
        A slide, or a folder of slides.
    out
        The folder to create.
    annotations
        A folder with a GeoJSON file (QuPath) or XML file (ASAP) of each slide's name; or one file.
    to
        The layout to write: "parquet", "hdf5" or "folder".
    mpp
        Micrometers per pixel of all slides. Default: as each file tells.
    stride
        Distance of neighboring patches in pixels at PCam's scale.
    balanced
        Whether a slide gives as many normal patches as tumor patches. Otherwise all are taken.
    most
        The most patches of one slide.
    test
        The share of slides that go to the split `test`; no slide is in two splits.
    unannotated
        Whether slides without a file of annotations have no tumor. Otherwise they are refused.
    tumor
        The names of the classes that are tumor. Default: by their names.
    hard
        A model, or several, for a round of hard negatives: half of the normal patches are those that
        look most like tumor to any of them. Slides of the split `test` are not concerned.
    encoder
        For models that take embeddings of an ONNX file, a timm network or a network of
        `fit_network`: the encoder.
    device
        Where features for the models are computed: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    seed
        Seed of the draw of patches and splits.
    overwrite
        Whether an earlier result in `out` may be replaced.
    progress
        See `features`.
    log
        Called with sentences on what was left out; `print` prints them.

    Returns
    -------
    CutPatches
        The folder, and what each slide gave.

    Raises
    ------
    InputError
        If a slide or its annotations cannot be read, or `hard` has nothing to choose.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> from pcam_features.slides.synthesize import synthesize_slide
    >>> made = synthesize_slide(Path("slide.tif"), 700, 600, nests=1)
    >>> cut = pcam.cut_slides("slide.tif", "patches", "slide.geojson")
    >>> source = pcam.open_source("patches")
    >>> len(source) == cut.parts[0].tumor + cut.parts[0].normal
    True
    """
    for name, value, what in (
        ("slides", slides, "a slide or a folder of slides"),
        ("out", out, "the folder to create"),
        ("annotations", annotations, "a folder of annotations"),
    ):
        check_path(name, value, what)
    check_flags(balanced=balanced, unannotated=unannotated, overwrite=overwrite)
    check_numbers(threads=threads, stride=stride, seed=seed, most=most, test=test)
    check_scale(mpp)
    check_texts(tumor=tumor)
    check_text(encoder=encoder)
    check_progress(progress)
    check_log(log)
    check_free(Path(out), overwrite=overwrite, what=WHAT, mark=MARK, key=KEY)
    judges = judges_of(hard)
    if judges and not balanced and most is None:
        raise InputError(
            "a model chooses among normal patches, and --complete takes all of them; leave out --hard "
            "or --complete, or give --most."
        )
    workers = threads or joblib.cpu_count()
    on = device_of(device)
    models = [predictor_of(one, encoder, on, workers) for one in judges]
    options = PatchOptions(
        mpp, stride, balanced, most, test, unannotated, tuple(names_in(tumor) or ()), seed
    )
    found = find_patches(
        Path(slides),
        Path(annotations),
        options,
        workers,
        models,
        lambda total: shown(progress, "hard patches", total, "predictions"),
    )
    with shown(progress, "slide patches", found.count, "patches") as advance:
        made = write_patches(
            found,
            Path(out),
            layout_named(to),
            workers,
            overwrite=overwrite,
            progress=advance,
        )
    for sentence in made.notes:
        log(sentence)
    return made


@for_python
def score_maps(
    maps: str | Path,
    annotations: str | Path,
    *,
    unannotated: bool = False,
    tumor: str | Sequence[str] | None = None,
    seed: int = 0,
) -> SlideScores:
    """Score maps against outlines of tumor: AUC of slides, and FROC as Camelyon16 defines it.

    Parameters
    ----------
    maps
        A map, or a folder of maps.
    annotations
        A folder with a GeoJSON file (QuPath) or XML file (ASAP) of each slide's name.
    unannotated
        Whether slides without a file of annotations have no tumor. Otherwise they are refused.
    tumor
        The names of the classes that are tumor. Default: by their names.
    seed
        Seed of the resampling of slides for intervals.

    Returns
    -------
    SlideScores
        The scores, with intervals across slides.

    Raises
    ------
    InputError
        If there is no map, or a slide has no annotations.
    """
    check_path("maps", maps, "a map or a folder of maps")
    check_path("annotations", annotations, "a folder of annotations")
    check_flags(unannotated=unannotated)
    check_numbers(seed=seed)
    check_texts(tumor=tumor)
    return scoring.score_maps(
        Path(maps),
        Path(annotations),
        unannotated=unannotated,
        tumor=names_in(tumor) or (),
        seed=seed,
    )


def layout_named(name: Layout | str) -> Layout:
    """The layout of this name. Raises InputError if there is none."""
    try:
        return Layout(name)
    except ValueError:
        raise InputError(f"there is no layout {name!r}; choose from: {', '.join(Layout)}.") from None


def judges_of(hard: Model | str | Path | Sequence[Model | str | Path] | None) -> list[Model]:
    """The models that choose hard patches. Raises InputError if one cannot be opened."""
    if hard is None:
        return []
    given = list(hard) if isinstance(hard, Sequence) and not isinstance(hard, str) else [hard]
    return [one if isinstance(one, Model) else open_model(one) for one in given]


def predictor_of(model: Model, encoder: str | None, device: Device, threads: int) -> Predictor:
    """What predicts patches by a model. Raises InputError if a family cannot be computed here."""
    bundle = model.bundle
    return Predictor(
        path=model.path,
        bundle=bundle,
        needed=families_of(bundle, families_read(bundle, Adapt.none), encoder),
        families=families_of(bundle, bundle.families, encoder),
        threads=threads,
        device=device,
    )


def display_of_centers(
    progress: Progress, predictor: Predictor
) -> Callable[[int], AbstractContextManager[Advance]]:
    """A display of progress for so many centers."""
    compiling = kernels_to_compile(predictor.needed, predictor.device)
    title = f"compiling {compiling} kernels, once; slide map" if compiling else "slide map"
    return lambda total: shown(progress, title, total, "centers")
