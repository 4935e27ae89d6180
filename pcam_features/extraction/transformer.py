"""From images to a table of features, in memory."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants import Device
from ..engine.devices import choose
from ..errors import InputError
from ..execution.executor import Threads
from ..families.registry import Measure
from ..sources.source import Split
from .extract import families_named, measurer_of, networks_of
from .images import images_of
from .tiles import measure_tiles

if TYPE_CHECKING:
    from ..encoders.embedding import Embedding
    from ..families.family import Family

KEPT = 4  # opened sets of families: a network takes seconds to load, and memory
_opened: OrderedDict[str, tuple[Measure, int]] = OrderedDict()
_opening = threading.Lock()


def measure(
    images: Any,
    families: str | Sequence[str | Family | Embedding] | None = None,
    *,
    threads: int = 0,
    device: Device | str = Device.auto,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, list[str]]:
    """Measure features of images.

    A patch's features do not depend on the other images, nor on how many there are. Several threads
    may call this function at once.

    Parameters
    ----------
    images
        uint8 (n, 96, 96, 3) or (96, 96, 3), PIL images, paths, or a split of a source.
    families
        Names of families, comma-separated or in a list, or families; all hand-made ones for None.
    threads
        Number of threads; 0 is one for each core.
    device
        Where kernels run: "auto", "cpu" or "cuda".
    progress
        Called with the number of images done, and with 0 when measuring begins.

    Returns
    -------
    values : ndarray
        float32 (n, columns).
    columns : list of str
        The columns' names, in order.

    Raises
    ------
    InputError
        For images that are not patches, and families or devices that cannot be used.
    """
    import joblib

    patches = images_of(images)
    chosen = resolve(families)
    workers = threads or joblib.cpu_count()
    measure_batch, most = opened(chosen, workers, device_of(device))
    names = [family.name for family in chosen]
    starts = {}
    columns: list[str] = []
    for family in chosen:
        starts[family.name] = len(columns)
        columns += family.columns
    values = np.empty((len(patches), len(columns)), np.float32)

    def work(span: tuple[int, int]) -> int:
        start, stop = span
        if isinstance(patches, Split) and patches.tiles is not None:
            by_family = measure_tiles(patches, span, measure_batch, names, most)
        else:
            by_family = measure_batch(patches.read(start, stop), names)
        for name, measured in by_family.items():
            left = starts[name]
            values[start:stop, left : left + measured.shape[1]] = measured
        return stop - start

    progress(0)
    rows = max(1, min(most, -(-len(patches) // workers)))
    spans = [(k, min(k + rows, len(patches))) for k in range(0, len(patches), rows)]
    for done in Threads(min(workers, len(spans))).map(work, spans):
        progress(done)
    return values, columns


def embed(
    images: Any,
    encoder: str | None = None,
    *,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    **settings: Any,
) -> tuple[np.ndarray, list[str]]:
    """Embed images with a network: `measure` with one encoder.

    Parameters
    ----------
    images
        uint8 (n, 96, 96, 3) or (96, 96, 3), PIL images, paths, or a split of a source.
    encoder
        "efficientnet_lite0" (default), "efficientnet_lite1", "efficientnet_lite2", the path of an
        ONNX file, or "timm:NAME[:WEIGHTS]".
    threads
        Number of threads; 0 is one for each core.
    progress
        Called with the number of images done, and with 0 when embedding begins.
    **settings
        size, depths, pools, views, precision and runtime, as `encoders.registry.open_encoder` takes
        them; the encoder's defaults where left out.

    Returns
    -------
    values : ndarray
        float32 (n, columns).
    columns : list of str
        The columns' names, in order.

    Raises
    ------
    InputError
        For images that are not patches, and an encoder that cannot be used.
    """
    from ..encoders.registry import ENCODER, open_encoder

    network = open_encoder(encoder or ENCODER, **settings)
    return measure(images, [network], threads=threads, device=Device.cpu, progress=progress)


def resolve(
    families: str | Sequence[str | Family | Embedding] | None,
) -> list[Family | Embedding]:
    """Families from names, comma-separated or in a list, among which may be families.

    Raises InputError for a name that is not known.
    """
    if families is None or isinstance(families, str):
        return families_named(families, {})
    names = [family for family in families if isinstance(family, str)]
    given = [family for family in families if not isinstance(family, str)]
    return [*(families_named(",".join(names), {}) if names or not given else []), *given]


def device_of(name: Device | str) -> Device:
    """The device of this name. Raises InputError if there is none."""
    try:
        return Device(name)
    except ValueError:
        raise InputError(f"there is no device {name!r}; there are: {', '.join(Device)}.") from None


def opened(families: Sequence[Family | Embedding], threads: int, device: Device) -> tuple[Measure, int]:
    """What measures a batch, and the most patches to give it at a time; the last few are kept."""
    described = [(family.name, family.described()) for family in families]
    key = json.dumps([described, threads, device])
    with _opening:
        if key in _opened:
            _opened.move_to_end(key)
            return _opened[key]
        target, _ = choose(device)
        networks = networks_of(families, threads)
        _opened[key] = measurer_of(families, networks, target, threads)
        while len(_opened) > KEPT:
            _opened.popitem(last=False)
        return _opened[key]
