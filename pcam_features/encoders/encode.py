"""From the name of an encoder to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import InputError
from . import efficientnet_lite as lite
from .cache import kept
from .embedding import VIEWS, Embedding
from .pooling import POOLS
from .runtimes import CHUNK, RUNTIMES, Run

# What `pcam extract --families cnn` takes unless told: see DECISIONS.md for what it was chosen over.
ENCODER = "efficientnet_lite0"
SIZE = 96
DEPTHS = ("block04", "block07", "block10")
SIZES = (32, 1024)  # pixels, the least and the most that make sense
PRECISIONS = ("f32", "bf16")


def check_choices(given: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    """Those given, without repeats. Raises InputError for one that is not known."""
    for name in given:
        if name not in known:
            raise InputError(f"there is no {what} {name!r}; there are: {', '.join(known)}.")
    if not given:
        raise InputError(f"name at least one {what} of: {', '.join(known)}.")
    return tuple(dict.fromkeys(given))


def open_encoder(
    encoder: str = ENCODER,
    *,
    size: int = SIZE,
    depths: Sequence[str] = DEPTHS,
    pools: Sequence[str] = tuple(POOLS),
    views: int = 1,
    precision: str = "f32",
    runtime: str = "openvino",
) -> Embedding:
    """An encoder with its settings. Raises InputError for any that it does not have."""
    check_choices([encoder], list(lite.PUBLISHED), "encoder")
    check_choices([runtime], list(RUNTIMES), "runtime")
    check_choices([precision], PRECISIONS, "precision")
    if views not in VIEWS:
        raise InputError(f"an embedding is of 1, 4 or 8 views, not {views}.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"an encoder's size is {SIZES[0]} to {SIZES[1]} pixels, not {size}.")
    depths = check_choices(depths, list(lite.depths(encoder)), "depth")
    pools = check_choices(pools, list(POOLS), "pool")
    facts = {
        "network": encoder,
        "weights_sha256": lite.PUBLISHED[encoder].sha256,
        "size": size,
        "depths": list(depths),
        "pools": list(pools),
        "views": views,
        "precision": precision,
        "runtime": runtime,
    }

    def graph(source: tuple[int, int]) -> bytes:
        return bytes(lite.build(encoder, source, size, depths, pools).SerializeToString())

    def load(source: tuple[int, int], threads: int) -> Run:
        decides = (encoder, source, size, depths, pools)
        content = kept(f"{encoder}_{size}px", decides, lambda: graph(source))
        return RUNTIMES[runtime](content, threads=threads, precision=precision)

    features = tuple(
        f"{POOLS[pool]}_{depth}_{channel:04d}"
        for depth in depths
        for pool in pools
        for channel in range(lite.depths(encoder)[depth])
    )
    return Embedding(lite.VERSION, features, facts, CHUNK, load)


def embed(
    batch: np.ndarray,
    encoder: str = "efficientnet_lite0",
    size: int = 96,
    depths: Sequence[str] = ("head",),
    pools: Sequence[str] = ("mean",),
    views: int = 1,
    *,
    precision: str = "f32",
    runtime: str = "openvino",
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
