"""JSON as strangers write it is refused in a sentence before a value of it is used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcam_features.errors import InputError
from pcam_features.storage import json_text
from pcam_features.storage.fields import Fields
from pcam_features.storage.files import read_json, write_json
from pcam_features.words import is_one_line

REFUSED = {
    "infinity": '{"a": 1e999}',
    "a constant that JSON lacks": '{"a": NaN}',
    "minus infinity": '{"a": -1e400}',
    "ten million digits": '{"a": ' + "9" * 10_000_000 + "}",
    "a number past 64 bits": '{"a": 18446744073709551616}',
    "a thousand lists": '{"a": ' + "[" * 1000 + "]" * 1000 + "}",
    "forty lists": '{"a": ' + "[" * 40 + "]" * 40 + "}",
    "a million lists": "[" * 1_000_000,
    "half a character": '{"a": "\\ud800"}',
    "half a character as a name": '{"\\udcff": 1}',
    "a name twice": '{"a": 1, "a": 2}',
    "no object": "[1]",
    "nothing": "",
    "no JSON": "pickle",
}


@pytest.mark.parametrize("name", REFUSED)
def test_mechanics_what_is_no_plain_json_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(REFUSED[name])
    with pytest.raises(InputError) as refusal:
        read_json(file, "manifest")
    sentence = str(refusal.value)
    assert sentence.startswith(f"manifest {file} ")
    assert sentence.endswith(".")
    assert is_one_line(sentence)
    assert len(sentence) < 400


def test_mechanics_json_that_is_not_utf_8_or_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    for content in (b'{"a": "\xff"}', b"\xff\xfe{\0}\0", b'{"a": "' + b"x" * json_text.LARGEST + b'"}'):
        file.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            read_json(file, "manifest")


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_mechanics_what_is_no_regular_file_is_not_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    if kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(InputError, match="is not a regular file"):
        read_json(file, "manifest")


def test_invariant_what_is_written_is_read(tmp_path: Path) -> None:
    content = {"a": [1, -2.5, None, True, "Größe", {"b": {}}], "name": "データ", "large": 1 << 62}
    write_json(tmp_path / "file.json", content)
    assert read_json(tmp_path / "file.json", "file") == content


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x00", "\u2028", "\u202egpj.exe", "x" * 5000])
def test_mechanics_fields_hold_one_line_of_text(text: str) -> None:
    with pytest.raises(ValueError, match="path is not one line of text"):
        Fields({"path": text}, "source").text("path")
    with pytest.raises(ValueError, match="columns is not a list of texts"):
        Fields({"columns": ["a", text]}).texts("columns")
    with pytest.raises(ValueError, match="has an entry") as refusal:
        Fields({text: 1})
    assert is_one_line(str(refusal.value))
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("number", [1e300, -1e300, 10**400, True, "1", None, [1], float("nan")])
def test_mechanics_fields_hold_numbers_that_can_be_computed_with(number: object) -> None:
    with pytest.raises(ValueError, match="auc is"):
        Fields({"auc": number}).number("auc")


def test_mechanics_fields_have_limits() -> None:
    assert Fields({"auc": 0}).share("auc") == 0
    for wrong in (-1e-9, 1 + 1e-9, 2):
        with pytest.raises(ValueError, match="auc is out of range"):
            Fields({"auc": wrong}).share("auc")
