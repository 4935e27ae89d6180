"""Opens encoders by name, and embeds patches with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..constants import ENCODERS, TIMM
from ..errors import InputError
from ..execution.executor import Threads
from ..extras import check_installed
from ..networks.lite_weights import PUBLISHED
from .embedding import VIEWS, Embedding, check_size
from .options import ONNX, EncoderOptions, check_choices, names_folder, names_in
from .pooling import FIRST, POOLS
from .runtimes import F32, RUNTIMES

ENCODER = ENCODERS[0]
PRECISIONS = (F32, "bf16")
HEAD_ONLY = EncoderOptions(ENCODER, 96, depths=("head",), pools=("mean",), views=1)


def open_encoder(
    encoder: str | None = None,
    *,
    size: int | None = None,
    depths: str | Sequence[str] | None = None,
    pools: str | Sequence[str] | None = None,
    views: int | None = None,
    precision: str | None = None,
    runtime: str | None = None,
    output: str | None = None,
) -> Embedding:
    """Open an encoder.

    Parameters
    ----------
    encoder, size, depths, pools, views, precision, runtime, output
        See `EncoderOptions`; None uses the encoder's default. Depths and pools may be comma-separated.

    Returns
    -------
    Embedding
        The encoder as a family of features.

    Raises
    ------
    InputError
        If the encoder cannot be used, or does not have an option's value.

    Examples
    --------
    >>> open_encoder("efficientnet_lite0", depths=["head"], views=1).name
    'efficientnet_lite0_96px'
    """
    options = EncoderOptions(
        encoder,
        size,
        names_in(depths),
        names_in(pools),
        views,
        precision,
        runtime,
        output,
    )
    return open_with(options)


def open_with(options: EncoderOptions) -> Embedding:
    """Open the encoder that `options` name.

    Parameters
    ----------
    options
        The encoder and its settings.

    Returns
    -------
    Embedding
        The encoder as a family of features.

    Raises
    ------
    InputError
        If the encoder cannot be used, or does not have an option's value.

    Examples
    --------
    >>> len(open_with(HEAD_ONLY).columns)
    1280
    """
    return replace(_opened(_checked(options)), given=options)


def _checked(options: EncoderOptions) -> EncoderOptions:
    """The options, if their values are valid for encoders in general. Raises InputError."""
    encoder = options.encoder or ENCODER
    if options.views not in (None, *VIEWS):
        raise InputError(f"the number of views must be 1, 4 or 8, not {options.views}.")
    if options.size is not None:
        check_size(options.size, "an encoder's size")
    if options.precision is not None:
        check_choices([options.precision], PRECISIONS, "precision")
    if options.pools is not None:
        known = [*POOLS, FIRST] if encoder.endswith(ONNX) else list(POOLS)
        options = replace(options, pools=check_choices(options.pools, known, "pool"))
    if options.output is not None and not encoder.endswith(ONNX):
        raise InputError(f"{encoder} has one output; leave out --encoder-output.")
    if options.runtime is not None:
        check_choices([options.runtime], list(RUNTIMES), "runtime")
    return options


def _opened(options: EncoderOptions) -> Embedding:
    encoder = options.encoder or ENCODER
    check_installed("onnx", "an embedding")
    if encoder in PUBLISHED:
        from . import efficientnet_lite

        return efficientnet_lite.open_encoder(encoder, options)
    if encoder.endswith(ONNX):
        from .onnx_file import open_file

        return open_file(encoder, options)
    if encoder.startswith(TIMM):
        from .timm_models import open_model

        return open_model(encoder.removeprefix(TIMM), options)
    if names_folder(encoder):
        from .trained_network import open_network

        return open_network(encoder, options)
    published = ", ".join(PUBLISHED)
    raise InputError(
        f"there is no encoder {encoder!r}; use one of {published}, an ONNX file, "
        "timm:NAME[:WEIGHTS], or the folder of a network that pcam deep fit trained."
    )


def embed(batch: np.ndarray, options: EncoderOptions = HEAD_ONLY, *, threads: int = 0) -> np.ndarray:
    """Embed patches of any size.

    Parameters
    ----------
    batch
        uint8 (N, height, width, 3), RGB.
    options
        The encoder and its settings. Default: the mean of the last feature maps of EfficientNet-Lite0
        at 96 pixels, in one orientation.
    threads
        Number of threads; 0 uses one for each core.

    Returns
    -------
    numpy.ndarray
        float32 (N, columns). Columns are ordered by depth, then pool, then channel.

    Raises
    ------
    InputError
        If `batch` is not such patches, or the encoder cannot be used.

    Examples
    --------
    >>> embed(np.zeros((2, 50, 50, 3), np.uint8)).shape
    (2, 1280)
    """
    import joblib

    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3 or not batch.size:
        raise InputError(
            f"patches must be uint8 (N, height, width, 3), not {batch.dtype} {tuple(batch.shape)}."
        )
    encoder = open_with(options)
    if encoder.facts.views > 1 and batch.shape[1] != batch.shape[2]:
        raise InputError(
            f"several views need square patches; these are {tuple(batch.shape[1:3])}; use views=1."
        )
    threads = threads or joblib.cpu_count()
    measure = encoder.measurer(batch.shape[1:3], threads)
    starts = range(0, len(batch), encoder.chunk)
    parts = Threads(threads).map(lambda start: measure(batch[start : start + encoder.chunk]), starts)
    return np.concatenate(list(parts))
