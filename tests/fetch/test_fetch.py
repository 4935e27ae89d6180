"""What is fetched is what was published, whatever the network does, and nothing is fetched twice."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile
import pytest
from conftest import Result
from hostile import Behavior, Server, answer, moved
from hypothesis import given, settings
from hypothesis import strategies as st

import pcam_features
from pcam_features.api.progress import in_mebibytes
from pcam_features.errors import PcamError
from pcam_features.fetch import download, pcam, web
from pcam_features.fetch.download import Known
from pcam_features.storage.disks import telling_full
from pcam_features.storage.folders import one_process

Run = Callable[..., Result]
PLAIN = {"valid_x.h5": b"valid" * 4000, "test_x.h5": b"tests" * 4000, "meta.csv": b"wsi\n" * 500}


def packed(name: str) -> bytes:
    return gzip.compress(PLAIN[name], mtime=0, compresslevel=0)


CONTENT = {
    **{f"{name}.gz": packed(name) for name in ("valid_x.h5", "test_x.h5")},
    "meta.csv": PLAIN["meta.csv"],
}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def published(name: str, content: bytes, unpacked: int = 0) -> pcam.PublishedFile:
    size = len(content) if unpacked else None
    return pcam.PublishedFile(name, md5(content), size, size or 1 << 20, unpacked)


FILES = (
    *(published(name, CONTENT[name], 30_000) for name in ("valid_x.h5.gz", "test_x.h5.gz")),
    published("meta.csv", CONTENT["meta.csv"]),
)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that would have been."""
    waited: list[float] = []
    monkeypatch.setattr(download, "pause", waited.append)
    monkeypatch.setattr(pcam, "FILES", FILES)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return waited


@pytest.fixture
def server() -> Iterator[Server]:
    with hostile.serving(**CONTENT) as running:
        yield running


def is_whole(folder: Path) -> bool:
    left = {path.name for path in folder.iterdir()} - {"lock"}
    assert left == {*PLAIN, "fetched.json"}, left
    return all((folder / name).read_bytes() == content for name, content in PLAIN.items())


def test_oracle_fetches_checks_unpacks_and_records(pcam: Run, server: Server, tmp_path: Path) -> None:
    result = pcam("fetch", "pcam", tmp_path / "a", "--mirror", server.url + "/", "--json")
    assert result.code == 0, result.err
    assert is_whole(tmp_path / "a")
    report = json.loads(result.out)
    entry = report["files"]["test_x.h5.gz"]
    assert entry["md5"] == md5(CONTENT["test_x.h5.gz"])
    assert entry["unpacked"]["sha256"] == hashlib.sha256(PLAIN["test_x.h5"]).hexdigest()
    assert json.loads((tmp_path / "a" / "fetched.json").read_text())["files"] == report["files"]
    asked = len(server.asked)
    again = pcam("fetch", "pcam", tmp_path / "a", "--mirror", server.url)
    assert (again.code, again.out, len(server.asked)) == (0, "", asked)


