"""Options and arguments that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..constants import (
    LARGEST_ROWS,
    MOST_SEED,
    MOST_THREADS,
    Adapt,
    Device,
    Fitting,
    Kind,
    OneImageFitting,
    Shares,
)
from ..sources.reading import Reading, reading_of

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="Patches to read: Kaggle's folder or zip, PCam's HDF5 files, a folder of images, a CSV of "
        "image paths, Parquet files, WILDS' folder, or synthetic:PATCHES."
    ),
]
KindOption = Annotated[
    Kind | None, typer.Option(help="Layout of the source. Default: detected from the path.")
]
RESIZE_OR_CROP = (
    "How patches of another size are brought to 96x96 pixels. resize: resize the patch. crop: keep its "
    "center."
)
REFUSED = "Default: refuse patches of another size."
FitOption = Annotated[
    Fitting | None,
    typer.Option(
        help=f"{RESIZE_OR_CROP} tile: cut it into tiles and average the features over them. {REFUSED}"
    ),
]
CheckFitOption = Annotated[
    Fitting | None,
    typer.Option(
        help=f"{RESIZE_OR_CROP} tile: check the whole patch, resized; only extract cuts it into tiles. "
        f"{REFUSED}"
    ),
]
OneImageFitOption = Annotated[OneImageFitting | None, typer.Option(help=f"{RESIZE_OR_CROP} {REFUSED}")]
MppOption = Annotated[
    float | None,
    typer.Option(
        help="Micrometers per pixel of the patches. Needs --fit: patches are first scaled to PCam's "
        "0.972. Default: unknown, and patches are not scaled."
    ),
]
CopiesOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=LARGEST_ROWS - 1,
        help="Number of patches of the training split to compute a second time, changed as by another "
        "laboratory (stain, scanner, compression). They are kept as the split train~copies; fit learns "
        "from them too, and tells what a change of laboratory costs. Default: a third of the patches, "
        "at most 20,000, and none of fewer than 1,050; extract keeps the number that a store has.",
    ),
]
AdaptOption = Annotated[
    Adapt,
    typer.Option(
        help="For a new laboratory or scanner: bring each column's mean and deviation, over the whole "
        "split or over each slide, to those of the training patches. It needs 200 or more patches with "
        "a mix of classes like the training patches'; others are left as they are. Each prediction "
        "then depends on the other patches."
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(help="Device to compute on. auto uses a GPU if there is one, and prints the choice."),
]
ThreadsOption = Annotated[
    int, typer.Option(min=0, max=MOST_THREADS, help="Number of threads. 0 means one per core.")
]
SlidesOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE[:COLUMN]",
        help="CSV with the slide of each patch, in columns id and slide, wsi or COLUMN. none: ignore "
        "known slides. Default: slides.csv in the source's folder, or the slides in its layout.",
    ),
]
PatchSlidesOption = Annotated[
    str | None,
    typer.Option(
        "--slides",
        metavar="FILE[:COLUMN]",
        help="CSV that names the slide of each patch: columns id and slide, wsi or COLUMN. "
        "Default: the slides in the feature store.",
    ),
]
ModelArgument = Annotated[Path, typer.Argument(help="Model folder written by fit.")]
FoldsFromOption = Annotated[
    Path | None,
    typer.Option(
        help="Use the folds of this model folder, or of a CSV or Parquet file with columns id, fold "
        "and optionally group."
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|FILE.json|local[:WORKERS]",
        help="Dask cluster that computes: the scheduler's address, such as tcp://scheduler:8786, its "
        "scheduler file, or processes on this machine. Needs the extra cluster. Workers need the "
        "source and the result under the same paths; --threads is then the threads of each unit of "
        "work, by default one. Default: threads of this process.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SplitsOption = Annotated[
    str | None,
    typer.Option("--split", help="Names of the splits to use, comma-separated. Default: all."),
]
DryRunOption = Annotated[bool, typer.Option(help="Print what would be done, then stop.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace the existing result of an earlier run.")]


def complete_family(incomplete: str) -> list[str]:
    """Completions of the last name in a comma-separated list of families."""
    from ..families.registry import ALL, CNN, FAMILIES

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in (*FAMILIES, ALL, CNN) if name.startswith(last)]


FamiliesOption = Annotated[
    str | None,
    typer.Option(
        help="Families to compute, comma-separated. all: every handcrafted family. cnn: embeddings. "
        "[NAME=]FILE.parquet or FILE.npz: a table of ids and embeddings made elsewhere. Default: all.",
        autocompletion=complete_family,
    ),
]
SharesOption = Annotated[
    Shares,
    typer.Option(
        help="Shares of models in a combination with outside predictions. equal: the same for each. "
        "fitted: by logistic regression across folds; the most optimistic predictions then have the "
        "most."
    ),
]
VouchOption = Annotated[
    bool,
    typer.Option(
        "--vouch",
        help="State that predictions without a column fold are out of fold: each is of a model that "
        "had seen neither the patch nor its slide.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Random seed.")]


# What of a source is read; every command that reads patches has these, see `reads_patches`.
READING: dict[str, tuple[Any, Any]] = {
    "positive": (
        Annotated[str | None, typer.Option(metavar="CLASS", help="Name of the class that is tumor.")],
        None,
    ),
    "classes": (
        Annotated[
            str | None,
            typer.Option(
                metavar="CLASSES", help="Classes to read, comma-separated. Default: all of them."
            ),
        ],
        None,
    ),
    "exclude": (
        Annotated[
            str | None,
            typer.Option(
                metavar="NAMES",
                help="Classes or folders to leave out, or CSVs of ids, comma-separated.",
            ),
        ],
        None,
    ),
    "labeled_only": (
        Annotated[
            bool,
            typer.Option(
                "--labeled-only",
                help="Leave out patches without a label, and labels without a patch. Default: they "
                "are faults.",
            ),
        ],
        False,
    ),
    "label_column": (
        Annotated[
            str | None,
            typer.Option(metavar="COLUMN", help="Column of labels in a table. Default: by its name."),
        ],
        None,
    ),
    "id_column": (
        Annotated[
            str | None,
            typer.Option(metavar="COLUMN", help="Column of ids in a table. Default: by its name."),
        ],
        None,
    ),
    "path_column": (
        Annotated[
            str | None,
            typer.Option(
                metavar="COLUMN", help="Column of image files in a table. Default: by its name."
            ),
        ],
        None,
    ),
    "skip_unreadable": (
        Annotated[
            bool,
            typer.Option(
                "--skip-unreadable",
                help="Leave out patches that cannot be read, and report them. Every patch is read for "
                "it once more.",
            ),
        ],
        False,
    ),
}


Options = Mapping[str, tuple[Any, Any]]  # by name: the annotation, and the default


def with_options(
    command: Callable[..., None], name: str, options: Options, bundle: Callable[..., Any]
) -> Callable[..., None]:
    """A command with further options, of which `bundle` makes its parameter `name`."""
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for one, (kind, default) in options.items()
    ]
    own = list(signature.parameters.values())
    at = [parameter.name for parameter in own].index(name)
    whole = (*own[:at], *added, *own[at + 1 :])
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in whole]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        told = bundle(**{one: given.pop(one) for one in options})
        command(**given, **{name: told})

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return run


def reads_patches(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of READING, which it takes together as its parameter `reading`."""
    return with_options(command, "reading", READING, reading_of)


