"""Names and defaults of the command line, in one small module so that `--help` loads nothing else."""

from enum import StrEnum

RESAMPLES = 2000  # bootstrap resamples of slides for a confidence interval
TOO_GOOD = 0.999  # an AUC above it is rare on tissue, and nearly always means a leak
SPECIFICITY = 0.95  # sensitivity is reported at this specificity
TRAIN = "train"  # the split to train on, where nothing else is said
FOLDS = 5
LEAST_FOLDS = 3  # a fold is scored by models that were selected across the two or more other folds
MOST_FOLDS = 20

# The least and the most that numbers may be, on the command line and in Python.
LEAST_MARGIN, MOST_MARGIN = 1e-6, 0.5  # of non-inferiority
LEAST_MEMORY, MOST_MEMORY = 0.1, 1e6  # GiB of a process
LEAST_RESAMPLES, MOST_RESAMPLES = 100, 1_000_000
MOST_ROUNDS = 10_000  # of boosting
MOST_SEED = 2**31 - 1
MOST_BATCH, MOST_EPOCHS = 4096, 1000  # of a network's training
LEAST_RATE, MOST_RATE = 1e-7, 10.0
EPOCHS, PATIENCE, BATCH = 12, 5, 64
MOST_THREADS = 1024
LEAST_STRIDE, STRIDE, MOST_STRIDE = 4, 32, 1024  # of a map's patches; with 32, centers touch
LEAST_THRESHOLD, THRESHOLD, MOST_THRESHOLD = 1e-6, 0.5, 1 - 1e-6  # of a region's probability
LARGEST_TEST = 0.9  # share of slides in the split for testing
MOST_TRIALS = 10_000  # of the search for settings


class Device(StrEnum):
    """Devices that features are computed on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Kind(StrEnum):
    """Layouts of patches that pcam reads."""

    kaggle = "kaggle"
    images = "images"
    manifest = "manifest"
    hdf5 = "hdf5"
    parquet = "parquet"
    arrays = "arrays"
    webdataset = "webdataset"
    wilds = "wilds"
    synthetic = "synthetic"


class Adapt(StrEnum):
    """Whose moments columns are standardized by before a model predicts."""

    none = "none"
    whole = "split"  # a member called `split` would hide the method of text
    slide = "slide"


class Shares(StrEnum):
    """How the shares of models in a combination with other models' predictions are chosen."""

    equal = "equal"
    fitted = "fitted"


class Fitting(StrEnum):
    """How patches of other sizes are brought to 96×96 pixels."""

    resize = "resize"
    crop = "crop"
    tile = "tile"


class OneImageFitting(StrEnum):
    """The ways of `Fitting` that make one 96×96 image of each patch, not several tiles."""

    resize = "resize"
    crop = "crop"


class Layout(StrEnum):
    """Layouts that `pcam convert` writes."""

    hdf5 = "hdf5"
    folder = "folder"
    parquet = "parquet"


class Timed(StrEnum):
    """Stages that `pcam bench` times."""

    families = "families"
    reading = "reading"


class PublishedDataset(StrEnum):
    """Datasets that `pcam fetch` downloads."""

    pcam = "pcam"
    kaggle = "kaggle"


class Network(StrEnum):
    """The built-in reference networks. `TIMM` followed by a name selects a network of timm."""

    cnn_one = "cnn_one"
    cnn_two = "cnn_two"
    cnn_three = "cnn_three"
    cnn_four = "cnn_four"
    residual = "residual"
    efficientnet_lite0 = "efficientnet_lite0"
    efficientnet_lite1 = "efficientnet_lite1"
    efficientnet_lite2 = "efficientnet_lite2"
    p4m_densenet = "p4m_densenet"


TIMM = "timm:"

LARGEST_ROWS = 1 << 24  # the most patches in one split: over seventy times Kaggle's training set
ENCODERS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
)  # the first is the default
