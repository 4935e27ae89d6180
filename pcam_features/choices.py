"""What the command line offers, kept apart so that `--help` need not load what it is about."""

from enum import StrEnum

RESAMPLES = 2000  # draws of slides for an interval
FOLDS = 5


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Kind(StrEnum):
    """The layouts of sources."""

    kaggle = "kaggle"
    images = "images"
    synthetic = "synthetic"
