"""Features and embeddings of images as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..constants import Device
from ..encoders.options import EncoderOptions, names_in
from ..errors import InputError
from ..extraction.images import Images, images_of
from ..extraction.selection import Families, families_named
from ..extraction.transformer import device_of, kernels_to_compile, measure
from ..families.family import FeatureFamily
from ..sources.images import SUFFIXES
from ..sources.source import Source, Split
from ..words import counted
from .arguments import (
    check_families,
    check_numbers,
    check_path,
    check_progress,
    check_scale,
    check_text,
    check_texts,
)
from .data import open_source
from .messages import for_python
from .progress import Progress, shown


@for_python
def features(
    images: Any,
    *,
    split: str | None = None,
    families: Families = None,
    fit: str | None = None,
    mpp: float | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    progress: Progress = "bar",
) -> pd.DataFrame:
    """Compute features of images.

    The features of an image do not depend on the other images. Several threads may call this function
    at once. The first use on a machine compiles kernels, which takes about a minute.

    Parameters
    ----------
    images
        An array, uint8 (n, 96, 96, 3) or (96, 96, 3), RGB; PIL images or paths of image files in a
        sequence, or one of them; or a source: one that `open_source` opened, or its path.
    split
        For a source: the splits to compute, comma-separated. Default: all.
    families
        Names of families, comma-separated or in a list. "all" is every hand-crafted family and the
        default; "cnn" is embeddings.
    fit
        How images of another size are brought to 96×96 pixels: "resize", "crop" or "tile".
    mpp
        Micrometers per pixel of the images, so that they are brought to PCam's scale of 0.972.
    device
        Where kernels run: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    progress
        "bar" shows a bar in a terminal or a notebook. None shows nothing. A function is called with the
        number of images done, and with 0 when measuring begins.

    Returns
    -------
    pandas.DataFrame
        float32 (n, columns). The index is the ids of a source, the index of a pandas Series, or the
        position of an image.

    Raises
    ------
    InputError
        For images that are not patches, and families or devices that cannot be used.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> table = pcam.features("synthetic:40", split="test", families=["color", "nuclei"])
    >>> table.shape, table.index[0]
    ((10, 558), 'test_0000000')
    """
    check_families(families)
    choice = Choice(split, fit, mpp)
    return table_of(
        images,
        families_named(families),
        choice,
        device=device,
        threads=threads,
        progress=progress,
    )


@for_python
def embeddings(
    images: Any,
    encoder: str | None = None,
    *,
    split: str | None = None,
    size: int | None = None,
    depths: str | Sequence[str] | None = None,
    pools: str | Sequence[str] | None = None,
    views: int | None = None,
    precision: str | None = None,
    runtime: str | None = None,
    output: str | None = None,
    fit: str | None = None,
    mpp: float | None = None,
    threads: int = 0,
    progress: Progress = "bar",
) -> pd.DataFrame:
    """Embed images with a neural network trained on photographs.

    Parameters
    ----------
    images, split, fit, mpp, threads, progress
        See `features`.
    encoder
        "efficientnet_lite0" (default), "efficientnet_lite1", "efficientnet_lite2", the path of an ONNX
        file, "timm:NAME[:WEIGHTS]", or the folder of a network that `fit_network` trained, which knows
        the labels of the patches that it has learned from.
    size
        Side of the network's input in pixels. Default: 96.
    depths
        Where the network is read: "block00" … and "head". Default: block02 to block10.
    pools
        How its feature maps are pooled: "mean", "center", "deviation" and "maximum". Default: mean and
        deviation.
    views
        Orientations that the embedding is averaged over: 1, 4 (default) or 8.
    precision
        "f32" (default) or "bf16".
    runtime
        "openvino" (default), "onnxruntime" or "cuda".
    output
        The output of an ONNX file that has several.

    Returns
    -------
    pandas.DataFrame
        float32 (n, columns), indexed as `features` is.

    Raises
    ------
    InputError
        For images that are not patches, and an encoder that cannot be used.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> pcam.embeddings("synthetic:40", split="test", depths="head", pools="mean").shape
    (10, 1280)
    """
    check_text(encoder=encoder, precision=precision, runtime=runtime, output=output)
    check_texts(depths=depths, pools=pools)
    options = EncoderOptions(
        encoder, size, names_in(depths), names_in(pools), views, precision, runtime, output
    )
    choice = Choice(split, fit, mpp)
    network = families_named("cnn", options)
    return table_of(images, network, choice, device=Device.cpu, threads=threads, progress=progress)


@dataclass(frozen=True)
class Choice:
    """Which patches of a source, and how images of another size are brought to 96×96 pixels."""

    split: str | None
    fit: str | None
    mpp: float | None


def table_of(
    images: Any,
    families: Sequence[FeatureFamily],
    choice: Choice,
    *,
    device: Device | str,
    threads: int,
    progress: Progress,
) -> pd.DataFrame:
    """Measure families of images; see `features`."""
    check_numbers(threads=threads)
    check_scale(choice.mpp)
    check_text(split=choice.split)
    if isinstance(images, str | Path):
        check_path("images", images, "images, their paths or a source")
    check_progress(progress)
    parts = patches_in(images, choice)
    total = sum(len(patches) for patches, _ in parts)
    where = device_of(device)
    compiling = kernels_to_compile(families, where)
    title = f"compiling {counted(compiling, 'kernel')}, once; features" if compiling else "features"
    tables = []
    with shown(progress, title, total, "images") as advance:
        for patches, index in parts:
            values, columns = measure(
                patches, families, threads=threads, device=where, progress=advance
            )
            tables.append(pd.DataFrame(values, index=index, columns=pd.Index(columns)))
    return tables[0] if len(tables) == 1 else pd.concat(tables)


def patches_in(images: Any, choice: Choice) -> list[tuple[Images, pd.Index]]:
    """The patches in what a caller gave as images, with the index of their rows."""
    if is_source_path(images):
        images = open_source(images, fit=choice.fit, mpp=choice.mpp)
    elif isinstance(images, Source) and (choice.fit, choice.mpp) != (None, None):
        raise InputError("a source is brought to 96 pixels when it is opened; use open_source(fit=…).")
    if isinstance(images, Source):
        return [(part, pd.Index(part.ids, name="id")) for part in images.only(choice.split)]
    if choice.split is not None:
        raise InputError("split= is for a source; images without a source have no splits.")
    if isinstance(images, Split):
        return [(images, pd.Index(images.ids, name="id"))]
    patches = images_of(images, choice.fit, choice.mpp)
    index = images.index if isinstance(images, pd.Series) else pd.RangeIndex(len(patches))
    return [(patches, index)]


def is_source_path(images: Any) -> bool:
    """Whether this is the path of a source rather than of an image file."""
    return isinstance(images, str | Path) and Path(images).suffix.lower() not in SUFFIXES
