"""Computes features of images as a table in memory."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..constants import Device
from ..encoders.options import EncoderOptions
from ..engine.devices import choose
from ..errors import InputError
from ..execution.executor import Threads
from ..families.family import FeatureFamily
from .images import images_of
from .measuring import OpenFamilies, kernels_in, open_families, spans
from .selection import Families, families_named

KEPT = 4  # opened sets of families to keep: a network takes seconds to load, but also memory
_opened: OrderedDict[str, OpenFamilies] = OrderedDict()
_opening = threading.Lock()


def measure(
    images: Any,
    families: Families = None,
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
        Names of families, comma-separated or in a list, or families; None for all handcrafted ones.
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
        If an image is not a patch, or a family or the device cannot be used.
    """
    import joblib

    patches = images_of(images)
    chosen = families_named(families)
    workers = threads or joblib.cpu_count()
    opened = kept_open(chosen, workers, device_of(device))
    columns = [column for family in chosen for column in family.columns]
    values = np.empty((len(patches), len(columns)), np.float32)
    names = [family.name for family in chosen]

    def work(span: tuple[int, int]) -> int:
        start, stop = span
        measured = opened.measure(patches, start, stop, names)
        np.concatenate([measured[name] for name in names], axis=1, out=values[start:stop])
        return stop - start

    opened.prepare()
    progress(0)
    # A few images are distributed evenly among the threads.
    rows = max(1, min(opened.rows, -(-len(patches) // workers)))
    batches = spans(0, len(patches), rows)
    for done in Threads(min(workers, len(batches))).map(work, batches):
        progress(done)
    return values, columns


def embed(
    images: Any,
    options: EncoderOptions = EncoderOptions(),  # noqa: B008 -- frozen
    *,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, list[str]]:
    """Embed images with one encoder; see `measure`.

    Parameters
    ----------
    images
        uint8 (n, 96, 96, 3) or (96, 96, 3), PIL images, paths, or a split of a source.
    options
        The encoder and its options.
    threads
        Number of threads; 0 is one for each core.
    progress
        Called with the number of images done, and with 0 when embedding begins.

    Returns
    -------
    values : ndarray
        float32 (n, columns).
    columns : list of str
        The columns' names, in order.

    Raises
    ------
    InputError
        If an image is not a patch, or the encoder cannot be used.
    """
    from ..encoders.registry import open_with

    network = open_with(options)
    return measure(images, [network], threads=threads, device=Device.cpu, progress=progress)


def device_of(name: Device | str) -> Device:
    """The device of this name. Raises InputError if there is none."""
    try:
        return Device(name)
    except ValueError:
        raise InputError(f"there is no device {name!r}; choose from: {', '.join(Device)}.") from None


def kernels_to_compile(families: Sequence[FeatureFamily], device: Device) -> int:
    """The number of kernels to compile before measuring these families, about a minute in all."""
    kernels = kernels_in(families)
    target, _ = choose(device)
    return 0 if target.compiled_before(kernels) else len(kernels)


def kept_open(families: Sequence[FeatureFamily], threads: int, device: Device) -> OpenFamilies:
    """Open families, or return them from the most recently opened sets."""
    descriptions = [(family.name, family.describe()) for family in families]
    key = json.dumps([descriptions, threads, device])
    with _opening:
        if key not in _opened:
            target, _ = choose(device)
            _opened[key] = open_families(families, target, threads)
            if len(_opened) > KEPT:
                _opened.popitem(last=False)
        _opened.move_to_end(key)
        return _opened[key]
