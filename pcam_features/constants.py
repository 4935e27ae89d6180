"""What the command line offers, kept apart so that `--help` need not load what it is about."""

from enum import StrEnum

RESAMPLES = 2000  # draws of slides for an interval
SPECIFICITY = 0.95  # at which sensitivity is shown
FOLDS = 5
LEAST_FOLDS = 3  # one is scored by models of the others, which were chosen across two or more
MOST_FOLDS = 20


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Kind(StrEnum):
    """The layouts of sources."""

    kaggle = "kaggle"
    images = "images"
    manifest = "manifest"
    hdf5 = "hdf5"
    parquet = "parquet"
    wilds = "wilds"
    synthetic = "synthetic"


class Layout(StrEnum):
    """What `convert` writes."""

    hdf5 = "hdf5"
    folder = "folder"
    parquet = "parquet"


class Timed(StrEnum):
    """What `bench` times."""

    families = "families"
    reading = "reading"


class Published(StrEnum):
    """What can be fetched."""

    pcam = "pcam"
    kaggle = "kaggle"


class Network(StrEnum):
    """The reference networks; beside them, `TIMM` and a name are a network of timm's."""

    cnn_one = "cnn_one"
    cnn_two = "cnn_two"
    cnn_three = "cnn_three"
    cnn_four = "cnn_four"
    residual = "residual"


TIMM = "timm:"

LARGEST_ROWS = 1 << 24  # seventy times the competition
ENCODERS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
)  # the first is the default
