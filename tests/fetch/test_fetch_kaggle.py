"""Kaggle's zip is looked at member by member, and what its client says ends in one sentence."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import pytest
from conftest import Result
from hostile import Server, answer
from hypothesis import given, settings
from hypothesis import strategies as st

from pcam_features.fetch import download, kaggle_client
from pcam_features.fetch import kaggle_zip as archive
from pcam_features.fetch.kaggle import NAME, UNCHECKED
from pcam_features.fetch.kaggle_zip import flaw_of

Run = Callable[..., Result]
MEMBERS = {
    **{f"train/{k}.tif": bytes([k]) * 3000 for k in range(5)},
    **{f"test/{k}.tif": bytes([99, k]) * 1500 for k in range(2)},
    "train_labels.csv": b"id,label\n" * 50,
    "sample_submission.csv": b"id,label\n" * 20,
}


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


ZIP = zipped(MEMBERS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A competition of seven patches, nobody signed in, and no waiting."""
    monkeypatch.setattr(archive, "TRAIN", 5)
    monkeypatch.setattr(archive, "TEST", 2)
    monkeypatch.setattr(kaggle_client, "POLL", 0.02)
    monkeypatch.setattr(download, "pause", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in (*kaggle_client.TOKENS, "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with hostile.serving(**{NAME: ZIP}) as running:
        yield running


def client(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the client be a module that does this."""
    (folder / "kaggle").mkdir(parents=True)
    (folder / "kaggle" / "__init__.py").touch()
    (folder / "kaggle" / "__main__.py").write_text(f"import sys, time, pathlib\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


DOWNLOADS = (
    "folder = pathlib.Path(sys.argv[sys.argv.index('-p') + 1])\n"
    f"path = folder / {NAME!r}\nmarker = folder / {NAME + '.kaggle-partial'!r}\n"
)


def test_oracle_a_mirrors_zip_is_checked_and_recorded(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.behaviors = [hostile.honest, hostile.drops]
    result = pcam("fetch", "kaggle", tmp_path, "--mirror", server.url, "--json")
    assert result.code == 0, result.err
    assert (tmp_path / NAME).read_bytes() == ZIP
    for table in archive.TABLES:
        assert (tmp_path / table).read_bytes() == MEMBERS[table]
    report = json.loads(result.out)
    assert report["bytes_to_download"] == report["bytes_of_disk"] == len(ZIP)
    assert report["files"][NAME] == {
        "url": f"{server.url}/{NAME}",
        "bytes": len(ZIP),
        "sha256": hashlib.sha256(ZIP).hexdigest(),
    }
    asked = len(server.asked)
    again = pcam("fetch", "kaggle", tmp_path, "--mirror", server.url)
    assert (again.code, len(server.asked)) == (0, asked)
    assert "--verify (this checks that each id" in again.err


def test_mechanics_a_zip_that_stands_there_is_checked_and_never_replaced(
    pcam: Run, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_bytes(ZIP)
    assert pcam("fetch", "kaggle", tmp_path).code == 0
    for _ in range(2):
        (tmp_path / NAME).write_bytes(b"mine")
        result = pcam("fetch", "kaggle", tmp_path)
        assert result.code == 2
        assert "move it away" in result.err
        assert (tmp_path / NAME).read_bytes() == b"mine"
        (tmp_path / "fetched.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("behavior", "words"),
    [
        (answer(200, Content_Length=None), "does not report the size"),
        (answer(200, Content_Length=10**12), "more than the largest possible size of 17,179,869,184"),
        (answer(403), "refuses access"),
    ],
)
def test_mechanics_a_mirror_must_say_how_large_it_is(
    behavior: hostile.Behavior, words: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.behaviors = [behavior]
    result = pcam("fetch", "kaggle", tmp_path, "--mirror", server.url, "--dry-run")
    assert result.code == 1
    assert words in result.err


def renamed(name: str) -> bytes:
    """The zip with a member of another name, of the same length, in both of its places."""
    return ZIP.replace(b"train/0.tif", name.encode())


def entry_changed(offset: int, value: bytes) -> bytes:
    """The zip with a field of the first member's entry in the list changed."""
    at = ZIP.index(b"PK\x01\x02") + offset
    return ZIP[:at] + value + ZIP[at + len(value) :]


without = {name: content for name, content in MEMBERS.items() if name != "train/3.tif"}
HOSTILE = {
    "climbs": (renamed("../../0.tif"), "leads out of the zip"),
    "climbs inside": (renamed("tr/../0.tif"), "leads out of the zip"),
    "absolute": (renamed("/rain/0.tif"), "leads out of the zip"),
    "drive": (renamed("C:ain/0.tif"), "leads out of the zip"),
    "backslash": (renamed("train\\0.tif"), "leads out of the zip"),
    "NUL": (renamed("train/0\0tif"), "leads out of the zip"),
    "twice": (ZIP.replace(b"train/0.tif", b"train/1.tif"), "more than once"),
    "missing": (zipped(without), "has 4 patches in train instead of 5"),
    "no table": (
        renamed("other_names").replace(b"train_labels", b"brain_labels"),
        "has no train_labels",
    ),
    "damaged": (
        zipped(MEMBERS, zipfile.ZIP_STORED).replace(b"\x02" * 3000, b"\x02" * 2999 + b"\x03"),
        "its file train/2.tif is damaged (Bad CRC-32",
    ),
    "truncated": (ZIP[:-30], "cannot be read as a zip"),
    "no zip": (b"<html>sign in</html>", "cannot be read as a zip"),
    "says too much": (
        entry_changed(24, struct.pack("<L", 1 << 30)),
        "is too large (1,073,741,824 bytes)",
    ),
    "bomb": (zipped(MEMBERS | {"train/0.tif": bytes(17 << 20)}), "is too large (17,825,792 bytes)"),
    "hidden bomb": (
        zipped(MEMBERS | {"train/0.tif": bytes(9 << 20)}).replace(
            struct.pack("<L", 9 << 20), struct.pack("<L", 3000)
        ),
        "is damaged",
    ),
    "encrypted": (entry_changed(8, b"\x01\0"), "is encrypted"),
    "other packing": (entry_changed(10, b"\x0c\0"), "is compressed in a way"),
    "beyond": (entry_changed(42, struct.pack("<L", 1 << 31)), "is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_invariant_a_hostile_zip_never_gets_its_name(
    name: str, pcam: Run, server: Server, tmp_path: Path
) -> None:
    server.files[NAME], words = HOSTILE[name]
    result = pcam("fetch", "kaggle", tmp_path, "--mirror", server.url)
    assert result.code == 1
    assert words in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_mechanics_lists_and_totals_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_bytes(ZIP)
    assert flaw_of(tmp_path / "a.zip") == ""
    with monkeypatch.context() as patch:
        patch.setattr(archive, "MOST_DIRECTORY", 300)
        assert "its directory is larger than" in flaw_of(tmp_path / "a.zip")
    monkeypatch.setattr(archive, "MOST_BYTES", len(ZIP))
    assert "its files are larger than" in flaw_of(tmp_path / "a.zip")
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    assert "it is larger than" in flaw_of(tmp_path / "a.zip")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_invariant_damage_is_found_or_does_no_harm(data: st.DataObject) -> None:
    import tempfile

    content = bytearray(ZIP)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "TRAIN", 5)
        patch.setattr(archive, "TEST", 2)
        path = Path(folder) / "a.zip"
        path.write_bytes(bytes(content))
        if flaw_of(path) == "":
            with zipfile.ZipFile(path) as made:
                assert sorted(map(made.read, made.namelist())) == sorted(MEMBERS.values())


SAID = {  # of the client 2.2.5, as it was seen to print
    "no token": (
        "print('Authentication required to call the Kaggle API.\\n\\nFirst, you'); sys.exit(1)",
        "none was found; create an API token at",
    ),
    "rules": (
        "sys.exit(\"You must accept this competition's rules before you'll be able to download files."
        "\\n\\nYou don't have access to this resource.\\nIf this is a competition, you may need to "
        'accept its rules first at\\n  https://www.kaggle.com/competitions/<competition>/rules")',
        "https://www.kaggle.com/competitions/histopathologic-cancer-detection/rules",
    ),
    "old rules": ("sys.exit('403 - Forbidden')", "rules are not accepted yet"),
    "old token": ("sys.exit('401 - Unauthorized')", "rejected the API token"),
    "no network": (
        "sys.exit(\"HTTPSConnectionPool(host='api.kaggle.com'): Max retries exceeded with url: "
        '/v1/x (Caused by NameResolutionError(...))")',
        "cannot be reached",
    ),
    "no network, token": (
        "class ConnectionError(Exception): pass\n"
        "raise ConnectionError('HTTPSConnectionPool: Max retries exceeded with url')",
        "cannot be reached",
    ),
    "broken": ("import six_of_one", "needs the package six_of_one; run: pip install six_of_one"),
    "out of order": (
        'sys.exit("oops\\n\\nThis is a problem on Kaggle\'s side, not with your command.")',
        "is unavailable",
    ),
    "busy": ("sys.exit('Too many\\n\\nYou have been rate limited.')", "limits the number of requests"),
    "something": (
        "sys.exit('Not found\\n\\nThe resource was not found.')",
        "client failed: Not found;",
    ),
    "a bug": ("[][1]", "client failed: IndexError: list index out of range;"),
    "silent": ("sys.exit(3)", "it gave no reason"),
    "nothing came": ("pass", "it gave no reason"),
}


@pytest.mark.parametrize("name", SAID)
def test_mechanics_what_the_client_says_becomes_a_sentence(
    name: str, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, words = SAID[name]
    client(tmp_path / "client", monkeypatch, code)
    result = pcam("fetch", "kaggle", tmp_path / "a")
    assert (result.code, result.out) == (1, "")
    assert words in result.err.splitlines()[-1]


def test_mechanics_a_token_that_is_refused_is_told_from_one_that_is_missing(
    pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path / "client", monkeypatch, SAID["no token"][0])
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    result = pcam("fetch", "kaggle", tmp_path / "a")
    assert "rejected the API token that was found" in result.err
    assert "secret" not in result.err


def test_mechanics_a_client_that_is_not_installed_is_asked_for(
    pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_client.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text('#!/bin/sh\necho "$0: No module named kaggle" >&2; exit 1\n')
    (tmp_path / "python").chmod(0o755)
    assert "pip install 'pcam-features[kaggle]'" in pcam("fetch", "kaggle", tmp_path / "a").err


def test_mechanics_what_lies_around_is_not_taken_for_the_client(
    pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path / "client", monkeypatch, "sys.exit('the client')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kaggle.py").write_text("import sys; sys.exit('what lay around')")
    assert "client failed: the client;" in pcam("fetch", "kaggle", tmp_path / "a").err


def test_mechanics_the_clients_part_is_kept_and_its_zip_checked(
    pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zip").write_bytes(ZIP)
    came = f"content = pathlib.Path({str(tmp_path / 'zip')!r}).read_bytes()\n"
    begins = (
        f'marker.write_text(\'{{"size": {len(ZIP)}, "validator": "x"}}\')\n'
        "path.write_bytes(content[:700])\ntime.sleep(0.3)\n"
    )
    client(tmp_path / "one", monkeypatch, DOWNLOADS + came + begins)
    result = pcam("fetch", "kaggle", tmp_path / "a")
    assert result.code == 1  # it ended as if all were well, as it does after Ctrl-C
    part = tmp_path / "a" / f"{NAME}.download" / NAME
    assert part.read_bytes() == ZIP[:700]
    goes_on = "assert path.read_bytes() == content[:700]\npath.write_bytes(content)\nmarker.unlink()\n"
    client(tmp_path / "two", monkeypatch, DOWNLOADS + came + goes_on)
    result = pcam("fetch", "kaggle", tmp_path / "a")
    assert result.code == 0, result.err
    left = {path.name for path in (tmp_path / "a").iterdir()}
    assert left == {NAME, "fetched.json", "lock", *archive.TABLES}
    assert (tmp_path / "a" / NAME).read_bytes() == ZIP


def test_mechanics_a_check_that_was_stopped_needs_no_second_download(
    pcam: Run, server: Server, tmp_path: Path
) -> None:
    (tmp_path / UNCHECKED).write_bytes(ZIP)
    assert pcam("fetch", "kaggle", tmp_path, "--mirror", server.url).code == 0
    assert server.asked == []


def test_mechanics_an_option_of_the_other_data_set_is_refused(pcam: Run, tmp_path: Path) -> None:
    assert pcam("fetch", "kaggle", tmp_path, "--keep-packed").code == 2
