"""Kaggle's client, run in a separate process because importing it signs in, prints or exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import PcamError
from ..sources.kaggle import ZIP
from ..storage.links import check_written, within
from .record import Bar

COMPETITION = ZIP.removesuffix(".zip")
RULES = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
MARKER = ".kaggle-partial"  # suffix of the client's record of an incomplete download
POLL = 0.5  # seconds
SIGN_IN = (
    "create an API token at https://www.kaggle.com/settings/api and save it to ~/.kaggle/access_token, "
    "or run: kaggle auth login"
)
TOKENS = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")
TOKEN_FILES = ("access_token", "access_token.txt", "kaggle.json", "credentials.json")

# Patterns in the client's output and their meaning; the first match is used.
MEANINGS = (
    (
        r"No module named '?kaggle\b",
        "Kaggle's client is not installed; run: pip install 'pcam-features[kaggle]'",
    ),
    (r"No module named '?([\w.]+)", "Kaggle's client needs the package {0}; run: pip install {0}"),
    (
        r"accept (?:its|this competition's) rules|\b403\b|Forbidden",
        f"the competition's rules are not accepted yet; accept them at {RULES} and run the command "
        "again",
    ),
    (r"\b401\b|Unauthorized", f"Kaggle rejected the API token; {SIGN_IN}"),
    (r"rate limited|\b429\b", "Kaggle limits the number of requests; run the command again later"),
    (r"problem on Kaggle's side|\b50[0-9]\b", "Kaggle is unavailable; run the command again later"),
    (
        r"Max retries exceeded|Failed to resolve|Connection(?:Error| refused| reset| aborted)"
        r"|Connect(?:ion)?Timeout|Read timed out|ProxyError",
        "Kaggle cannot be reached; check the network (and HTTPS_PROXY if you use a proxy) and run the "
        "command again",
    ),
    (r"No space left on device", "the disk is full; free disk space and run the command again"),
)


def download(folder: Path, bar: Bar) -> Path:
    """Download the competition's zip into `folder` with the client, continuing a partial download.

    Raises PcamError if the download fails. The message says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_written(within(folder.parent, folder))
    found = folder / ZIP
    # -P: a file named kaggle.py in the current folder is not imported
    words = [sys.executable, "-P", "-m", "kaggle", "competitions", "download", "-q"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with subprocess.Popen(  # noqa: S603 - our own interpreter and fixed words
            [*words, "-c", COMPETITION, "-p", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        ) as process:
            try:
                _watch(process, found, bar)
            finally:
                process.terminate()
        said = [_text(stream) for stream in (out, err)]
    whole = found.is_file() and not found.with_name(found.name + MARKER).exists()
    if process.returncode or not whole:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise PcamError(f"{meaning(*said)}.")
    return found


def _watch(process: subprocess.Popen[bytes], found: Path, bar: Bar) -> None:
    """Show the growth of the file until the client ends."""
    while (size := _expected(found)) is None:
        if _ended(process):
            return
    seen = _grown(found)
    with bar(ZIP, max(size - seen, 0), "bytes") as progress:
        ended = False
        while not ended:
            ended = _ended(process)
            now = _grown(found)
            if now != seen:
                progress(now - seen)
            seen = now


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return False
    return True


def _grown(found: Path) -> int:
    return found.stat().st_size if found.is_file() else 0


def _expected(found: Path) -> int | None:
    """The size of the file according to the client; None before the download begins."""
    try:
        size = json.loads(found.with_name(found.name + MARKER).read_text(encoding="utf-8"))["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return size if isinstance(size, int) and size > 0 else None


def _text(stream: object) -> str:
    stream.seek(0)  # type: ignore[attr-defined]
    content: bytes = stream.read(1 << 20)  # type: ignore[attr-defined]
    return content.decode("utf-8", "replace")


def meaning(out: str, err: str) -> str:
    """The error and what to do, from the client's output."""
    if re.search("Authentication required|Could not find kaggle.json|Invalid credentials", out + err):
        # The client prints the same for a missing token and for a rejected one.
        if has_token():
            return f"Kaggle rejected the API token that was found; {SIGN_IN}"
        return f"Kaggle requires an API token and none was found; {SIGN_IN}"
    for pattern, words in MEANINGS:
        if found := re.search(pattern, err):
            return words.format(*found.groups())
    return f"Kaggle's client failed: {_last_words(out, err)}; run the command again to continue"


def _last_words(out: str, err: str) -> str:
    """The last line of the error: below a traceback, but above advice about the client."""
    text = err.strip() or out.strip()
    if "Traceback (most recent" not in text:
        text = re.split(r"\n\s*\n", text)[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it gave no reason"


def has_token() -> bool:
    """Whether there is an API token where the client looks for it."""
    if any(os.environ.get(name) for name in TOKENS):
        return True
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    folders = [os.environ.get("KAGGLE_CONFIG_DIR"), str(Path.home() / ".kaggle"), f"{config}/kaggle"]
    return any(Path(one, name).is_file() for one in folders if one for name in TOKEN_FILES)
