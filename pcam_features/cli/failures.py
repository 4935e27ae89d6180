"""What the machine does to a command: full disks, little memory, closed streams, Ctrl-C.

Each ends in one sentence and an exit code. This module is imported before all others, so it imports
nothing heavy.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, PcamError
from ..execution.memory import lacks_memory, let_cpp_throw, limit
from ..storage.disks import full_disk, is_full
from . import console

STOPPED = 128 + signal.SIGINT  # the exit code of a command that Ctrl-C ended
STOPPED_SENTENCE = "stopped; run the same command again"
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
LONGEST_SHOWN = 300  # characters of a path in a message
LEAST_LIMIT = 1100 << 20  # bytes of addresses; with less, some libraries hang while they are imported


def sentence_of(error: BaseException) -> str | None:
    """What to print for an error that a machine causes; None for others, which are faults of pcam.

    Parameters
    ----------
    error
        What ended the command.
    """
    if isinstance(error, PcamError):
        return error.command_line or str(error)
    if is_full(error):
        file = file_of(error) if isinstance(error, OSError) else None
        if file is None:  # not a file that pcam writes, whose disk is told: standard output, a library
            return f"what is written to has no room left ({error}); free some space, and run it again."
        return str(full_disk(file))
    if lacks_memory(error):
        return (
            f"there is too little memory for this command{limit_of_memory()}; end other programs, give "
            "--threads 1 or a smaller --max-memory, or allow more."
        )
    if isinstance(error, OSError):
        what = str(file_of(error) or "a file")[:LONGEST_SHOWN]
        return f"cannot read or write {what}: {error.strerror or error}{advice(error)}."
    return None


def advice(error: OSError) -> str:
    """What to do about an error of the system, as the end of a sentence; empty if that is not known."""
    if error.errno == errno.EFBIG:
        return " (ulimit -f limits the size of files); allow larger files"
    if error.errno == errno.ENAMETOOLONG:
        return "; choose a shorter name"
    if error.errno == errno.ENOENT and not is_somewhere():
        return "; the current folder was deleted: change to another one"
    file = file_of(error)
    if error.errno in UNWRITABLE and file is not None and is_of_cache(file):
        return "; set the environment variable PCAM_CACHE_DIR to a folder that can be written to"
    return ""


def exit_code_of(error: BaseException) -> int:
    """The exit code of a command that an error ended. A name that is too long is bad input."""
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return InputError.exit_code
    return error.exit_code if isinstance(error, PcamError) else PcamError.exit_code


def file_of(error: OSError) -> Path | None:
    """The file that an error is about; None if it names none, or only its number."""
    name = error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def is_of_cache(file: Path) -> bool:
    """Whether a file is in the cache folder, or a folder above that."""
    from ..storage.files import cache_root

    root = cache_root()
    return file.is_relative_to(root) or root.is_relative_to(file)


def is_somewhere() -> bool:
    """Whether the current folder is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def limit_of_memory() -> str:
    """The limit that the shell has set to this process's memory, in brackets; empty without one."""
    most = limit()
    return "" if most is None else f" (ulimit -v is {most >> 10} KiB)"


def open_streams() -> None:
    """Give standard streams that are closed a place to go, and let no character break the others.

    Without it, the first file that is opened would take the number of a closed stream, and what is
    printed would be written into it.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def spare_memory() -> None:
    """Where memory is limited, keep libraries from taking what they could do without.

    OpenBLAS starts a thread per core when it is imported, and ends the process or waits for ever if one
    cannot start; PyArrow's own allocator reserves a GiB of addresses.

    Raises
    ------
    MemoryError
        If it is less than LEAST_LIMIT.
    """
    most = limit()
    if most is not None:
        if most < LEAST_LIMIT:
            raise MemoryError
        let_cpp_throw()
        for library in ("OPENBLAS", "OMP", "MKL"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def close_streams() -> None:
    """Write what is left to be written, so that Python does not complain when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def handled() -> Iterator[None]:
    """End the process as a command ends: with an exit code, and one sentence if it failed.

    Ctrl-C counts whatever became of it, because libraries turn it into errors of their own. An error
    that is a fault of pcam keeps its traceback.
    """
    open_streams()
    stopped = False
    code: int | str | None = 0

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    with console.on_ctrl_c(stop):
        try:
            spare_memory()
            yield
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = STOPPED
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None and not stopped:
                raise
            code = exit_code_of(error)
            if not stopped:
                told(console.error, str(sentence))
    if stopped or code == STOPPED:
        code = STOPPED
        told(console.say, STOPPED_SENTENCE)
    close_streams()
    sys.exit(code)


def told(say: Callable[[str], None], sentence: str) -> None:
    """Print a sentence, if anybody listens."""
    with suppress(OSError, ValueError, MemoryError):
        say(sentence)
