"""A bundle from a stranger is refused in one sentence, whatever was done to it, and runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from conftest import FITTED
from signed import manifest_of, seal, sign

from pcam_features.errors import InputError
from pcam_features.families.registry import FAMILIES
from pcam_features.learn import boosting, bundle, kernel_ridge, ubjson
from pcam_features.learn.predict import how_to_extract
from pcam_features.storage.sums import FileSum
from pcam_features.store.manifest import FamilyRecord
from pcam_features.store.store import open_store


def damaged(manifest: dict[str, object], change: str) -> dict[str, object]:
    changed = json.loads(json.dumps(manifest))
    if change == "climbing family":
        changed["families"]["../../etc"] = changed["families"]["color"]
    if change == "checksum":
        changed["files"]["all/trees.ubj"] = (
            f"{'0' * 64} {FileSum.parse(changed['files']['all/trees.ubj']).size}"
        )
    if change == "weight":
        changed["stack"]["weights"]["texture_kernel"] = float("inf")
    if change == "no stack":
        del changed["stack"]
    if change == "columns":
        changed["families"]["color"]["columns"].pop()
    if change == "version":
        changed["bundle_version"] = 99
    return dict(changed)


@pytest.mark.parametrize(
    "change", ["climbing family", "checksum", "weight", "no stack", "columns", "version"]
)
def test_mechanics_hostile_manifests_are_refused(
    change: str, model_folder: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    seal(hostile, damaged(manifest_of(hostile), change))
    with pytest.raises(InputError, match=r"model .*\.$"):
        bundle.read(hostile)


@pytest.mark.parametrize("content", [b"", b"not a booster", None])
def test_mechanics_hostile_boosters_are_refused(
    content: bytes | None, model_folder: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    booster = boosting.booster_path(hostile, "all")
    content = booster.read_bytes()[:2000] if content is None else content
    booster.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged \(all/trees\.ubj: it has [\d,]+ bytes instead of"):
        bundle.read(hostile)
    sign(hostile)  # as whoever made it would
    with pytest.raises(InputError, match="not an XGBoost model"):
        bundle.read(hostile)


COLUMNS = sum(len(FAMILIES[name].columns) for name in FITTED)  # of the trees of all families


def loop(tree: dict[str, Any]) -> None:
    """The root's first child has the root as its own."""
    child = tree["left_children"][0]
    tree["left_children"][child] = tree["right_children"][child] = 0
    tree["parents"][0] = child


def two_in_a_ring(tree: dict[str, Any]) -> None:
    """Two children of the root that are each other's parents, and not the root's any more."""
    one, other = tree["left_children"][0], tree["right_children"][0]
    for a, b in ((one, other), (other, one)):
        tree["left_children"][a] = tree["right_children"][a] = b
        tree["parents"][a] = b


TREES: dict[str, Callable[[dict[str, Any]], None]] = {
    "loop": loop,
    "ring": two_in_a_ring,
    "far child": lambda tree: tree["left_children"].__setitem__(0, 1 << 28),
    "child before all": lambda tree: tree["right_children"].__setitem__(0, -7),
    "half a leaf": lambda tree: tree["right_children"].__setitem__(0, -1),
    "far column": lambda tree: tree["split_indices"].__setitem__(0, 1 << 28),
    "next column": lambda tree: tree["split_indices"].__setitem__(0, COLUMNS),
}


@pytest.mark.parametrize("change", TREES)
def test_mechanics_trees_that_lead_astray_are_refused(change: str, model_folder: Path) -> None:
    file = boosting.booster_path(model_folder, "all")
    booster = xgboost.Booster(model_file=bytearray(file.read_bytes()))
    model = json.loads(booster.save_raw("json"))
    boosting.check_trees(model, booster.num_features())
    TREES[change](model["learner"]["gradient_booster"]["model"]["trees"][-1])
    with pytest.raises(ValueError, match="a tree"):
        boosting.check_trees(model, booster.num_features())


def deep(content: bytes) -> bytes:
    return b"{L" + (1).to_bytes(8, "big") + b"a" + b"[" * 10**6


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "nested without end": deep,
    "text": lambda content: b'{"a":' + b"[" * 10**6,
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"}",
    "long array": lambda content: b"{i\x01a[$d#l\x40\x00\x00\x00" + bytes(64) + b"}",
    "long key": lambda content: content[:1] + b"L" + (1 << 40).to_bytes(8, "big") + content[10:],
    "negative": lambda content: content[:1] + b"i" + b"\xff" + content[10:],
    "values without a number": lambda content: b"{i\x01a[$l}",
    "unknown kind": lambda content: b"{i\x01aQ}",
}


@pytest.mark.parametrize("change", HOSTILE)
def test_mechanics_files_that_xgboost_would_follow_anywhere_are_refused(
    change: str, model_folder: Path
) -> None:
    content = boosting.booster_path(model_folder, "all").read_bytes()
    ubjson.check(content)
    hostile = HOSTILE[change](content)
    assert hostile != content
    with pytest.raises(ValueError, match=r"\w"):
        ubjson.check(hostile)


def test_oracle_ubjson_is_as_its_standard_says() -> None:
    ubjson.check(b"{i\x01a[i\x01U\xffI\x00\x01Sl\x00\x00\x00\x02hiTFZ]i\x01b{i\x01cD12345678}}")
    ubjson.check(b"{i\x01a[$d#i\x0212345678i\x01b[#i\x02Z[]}")
    ubjson.check(b"{}")