def test_parity_python_fetches_what_the_command_line_fetches(
    pcam: Run, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    planned = pcam_features.fetch_dataset(
        "pcam", tmp_path / "a", mirror=server.url, dry_run=True, progress=None, log=told.append
    )
    assert (planned.files, server.asked) == (None, [])
    assert not (tmp_path / "a").exists()
    assert "to download: at most 1.1 MiB" in told[0]
    result = pcam_features.fetch_dataset("pcam", tmp_path / "a", mirror=server.url)
    assert is_whole(tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    printed = json.loads(pcam("fetch", "pcam", tmp_path / "b", "--mirror", server.url, "--json").out)
    assert result.to_dict()["files"] == printed["files"]
    assert result.bytes_to_download == planned.bytes_to_download == printed["bytes_to_download"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": "camelyon"}, "dataset= is 'camelyon'; give one of: pcam, kaggle"),
        ({"dataset": "kaggle", "keep_packed": True}, "keep_packed=True applies only to pcam"),
        ({"dataset": "pcam", "mirror": "ftp://a"}, "mirror="),
        ({"dataset": "pcam", "path": 3}, "path= is 3; give the folder"),
    ],
)
def test_mechanics_python_is_told_its_own_names(
    arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(pcam_features.InputError, match=said):
        pcam_features.fetch_dataset(**{"path": tmp_path / "new", "progress": None} | arguments)


@pytest.mark.parametrize(("unit", "shown"), [("bytes", "MiB"), ("files", "files")])
def test_mechanics_progress_in_bytes_is_shown_in_mebibytes(unit: str, shown: str) -> None:
    opened: list[tuple[str, int, str]] = []
    steps: list[int] = []

    @contextmanager
    def display(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        opened.append((title, total, unit))
        yield steps.append

    with in_mebibytes(display)("file", 5 << 20, unit) as advance:
        for done in (1 << 19, 1 << 19, 3 << 20, -(2 << 20)):
            advance(done)
    size = 20 if unit == "bytes" else 0
    assert opened == [("file", 5 << 20 >> size, shown)]
    assert steps == ([1, 3, -2] if size else [1 << 19, 1 << 19, 3 << 20, -(2 << 20)])


def test_mechanics_packed_files_are_kept_if_asked(pcam: Run, server: Server, tmp_path: Path) -> None:
    for words in (("--keep-packed",), ()):  # what was kept on purpose is not removed later
        assert pcam("fetch", "pcam", tmp_path, "--mirror", server.url, *words).code == 0
        assert (tmp_path / "test_x.h5.gz").read_bytes() == CONTENT["test_x.h5.gz"]


def test_mechanics_a_dry_run_says_what_it_takes_and_leaves_nothing(pcam: Run, tmp_path: Path) -> None:
    result = pcam("fetch", "pcam", tmp_path / "new", "--dry-run", "--json")
    report = json.loads(result.out)
    gz = len(CONTENT["test_x.h5.gz"])
    assert report["bytes_to_download"] == 2 * gz + (1 << 20)
    assert report["bytes_of_disk"] == max(30_000 + gz + 30_000, 60_000 + (1 << 20))
    assert "to download: at most 1.1 MiB" in result.err
    assert not (tmp_path / "new").exists()


def test_mechanics_a_disk_too_small_is_refused_before_anything_comes(
    pcam: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 100_000))
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert (result.code, server.asked) == (2, [])
    assert "has 97.7 KiB free, and the download needs up to 1.1 MiB" in result.err


def test_mechanics_a_disk_that_fills_up_ends_in_a_sentence(tmp_path: Path) -> None:
    said = pytest.raises(PcamError, match=r"the disk of .* is full .*; free some space and run")
    with said, telling_full(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


HEALED: dict[str, list[Behavior]] = {
    "drops": [hostile.drops, hostile.drops, hostile.drops],
    "ignores a range": [hostile.drops, hostile.ignores_range],
    "wrong range": [hostile.drops, hostile.wrong_range],
    "other total": [hostile.drops, hostile.other_total],
    "no range there": [hostile.drops, answer(416)],
    "damaged once": [hostile.damages],
    "lies about length": [hostile.says_less, hostile.says_more, hostile.says_nonsense],
    "chunks": [hostile.chunked],
    "endless": [hostile.continues_forever, hostile.trailers_without_end, hostile.has_no_end],
    "headers": [hostile.huge_headers, hostile.many_headers, hostile.no_http, hostile.hangs_up],
    "busy": [answer(500), answer(502), answer(503), answer(504), answer(429)],
    "moved": [moved("/elsewhere/valid_x.h5.gz", status) for status in (301, 302, 303, 307, 308)],
}


@pytest.mark.parametrize("name", HEALED)
def test_invariant_what_passes_is_gone_through(
    name: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.behaviors = list(HEALED[name])
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 0, result.err
    assert is_whole(tmp_path)


def test_mechanics_another_part_than_was_asked_for_is_not_taken(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.behaviors = [hostile.drops, hostile.shifted]
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert "sent a different part than was requested" in result.err
    assert "again from the start" not in result.err


def test_mechanics_an_answer_without_end_is_not_listened_to(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.behaviors = [hostile.continues_forever, hostile.trailers_without_end]
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.err.count("the response is too long") == 2


ENDS: dict[str, tuple[Behavior, str]] = {
    "401": (answer(401), "requires a password (HTTP status 401)"),
    "403": (answer(403), "refuses access"),
    "404": (answer(404), "does not have the file (HTTP status 404); check the address"),
    "400": (answer(400), "sent an unexpected answer"),
    "loop": (moved("/loop/valid_x.h5.gz"), "is redirected more than 5 times"),
    "file": (
        moved("file:///etc/passwd"),
        "is redirected to file:///etc/passwd, which is not a web",
    ),
    "ftp": (moved("ftp://127.0.0.1/x"), "which is not a web address"),
    "nonsense": (moved("http://[::"), "which is not a web address"),
    "nowhere": (answer(302), "is redirected to an empty address"),
    "busy": (
        answer(503),
        "could not be downloaded in 6 attempts (last error: the server is unavailable",
    ),
    "other": (hostile.damages, "also after a second download: it is not the published file"),
    "longer": (hostile.says_more, "reports 20,028 bytes instead of 20,023"),
}


@pytest.mark.parametrize("name", ENDS)
def test_mechanics_what_does_not_pass_ends_in_a_sentence(
    name: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    behavior, words = ENDS[name]
    server.behaviors = [behavior] * 20
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert not [path for path in tmp_path.iterdir() if path.name != "lock"]


def test_mechanics_a_safe_address_is_not_left_for_an_unsafe_one() -> None:
    with pytest.raises(PcamError, match="which is not encrypted"):
        web._followed("https://a.example/x", "http://a.example/x")
    assert web._followed("http://a.example/x", "https://b.example/y") == "https://b.example/y"


def test_mechanics_the_environments_proxy_is_asked(
    pcam: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    assert pcam("fetch", "pcam", tmp_path, "--mirror", "http://far.invalid").code == 0
    assert server.asked[0][0] == "http://far.invalid/valid_x.h5.gz"


def test_mechanics_a_server_is_waited_for_as_long_as_it_asks(
    pcam: Run, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.behaviors = [answer(429, Retry_After=7), answer(503, Retry_After=10**9), answer(500)]
    server.behaviors += [answer(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), hostile.drops]
    assert pcam("fetch", "pcam", tmp_path, "--mirror", server.url).code == 0
    assert waits == [7, web.LONGEST_ASKED, 4, 8, 1]  # a try with bytes begins the count anew


def test_mechanics_a_trickle_is_cut_off(
    pcam: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WINDOW", 0.2)
    server.behaviors = [hostile.trickles]
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 0
    assert "bytes arrived in 0 s; trying again" in result.err


def test_mechanics_tries_are_bounded_even_with_progress(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST_TRIES", 4)
    server.behaviors = [hostile.drops] * 9
    size = len(CONTENT["test_x.h5.gz"])
    with pytest.raises(PcamError, match=r"in 4 attempts.*run the command again to continue after 18,7"):
        download.download(f"{server.url}/test_x.h5.gz", tmp_path / "x", Known(size, size))
    assert len(server.asked) == 4


@pytest.mark.parametrize("part", ["beginning", "whole", "other", "larger", "larger than all"])
def test_invariant_a_part_of_an_earlier_run_is_gone_on_with(
    part: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    whole = CONTENT["valid_x.h5.gz"]
    partly = tmp_path / "valid_x.h5.gz.download"
    partly.write_bytes(
        {
            "beginning": whole[:7777],
            "whole": whole,
            "other": b"other" * 1000,
            "larger": whole + b"more",
            "larger than all": b"x" * (3 << 20),
        }[part]
    )
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 0, result.err
    assert is_whole(tmp_path)
    asked = [span for path, span in server.asked if path.endswith("valid_x.h5.gz")]
    begun = {"beginning": ["bytes=7777-"], "whole": [], "other": ["bytes=5000-", None]}
    assert asked == begun.get(part, [None])


def test_invariant_a_killed_run_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    """Killed in the middle of a file, by a signal that nothing can be done about."""
    server.behaviors = [hostile.drops]
    code = (
        "import os, signal\nfrom pcam_features.fetch import download\n"
        "download.pause = lambda seconds: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from pathlib import Path\n"
        f"download.download({server.url + '/valid_x.h5.gz'!r}, Path({str(tmp_path / 'x')!r}), "
        f"download.Known({FILES[0].size}, {FILES[0].size}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / "x.download").stat().st_size == FILES[0].size // 2  # type: ignore[operator]
    known = Known(FILES[0].size, FILES[0].most)
    download.download(f"{server.url}/valid_x.h5.gz", tmp_path / "x", known, expected=FILES[0].md5)
    assert (tmp_path / "x").read_bytes() == CONTENT["valid_x.h5.gz"]
    assert server.asked[-1][1] == f"bytes={FILES[0].size // 2}-"  # type: ignore[operator]


def test_invariant_a_run_stopped_anywhere_is_gone_on_with(
    pcam: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at each step that gives a file its name or takes it away, in turn."""
    for function in ("replace", "unlink"):
        for k in range(12):
            folder = tmp_path / f"{function}{k}"
            calls, real = iter(range(99)), getattr(os, function)

            def stop(*words: Any, k: int = k, calls: Any = calls, real: Any = real, **how: Any) -> None:
                if next(calls) == k:
                    raise KeyboardInterrupt
                real(*words, **how)

            with monkeypatch.context() as patch:
                patch.setattr(os, function, stop)
                pcam("fetch", "pcam", folder, "--mirror", server.url)
            result = pcam("fetch", "pcam", folder, "--mirror", server.url)
            assert result.code == 0, result.err
            assert is_whole(folder)


def test_oracle_valid_and_test_under_each_others_names_are_refused(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    swapped = {"valid_x.h5.gz": "test_x.h5.gz", "test_x.h5.gz": "valid_x.h5.gz"}
    server.files |= {name: CONTENT[other] for name, other in swapped.items()}
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 1
    assert "also after a second download: it is not the published file" in result.err
    assert not list(tmp_path.glob("*.h5*"))


DAMAGED = {
    "truncated": (packed("test_x.h5")[:-9], "cannot be unpacked"),
    "damaged": (packed("test_x.h5")[:-8] + bytes(8), "cannot be unpacked"),
    "no gzip": (b"plain" * 99, "cannot be unpacked"),
    "bomb": (
        gzip.compress(bytes(50_000_000)),
        "unpacks to more than the largest possible size of 30,000 bytes",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_mechanics_what_does_not_unpack_leaves_nothing_that_looks_whole(
    name: str, pcam: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = DAMAGED[name]
    from pcam_features.fetch import pcam as fetched

    monkeypatch.setattr(fetched, "FILES", (published("test_x.h5.gz", content, 30_000),))
    server.files["test_x.h5.gz"] = content
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 1
    assert words in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "test_x.h5.gz"}


def test_mechanics_files_that_stand_there_are_checked_and_never_replaced(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "test_x.h5.gz").write_bytes(CONTENT["test_x.h5.gz"])
    (tmp_path / "meta.csv").write_bytes(CONTENT["meta.csv"])
    assert pcam("fetch", "pcam", tmp_path, "--mirror", server.url).code == 0
    assert [path for path, _ in server.asked] == ["/mirror/valid_x.h5.gz"]
    for name in ("meta.csv", "test_x.h5"):
        for content in (b"mine", None):
            kept = (tmp_path / name).read_bytes()
            if content is None:  # a record that is lost
                (tmp_path / "fetched.json").unlink()
            (tmp_path / name).write_bytes(b"mine")
            result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
            assert result.code == 2
            assert "move it away" in result.err
            assert (tmp_path / name).read_bytes() == b"mine"
            (tmp_path / name).write_bytes(kept)
        shutil.rmtree(tmp_path)
        assert pcam("fetch", "pcam", tmp_path, "--mirror", server.url).code == 0


@pytest.mark.parametrize("name", ["test_x.h5.gz", "meta.csv"])
def test_mechanics_another_file_of_that_name_is_left_as_it_is(
    name: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert (result.code, server.asked) == (2, [])
    assert f"instead of {md5(CONTENT[name])}; move it away" in result.err
    assert (tmp_path / name).read_bytes() == b"mine"


def test_mechanics_another_unpacked_file_is_left_beside_the_right_packed_one(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "test_x.h5.gz").write_bytes(CONTENT["test_x.h5.gz"])
    (tmp_path / "test_x.h5").write_bytes(b"mine")
    result = pcam("fetch", "pcam", tmp_path, "--mirror", server.url)
    assert result.code == 2
    assert "test_x.h5 exists but" in result.err
    assert (tmp_path / "test_x.h5").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "mirror",
    ["ftp://a/b", "file:///etc", "zenodo.org", "http://", "http://a:b/", "http://a b/", "http://[::"],
)
def test_mechanics_a_mirror_that_is_no_address_is_refused(
    mirror: str, pcam: Run, tmp_path: Path
) -> None:
    for what in ("pcam", "kaggle"):
        result = pcam("fetch", what, tmp_path, "--mirror", mirror)
        assert result.code == 2
        assert "--mirror" in result.err


def test_mechanics_a_folder_that_cannot_be_used_is_refused(pcam: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in pcam("fetch", "pcam", tmp_path / "file" / "x", "--dry-run").err
    (tmp_path / "fetched.json").write_text('{"files": []}')
    assert "has no valid list of files" in pcam("fetch", "pcam", tmp_path).err
    (tmp_path / "fetched.json").write_text("{")
    assert "; move it away and run the command again." in pcam("fetch", "pcam", tmp_path).err
    (tmp_path / "fetched.json").unlink()
    with one_process(tmp_path, "testing"):
        assert pcam("fetch", "pcam", tmp_path).code == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(hostile.HARMS), max_size=8),
    st.booleans(),
    st.sampled_from([b"", CONTENT["test_x.h5.gz"][:999], b"other"]),
)
def test_invariant_a_file_has_its_name_only_if_its_sum_is_right(
    behaviors: list[Behavior], sized: bool, partly: bytes
) -> None:
    content = CONTENT["test_x.h5.gz"]
    known = Known(len(content) if sized else None, len(content) if sized else 30_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        hostile.serving(**CONTENT) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(download, "pause", lambda seconds: None)
        server.behaviors = list(behaviors)
        path = Path(folder) / "x"
        path.with_name("x.download").write_bytes(partly)
        counted = 0

        def count(done: int) -> None:
            nonlocal counted
            counted += done
            assert path.with_name("x.download").stat().st_size <= known.most

        url = f"{server.url}/test_x.h5.gz"
        said = ""
        try:
            download.download(url, path, known, expected=md5(content), progress=count)
        except PcamError as error:
            said = str(error)
        if said:
            assert said.endswith(".")
            assert not path.exists()
        else:
            assert path.read_bytes() == content
            assert counted in (len(content), len(content) - len(partly))