@dataclass(frozen=True)
class Prediction:
    """How `predict` and `submit` were asked for predictions: their options, by name."""

    split: str
    adapt: Adapt
    outside: list[str] | None
    slides: str | None
    kind: Kind | None
    reading: Reading
    fit: Fitting | None
    mpp: float | None
    encoder: str | None
    device: Device
    threads: int
    cluster: str | None


PREDICTION: Options = {
    "split": (Annotated[str, typer.Option(help="Split to predict.")], "test"),
    "adapt": (AdaptOption, Adapt.none),
    "outside": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--with",
                metavar="NAME=FILE[,FILE…]",
                help="For a model fitted with predictions of another model: the same model's "
                "predictions of these patches; several files are seeds, or folds, and averaged. "
                "Repeatable.",
            ),
        ],
        None,
    ),
    "slides": (SlidesOption, None),
    "kind": (KindOption, None),
    **READING,
    "fit": (FitOption, None),
    "mpp": (MppOption, None),
    "encoder": (
        Annotated[
            str | None,
            typer.Option(
                help="For a source, if the model takes embeddings of an ONNX file, a timm network or a "
                "network of deep fit: that encoder."
            ),
        ],
        None,
    ),
    "device": (DeviceOption, Device.auto),
    "threads": (ThreadsOption, 0),
    "cluster": (ClusterOption, None),
}


def predicts_patches(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of PREDICTION, which it takes together as its parameter `asked`."""

    def bundle(**given: Any) -> Prediction:
        reading = reading_of(**{name: given.pop(name) for name in READING})
        return Prediction(reading=reading, **given)

    return with_options(command, "asked", PREDICTION, bundle)


def cores(threads: int) -> int:
    import joblib

    return threads or joblib.cpu_count()
