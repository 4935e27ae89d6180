"""Opening a source: what kind it is, told from its path."""

from __future__ import annotations

from pathlib import Path

from ..choices import Kind
from ..errors import InputError
from . import image_folder, kaggle, synthetic
from .slides import BESIDE, read_slides
from .source import Source


def check_folder(path: str) -> Path:
    folder = Path(path)
    if not path or not folder.exists():
        raise InputError(f"there is no folder {path!r}; give the one that holds the patches.")
    if not folder.is_dir():
        raise InputError(f"{path} is not a folder; give the folder that holds the patches.")
    return folder


def detect(path: str) -> Kind:
    """Raises InputError if there is no such folder, or it is of no known kind."""
    if path.startswith(f"{Kind.synthetic}:"):
        return Kind.synthetic
    folder = check_folder(path)
    if kaggle.recognize(folder):
        return Kind.kaggle
    inside = [f for f in sorted(folder.iterdir()) if f.is_dir() and kaggle.recognize(f)]
    if inside:
        raise InputError(f"{path} holds Kaggle's folder, but is not it; give {inside[0]}.")
    if image_folder.recognize(folder):
        return Kind.images
    raise InputError(
        f"{path} is of no known kind: it is neither Kaggle's folder (train/*.tif, test/*.tif, "
        f"{kaggle.LABELS}) nor a folder of images (<split>/<class>/* or <class>/*)."
    )


def open_source(
    path: str,
    *,
    kind: Kind | None = None,
    slides: str | None = None,
    positive: str | None = None,
) -> tuple[Source, str]:
    """The source at `path`, and a sentence on where its slides come from.

    `slides` is FILE or FILE:COLUMN; without it, a `slides.csv` in the folder is used,
    and with `none` none is.
    Raises InputError for anything that is not as it should be.
    """
    kind = kind or detect(path)
    if kind == Kind.synthetic:
        source = synthetic.open_source(path)
    elif kind == Kind.kaggle:
        source = kaggle.open_source(check_folder(path))
    else:
        source = image_folder.open_source(check_folder(path), positive=positive)
    if not any(len(split) for split in source.splits.values()):
        raise InputError(f"{path} holds no patches that read as kind {kind}.")
    if slides == "none":
        slides = None
    elif slides is None and kind != Kind.synthetic and (Path(path) / BESIDE).is_file():
        slides = str(Path(path) / BESIDE)
    if slides is not None:
        source = source.with_slides(read_slides(slides), slides)
    known = sum(slide is not None for split in source.splits.values() for slide in split.slides)
    total = sum(len(split) for split in source.splits.values())
    origin = f" from {slides}" if slides else ""
    return source, f"slides: known for {known:,} of {total:,} patches{origin}"