NUMBERS: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[object, ...]]] = {
    "not a number": (lambda m: m.update(seed=float("nan")), ("model", "{model}", "--json")),
    "beyond floats": (lambda m: m["leakage"].update(auc=10**400), ("model", "{model}")),
    "without end": (
        lambda m: m["stack"]["weights"].update(dict.fromkeys(m["stack"]["weights"], 1e308)),
        ("explain", "{model}", "{store}", "--id", "{id}", "--json"),
    ),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("change", NUMBERS)
def test_mechanics_numbers_that_are_none_are_refused(
    change: str, model_folder: Path, store_folder: Path, tmp_path: Path, pcam: Callable[..., Any]
) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    manifest = json.loads((hostile / "manifest.json").read_text())
    spoil, words = NUMBERS[change]
    spoil(manifest)
    seal(hostile, manifest)
    patch = open_store(store_folder).patches("test")["id"][0]
    known = {"model": hostile, "store": store_folder, "id": patch}
    result = pcam(*[str(word).format(**known) for word in words])
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.out == ""


@pytest.mark.parametrize("key", ["num_class", "num_target"])
def test_mechanics_boosters_of_many_outputs_are_refused(key: str, model_folder: Path) -> None:
    file = boosting.booster_path(model_folder, "all")
    booster = xgboost.Booster(model_file=bytearray(file.read_bytes()))
    model = json.loads(booster.save_raw("json"))
    model["learner"]["learner_model_param"][key] = "1000000"
    with pytest.raises(ValueError, match="one output"):
        boosting.check_trees(model, booster.num_features())


@pytest.mark.parametrize("change", ["loop", "far child", "far column"])
def test_mechanics_a_bundle_with_such_trees_is_refused(
    change: str, model_folder: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    file = boosting.booster_path(hostile, "all")
    model = json.loads(xgboost.Booster(model_file=bytearray(file.read_bytes())).save_raw("json"))
    TREES[change](model["learner"]["gradient_booster"]["model"]["trees"][0])
    changed = xgboost.Booster(model_file=bytearray(json.dumps(model).encode()))
    file.write_bytes(changed.save_raw("ubj"))
    sign(hostile)
    with pytest.raises(InputError, match="not an XGBoost model"):
        bundle.read(hostile)


@pytest.mark.parametrize("fact", ["network", "size", "depths", "weights_sha256"])
def test_mechanics_advice_repeats_nothing_of_a_strangers(fact: str, model_folder: Path) -> None:
    opened = bundle.read(model_folder)
    facts: dict[str, Any] = {
        "network": "efficientnet_lite0",
        "size": 96,
        "depths": ["block02", "head"],
        "pools": ["mean"],
        "views": 4,
        "precision": "f32",
        "runtime": "openvino",
        "weights_sha256": "ab" * 32,
    }
    net = FamilyRecord(1, ("net_96px__mean__patch_head_0",), facts)
    families = opened.manifest.families | {"net_96px": net}
    opened = replace(opened, manifest=replace(opened.manifest, families=families))
    assert how_to_extract("net_96px", opened) == (
        "--families cnn --encoder efficientnet_lite0 --size 96 --depths block02,head --pools mean "
        "--views 4 --precision f32 --runtime openvino"
    )
    facts[fact] = ["96; rm -rf ~", {"x": "\x1b[2J"}]
    if fact == "weights_sha256":
        facts["network"] = "other"
    said = how_to_extract("net_96px", opened)
    assert "rm" not in said
    assert said.startswith("--families cnn and the --encoder whose weights are those ")


def pretend_large(content: bytes) -> bytes:
    """An array's file that says it has a million rows, in as many letters as before."""
    shape = content[: content.index(b"}")].split(b"'shape': ")[1]
    larger = b"(1000000, 9), "
    return content.replace(shape, larger.ljust(len(shape)), 1)


@pytest.mark.parametrize("name", ["landmarks", "weights"])
@pytest.mark.parametrize(
    "change",
    ["empty", "cut", "pickle", "large", "doubles", "infinite", "narrow", "zip", "open header"],
)
def test_mechanics_hostile_arrays_are_refused(
    name: str, change: str, model_folder: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    file = kernel_ridge.array_path(hostile, "texture", name)
    array = np.load(file)
    if change == "empty":
        file.write_bytes(b"")
    if change == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    if change == "pickle":
        np.save(file, np.array([print, None], object), allow_pickle=True)
    if change == "large":
        file.write_bytes(pretend_large(file.read_bytes()))
    if change == "doubles":
        np.save(file, array.astype(np.float64 if name == "landmarks" else np.float32))
    if change == "infinite":
        np.save(file, np.where(array == array.flat[-1], np.inf, array).astype(array.dtype))
    if change == "zip":
        file.write_bytes(b"PK\x03\x04" + bytes(100))
    if change == "open header":
        file.write_bytes(file.read_bytes().replace(b"}", b"(", 1))
    if change == "narrow":
        np.save(file, array[:, 1:] if name == "landmarks" else array[1:])
    with pytest.raises(InputError, match=rf"damaged \(texture/{name}\.npy: it "):
        bundle.read(hostile)
    sign(hostile)
    with pytest.raises(InputError, match="damaged"):
        bundle.read(hostile)
