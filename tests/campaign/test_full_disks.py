"""A full disk ends a command in one sentence, leaves the old or the new whole, and can be freed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.harness import TOTALS, Command, Place, state, trials
from campaign.test_kills import prepare, result_in, without, words_of

NAMES = ("synth", "convert", "extract", "fit", "predict")
PAGE = 4096
ROOM = 1 << 28  # bytes of the disk that is not full


def mount(folder: Path, size: int, *, again: bool = False) -> subprocess.CompletedProcess[str]:
    options = f"{'remount,' if again else ''}size={size}"
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on which a small disk can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    reason = None
    if sys.platform != "linux" or os.geteuid() != 0:
        reason = "mounting a small disk needs root on Linux"
    elif (done := mount(folder, 1 << 20)).returncode:
        reason = f"a small disk cannot be mounted here: {done.stderr.strip()}"
    if reason:
        TOTALS.skipped["full disks"] = reason
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def bytes_in(folder: Path) -> int:
    """The space that a folder takes on the small disk."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes) + PAGE * 2


def trial(place: Place, command: Command, numbers: random.Random) -> tuple[str, str | None]:
    """Fill the disk at one point; returns where, and what went wrong."""
    old, new = (place.kept(f"{command.name}-{name}") for name in ("old", "new"))
    start = numbers.choice([f"{command.name}-old", None])
    used = bytes_in(place.keep / start) if start else PAGE * 2
    room = int(numbers.random() * bytes_in(place.keep / f"{command.name}-new"))
    mount(place.folder, ROOM, again=True)
    empty(place.folder)
    if start:
        shutil.copytree(place.keep / start, place.folder, dirs_exist_ok=True)
    mount(place.folder, used + room, again=True)
    ended = place.run(words_of(command, start))
    mount(place.folder, ROOM, again=True)
    what = f"{command.name} from {start or 'nothing'}, with {room:,} bytes free"
    if ended.problem() is not None:
        return what, ended.problem()
    found = without(result_in(state(place.folder), command), command)
    there = (place.folder / command.result).exists()
    whole = found in (result_in(old, command), result_in(new, command))
    if not whole and (start is not None or (there and not command.partly)):
        return what, f"neither the old nor the new is whole: {', '.join(found)}"
    if ended.code == 0:
        return what, None if state(place.folder) == new else "it ended well and made something else"
    again = place.run(words_of(command, start))
    if again.code != 0:
        return what, f"the next run ended with {again.code}: {again.err[-300:]}"
    return what, None if state(place.folder) == new else "the next run left something else"


def empty(folder: Path) -> None:
    """Remove what is in a folder, and not the folder, on which a disk is mounted."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_invariant_a_full_disk_spoils_nothing(
    name: str,
    place: Place,
    disk: Path,
    commands: dict[str, Command],
    request: pytest.FixtureRequest,
) -> None:
    if name == "predict":
        request.getfixturevalue("models")
    small = Place(disk, place.keep, place.server)
    command = commands[name]
    prepare(place, command)
    kind = "full disks"
    for numbers in trials(f"{kind}: {name}", 0.02, least=1):
        TOTALS.record(kind, *trial(small, command, numbers))
    TOTALS.check(kind)


def test_regression_the_full_disk_of_compiled_kernels_is_named(disk: Path, tmp_path: Path) -> None:
    mount(disk, ROOM, again=True)
    empty(disk)
    mount(disk, PAGE * 4, again=True)
    command = [
        sys.executable,
        "-m",
        "pcam_features",
        "extract",
        "synthetic:12",
        str(tmp_path / "store"),
    ]
    ended = subprocess.run(
        [*command, "--families", "glszm"],
        env=os.environ | {"PCAM_CACHE_DIR": str(disk)},
        capture_output=True,
        text=True,
        check=False,
    )
    mount(disk, ROOM, again=True)
    empty(disk)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: the disk of {disk}")
    assert " is full (" in ended.stderr
    assert "Traceback" not in ended.stderr
