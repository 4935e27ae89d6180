"""Damages the cache of a small kernel in every way, and runs it after each: the process may die."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pcam_features.engine import cpu
from pcam_features.engine.kernel import Kernel, lane, lanes


def first_pixel(patch: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    for k in range(lane(), 1, lanes()):
        out[k] = patch[0, 0, 0]


def twice(patch: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    for k in range(lane(), 1, lanes()):
        out[k] = 2 * patch[0, 0, 0]


def small(name: str, measure: Callable[..., None]) -> Kernel:
    return Kernel(name, measure, (1,), np.float32, np.zeros(1, np.float32))


ONE, OTHER = small("first_pixel", first_pixel), small("twice", twice)
PATCHES = np.full((2, 96, 96, 3), 21, np.uint8)


def file_of(kernel: Kernel, ending: str) -> Path:
    """The file of compiled code (.nbc), or the list of such files (.nbi), of a kernel."""
    (file,) = (cpu.cache_folder() / kernel.name).rglob(f"*.{ending}")
    return file


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


def change(ending: str, changed: Callable[[bytes], bytes]) -> Callable[[], None]:
    def damage() -> None:
        file = file_of(ONE, ending)
        file.write_bytes(changed(file.read_bytes()))

    return damage


def of_another() -> None:
    for ending in ("nbi", "nbc"):
        file_of(ONE, ending).write_bytes(file_of(OTHER, ending).read_bytes())


def sums_of(kernel: Kernel) -> Path:
    return cpu.cache_folder() / kernel.name / cpu.SUMS


def whole_of_another() -> None:
    of_another()
    sums_of(ONE).write_bytes(sums_of(OTHER).read_bytes())


def folder_instead() -> None:
    file_of(ONE, "nbc").unlink()
    (cpu.cache_folder() / ONE.name / "a.nbc").mkdir()


def change_sums(text: str) -> None:
    sums_of(ONE).write_text(text)


DAMAGES: dict[str, Callable[[], object]] = {
    "empty code": change("nbc", lambda content: b""),
    "cut code": change("nbc", lambda content: content[: len(content) // 2]),
    "zeros for code": change("nbc", lambda content: bytes(len(content))),
    "a bit of code": change("nbc", flipped),
    "empty list": change("nbi", lambda content: b""),
    "cut list": change("nbi", lambda content: content[:-7]),
    "zeros for a list": change("nbi", lambda content: bytes(len(content))),
    "files of another kernel": of_another,
    "files and sums of another kernel": whole_of_another,
    "a folder for code": folder_instead,
    "no code": lambda: file_of(ONE, "nbc").unlink(missing_ok=False),
    "no sums": lambda: sums_of(ONE).rename(sums_of(ONE).with_name("moved")),
    "damaged sums": lambda: change_sums("{"),
}


def main() -> None:
    """Print the name of each damage after which the kernel was compiled anew and is right."""
    cpu.prepare(OTHER)
    for name, damage in DAMAGES.items():
        cpu.prepare(ONE)
        assert cpu.compiled_before([ONE])
        damage()
        assert not cpu.compiled_before([ONE]), name
        cpu._compiled.cache_clear()
        assert (cpu.prepare(ONE)(PATCHES) == 21).all(), name
        assert cpu.compiled_before([ONE]), name
        print(name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
