"""From the name of an encoder to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..constants import ENCODERS, TIMM
from ..errors import InputError
from . import efficientnet_lite
from .embedding import VIEWS, Embedding, Settings, check_choices, check_size
from .pooling import POOLS
from .runtimes import RUNTIMES

ENCODER = ENCODERS[0]
PRECISIONS = ("f32", "bf16")
ONNX = ".onnx"


def open_encoder(
    encoder: str = ENCODER,
    *,
    size: int | None = None,
    depths: Sequence[str] | None = None,
    pools: Sequence[str] | None = None,
    views: int | None = None,
    precision: str = "f32",
    runtime: str | None = None,
) -> Embedding:
    """An encoder with its settings; None is the encoder's own default.

    Raises InputError for an encoder that cannot be used, or a setting that it does not have.
    """
    if views not in (None, *VIEWS):
        raise InputError(f"an embedding is of 1, 4 or 8 views, not {views}.")
    if size is not None:
        check_size(size, "an encoder's size")
    check_choices([precision], PRECISIONS, "precision")
    if pools is not None:
        pools = check_choices(pools, list(POOLS), "pool")
    if runtime is not None:
        check_choices([runtime], list(RUNTIMES), "runtime")
    settings = Settings(size, depths, pools, views, precision, runtime)
    if encoder in efficientnet_lite.PUBLISHED:
        return efficientnet_lite.open_encoder(encoder, settings)
    if encoder.endswith(ONNX):
        from .onnx_file import open_file

        return open_file(encoder, settings)
    if encoder.startswith(TIMM):
        from .timm_models import open_model

        return open_model(encoder.removeprefix(TIMM), settings)
    known = ", ".join(efficientnet_lite.PUBLISHED)
    raise InputError(
        f"there is no encoder {encoder!r}; give one of {known}, an ONNX file, or timm:NAME[:WEIGHTS]."
    )


def embed(
    batch: np.ndarray,
    encoder: str = ENCODER,
    size: int = 96,
    depths: Sequence[str] = ("head",),
    pools: Sequence[str] = ("mean",),
    views: int = 1,
    *,
    precision: str = "f32",
    runtime: str | None = None,
    threads: int = 0,
) -> np.ndarray:
    """Embeddings, float32 (N, F), of patches, uint8 (N, H, W, 3); on every core for 0 threads.

    Depths are `block00` … and `head`, pools `mean`, `center`, `deviation` and `maximum`; columns go
    by depth, then pool, then channel. Raises InputError for what is not such patches or settings.
    """
    import joblib

    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3 or not batch.size:
        raise InputError(
            f"patches are uint8 (N, height, width, 3), not {batch.dtype} {tuple(batch.shape)}."
        )
    if views != 1 and batch.shape[1] != batch.shape[2]:
        raise InputError(f"only square patches can be turned; these are {tuple(batch.shape[1:3])}.")
    opened = open_encoder(
        encoder,
        size=size,
        depths=depths,
        pools=pools,
        views=views,
        precision=precision,
        runtime=runtime,
    )
    threads = threads or joblib.cpu_count()
    measure = opened.measurer(batch.shape[1:3], threads)
    starts = range(0, len(batch), opened.chunk)
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(lambda start: measure(batch[start : start + opened.chunk]), starts)
        return np.concatenate(list(parts))
