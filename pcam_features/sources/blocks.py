"""A cache of blocks that are decompressed as a whole and serve several batches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..errors import InputError

Key = TypeVar("Key", bound=Hashable)
Block = TypeVar("Block")


class Blocks(Generic[Key, Block]):
    """The `kept` blocks that were used last.

    One thread makes a block, and other threads that need the same block wait for it. A failure is
    cached as a block is, so that it is not tried again at once.
    """

    def __init__(self, make: Callable[[Key], Block], kept: int) -> None:
        self._make, self._kept = make, kept
        self._lock = threading.Lock()
        self._making: OrderedDict[Key, tuple[threading.Lock, list[Block | InputError]]] = OrderedDict()

    def __getitem__(self, key: Key) -> Block:
        with self._lock:
            own, made = self._making.setdefault(key, (threading.Lock(), []))
            self._making.move_to_end(key)
            while len(self._making) > self._kept:
                self._making.popitem(last=False)
        with own:
            if not made:
                try:
                    made.append(self._make(key))
                except InputError as error:
                    made.append(error)
            if isinstance(made[0], InputError):
                raise InputError(str(made[0]))
            return made[0]
