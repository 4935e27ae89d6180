"""The reference networks are those they are said to be, and a run that was stopped goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from signed import seal, sign
from skimage.color import hed2rgb, rgb2hed
from sklearn.metrics import roc_auc_score
from with_timm import timm_or_skip

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

import pcam_features
from pcam_features.errors import InputError
from pcam_features.learn.fit import deal
from pcam_features.networks import architectures, augment, bundle, training
from pcam_features.networks import fit as deep
from pcam_features.networks.feed import batches, read_rows
from pcam_features.networks.manifest import NetworkManifest, TrainingOptions
from pcam_features.networks.predict import probabilities
from pcam_features.networks.training import schedule
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Split
from pcam_features.storage.resumable import STEPS, unfinished
from pcam_features.storage.sums import sealed
from pcam_features.store.store import open_store

Run = Callable[..., Result]
SMALL = ("--arch", "cnn_one", "--epochs", 2, "--folds", 3, "--batch", 32, "--threads", 1, "--json")


@pytest.fixture(scope="module")
def network(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on `synthetic_folder`."""
    path = tmp_path_factory.mktemp("networks") / "network"
    source, _ = open_source(str(synthetic_folder))
    split = source.splits["train"]
    task = deep.TrainingTask(source, split, "cnn_one", deep.deal(split, 3, 0, 1), held_out=0)
    deep.fit(task, path, TrainingOptions(2, 32, 5, 0, "cpu", 1))
    return path


def layers(name: str) -> list[tuple[object, ...]]:
    """What a network is made of, in order, without activations."""
    found: list[tuple[object, ...]] = []
    for one in architectures.RECIPES[architectures.Network(name)].build().modules():
        if isinstance(one, torch.nn.Conv2d):
            found.append(("conv", one.out_channels, one.kernel_size, one.padding))
        elif isinstance(one, torch.nn.MaxPool2d):
            size = one.kernel_size
            found.append(("pool", *(size if isinstance(size, tuple) else (size, size))))
        elif isinstance(one, torch.nn.Dropout) and one.p:
            found.append(("dropout", one.p))
        elif isinstance(one, architectures.MaxOverMap):
            found.append(("global max",))
        elif isinstance(one, torch.nn.Linear):
            found.append(("dense", one.out_features))
    return found


def conv(width: int) -> tuple[object, ...]:
    return ("conv", width, (3, 3), "same")


DROP = ("dropout", 0.3)
TWO = [
    conv(32),
    ("pool", 2, 2),
    conv(64),
    ("pool", 2, 1),
    conv(128),
    ("pool", 2, 1),
    ("global max",),
    ("dense", 256),
    DROP,
    ("dense", 128),
]
PROJECT = {
    "cnn_one": [
        conv(32),
        ("pool", 2, 2),
        conv(64),
        ("global max",),
        ("dense", 128),
        DROP,
        ("dense", 2),
    ],
    "cnn_two": [*TWO, ("dense", 2)],
    "cnn_three": [*TWO, DROP, ("dense", 2)],
    "cnn_four": [
        conv(32),
        conv(32),
        ("pool", 2, 1),
        DROP,
        conv(64),
        conv(64),
        ("pool", 2, 1),
        DROP,
        conv(128),
        conv(128),
        DROP,
        ("global max",),
        ("dense", 256),
        DROP,
        ("dense", 2),
    ],
}


@pytest.mark.parametrize("name", PROJECT)
def test_oracle_the_projects_networks_have_its_layers(name: str) -> None:
    assert layers(name) == PROJECT[name]
    known = architectures.RECIPES[architectures.Network(name)]
    assert (known.optimizer, known.rate, known.views) == (torch.optim.Adam, 1e-4, 1)
    assert known.decay == (2e-4 if name == "cnn_three" else 0)


@pytest.mark.parametrize("name", architectures.RECIPES)
def test_mechanics_every_network_takes_patches_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = architectures.RECIPES[architectures.Network(name)].build()
    out = model(torch.rand(2, 3, 96, 96))
    assert out.shape == (2, 2)
    torch.nn.functional.cross_entropy(out, torch.tensor([0, 1])).backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in model.parameters())


def test_oracle_decay_is_l2_in_the_loss() -> None:
    """One step of Adam with `decay` is one step on the loss and 1e-4 times the squared weights."""
    steps = []
    for in_loss in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0 if in_loss else 2e-4)
        for _ in range(5):
            loss = model(torch.ones(1, 4)).pow(2).sum()
            if in_loss:
                loss = loss + 1e-4 * sum(one.pow(2).sum() for one in model.parameters())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        steps.append(model.weight.detach())
    torch.testing.assert_close(*steps, rtol=1e-5, atol=1e-7)


def test_invariant_the_residual_network_says_the_same_of_a_turned_patch(synthetic_folder: Path) -> None:
    torch.manual_seed(0)
    known = architectures.RECIPES[architectures.Network.residual]
    model = known.build()
    split = open_source(str(synthetic_folder))[0].splits["train"]
    turned = type(split)(**vars(split) | {"read": lambda a, b: np.rot90(split.read(a, b), 1, (1, 2))})
    rows = np.arange(4)
    found = [probabilities(model, known, one, rows, "cpu", known.views) for one in (split, turned)]
    np.testing.assert_allclose(*found, atol=1e-6)
    assert np.ptp(found[0]) > 1e-4


def test_oracle_views_are_the_eight_of_the_square() -> None:
    patch = torch.arange(9.0).reshape(1, 1, 3, 3)
    views = {tuple(augment.turned(patch, k).flatten().tolist()) for k in range(8)}
    square = np.arange(9.0).reshape(3, 3)
    assert views == {
        tuple(np.rot90(one, k).ravel()) for one in (square, square[:, ::-1]) for k in range(4)
    }


def test_oracle_stain_jitter_is_scikit_images_stains_scaled_and_shifted(
    synthetic_batch: np.ndarray,
) -> None:
    light = np.clip(synthetic_batch[:3] / 255, 1e-2, 0.9)
    found = augment.stained(
        torch.from_numpy(light.transpose(0, 3, 1, 2).astype(np.float32)), np.random.default_rng(5)
    )
    a, b = np.random.default_rng(5).uniform(-augment.JITTER, augment.JITTER, (2, 3, 3))
    for k in range(3):
        stains = rgb2hed(light[k])  # in units of ln(1e-6), and never below zero
        if (stains > 0).all(axis=(0, 1)).all():
            expected = hed2rgb(stains * (1 + a[k]) + b[k] / -np.log(1e-6))
            np.testing.assert_allclose(found[k].permute(1, 2, 0), np.clip(expected, 0, 1), atol=2e-3)
    still = np.random.default_rng(5).uniform(-augment.JITTER, augment.JITTER, (2, 3, 3)).astype("f4")
    density = -np.log(light[1].astype(np.float64)) @ np.linalg.inv(augment.RGB_FROM_HED)
    by_hand = np.exp(-((density * (1 + still[0, 1]) + still[1, 1]) @ augment.RGB_FROM_HED))
    np.testing.assert_allclose(found[1].permute(1, 2, 0), np.clip(by_hand, 0, 1), atol=1e-5)
    assert np.abs(by_hand - light[1]).max() > 0.005


def test_invariant_the_rate_warms_up_and_ends_in_a_cosine() -> None:
    rates = [schedule(step, 400) for step in range(400)]
    assert rates[0] < 0.1
    assert max(rates) > 0.98
    assert rates[200] == pytest.approx(0.5)
    assert rates[-1] < 1e-4
    assert np.all(np.diff(rates[25:]) < 0)


def test_mechanics_patches_come_in_the_order_asked_for(synthetic_folder: Path) -> None:
    split = open_source(str(synthetic_folder))[0].splits["train"]
    asked = [np.array([5, 3, 3]), np.array([200]), np.array([0, 1]), np.array([9])]
    for rows, pixels in zip(asked, batches(split, asked), strict=True):
        np.testing.assert_array_equal(pixels, read_rows(split, rows))
        np.testing.assert_array_equal(pixels[0], split.read(rows[0], rows[0] + 1)[0])


def test_invariant_folds_are_those_of_fit(synthetic_folder: Path, store_folder: Path) -> None:
    split = open_source(str(synthetic_folder))[0].splits["train"]
    ours, theirs = deep.deal(split, 3, 0, 1), deal(open_store(store_folder), "train", 3, 0)
    assert ours.fingerprint() == theirs.fingerprint()


def test_invariant_folds_without_slides_are_those_of_fit(
    synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    words = ("--slides", "none", "--families", "color", "--split", "train")
    (synthetic_folder / "slides.csv").rename(tmp_path / "slides.csv")
    try:
        assert pcam("extract", synthetic_folder, store, *words).code == 0
        split = open_source(str(synthetic_folder), slides="none")[0].splits["train"]
    finally:
        (tmp_path / "slides.csv").rename(synthetic_folder / "slides.csv")
    assert (
        deep.deal(split, 3, 0, 1).fingerprint() == deal(open_store(store), "train", 3, 0).fingerprint()
    )


def test_parity_python_trains_and_predicts_as_the_command_line_does(
    network: Path, synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    told: list[str] = []
    steps: list[int] = []
    trained = pcam_features.fit_network(
        synthetic_folder,
        tmp_path / "n",
        arch="cnn_one",
        folds=3,
        epochs=2,
        batch=32,
        threads=1,
        device="cpu",
        progress=steps.append,
        log=told.append,
    )
    assert (tmp_path / "n" / "weights.safetensors").read_bytes() == (
        network / "weights.safetensors"
    ).read_bytes()
    learned = int((pd.read_parquet(network / "folds.parquet")["fold"] != 0).sum())
    assert sum(steps) == 2 * -(-learned // 32)
    assert any("fold 0 is held out" in sentence for sentence in told)
    again = pcam_features.open_network(network)
    assert again.held_out_auc == trained.held_out_auc == again.curve["auc"].max()
    assert list(again.curve.index) == [1, 2]
    assert "cnn_one" in repr(again)
    assert "<table" in again._repr_html_()
    for split in ("test", "train"):
        found = again.predict_split(synthetic_folder, split, device="cpu", threads=1, progress=None)
        found.write(tmp_path / "ours.csv")
        words = (tmp_path / "theirs.csv", "--split", split, "--device", "cpu", "--threads", 1)
        assert pcam("deep", "predict", network, synthetic_folder, *words).code == 0
        assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()
        assert (found.learned > 0) == (found.held_out > 0) == (split == "train")
        assert list(found.to_series().index) == found.ids
        assert json.loads((tmp_path / "ours.cost.json").read_text())["predict_patches_per_second"] > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs= is 0; give a whole number from 1 to 1,000"),
        ({"batch": 1.5}, "batch= is 1.5; give a whole number"),
        ({"rate": 0}, "rate= is 0"),
        ({"folds": 3, "folds_from": "model"}, "folds_from= already defines the number of folds"),
        ({"arch": "vgg"}, "there is no network vgg"),
        ({"source": "nowhere"}, "nowhere"),
    ],
)
def test_mechanics_python_is_told_its_own_names(
    given: dict[str, Any], said: str, synthetic_folder: Path, tmp_path: Path
) -> None:
    small: dict[str, Any] = {"source": synthetic_folder, "path": tmp_path / "n", "folds": 3}
    with pytest.raises(pcam_features.InputError, match=re.escape(said)):
        pcam_features.fit_network(**small | {"progress": None} | given)
    with pytest.raises(pcam_features.InputError, match=r"create one with pcam\.fit_network"):
        pcam_features.open_network(tmp_path / "n")


def test_mechanics_a_network_predicts_what_it_has_not_seen(
    network: Path, synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    out = tmp_path / "test.csv"
    assert pcam("deep", "predict", network, synthetic_folder, out).code == 0
    assert len(pd.read_csv(out)) == 60
    cost = json.loads((tmp_path / "test.cost.json").read_text())
    assert cost["parameters"] == 3 * 9 * 32 + 32 + 32 * 9 * 64 + 64 + 64 * 128 + 128 + 128 * 2 + 2
    assert cost["predict_patches_per_second"] > 0
    result = pcam(
        "deep", "predict", network, synthetic_folder, tmp_path / "held.csv", "--split", "train"
    )
    assert result.code == 0
    assert "were used for training and are left out" in result.err
    held = pd.read_csv(tmp_path / "held.csv").set_index("id")["label"]
    folds = pd.read_parquet(network / "folds.parquet").set_index("id")
    assert set(held.index) == set(folds.index[folds["fold"] == 0])
    manifest = json.loads((network / "manifest.json").read_text())
    known = roc_auc_score(folds["label"][held.index], held)
    assert manifest["held_out_auc"] == pytest.approx(known)
    assert manifest["curve"][manifest["best_epoch"] - 1]["auc"] == pytest.approx(known)


def test_mechanics_training_that_is_killed_goes_on_to_the_same_weights(
    network: Path, synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    again = tmp_path / "network"
    words = ["deep", "fit", str(synthetic_folder), str(again), *map(str, SMALL)]
    program = "from pcam_features.networks import training; training.CHECKPOINT_SECONDS = 0\n"
    program += "from pcam_features.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = unfinished(again) / STEPS / "checkpoint.safetensors"
    began = time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - began < 600:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert checkpoint.exists()
    assert not again.exists()
    kept = checkpoint.read_bytes()
    for damaged in (kept[:-100], b"", b"\x80\x04\x95cos\nsystem\n", kept.replace(b"curve", b"curse")):
        checkpoint.write_bytes(damaged)
        refused = pcam(*words)
        assert (refused.code, refused.out) == (2, "")
        assert "damaged" in refused.err
    checkpoint.write_bytes(kept)
    refused = pcam(*words[:-3], "--threads", 2)
    assert refused.code == 2
    assert "differs in how" in refused.err
    assert pcam(*words).code == 0
    assert (again / "weights.safetensors").read_bytes() == (
        network / "weights.safetensors"
    ).read_bytes()
    assert not (again / STEPS).exists()


def test_invariant_a_manifest_is_written_as_it_was_read(network: Path) -> None:
    text = json.dumps(sealed(bundle.read(network).manifest.to_dict()), indent=2) + "\n"
    assert text == (network / "manifest.json").read_text()


def test_mechanics_hostile_networks_are_refused(
    network: Path, synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    manifest = json.loads((network / "manifest.json").read_text())
    whole = (network / "weights.safetensors").read_bytes()
    other = bytearray(whole)
    other[-1] ^= 0x40
    cases: list[tuple[dict[str, object], bytes, str]] = [
        ({"network": "../../etc"}, whole, "damaged"),
        ({"network": None}, whole, "network is not text"),
        ({"folds": {}}, whole, "folds.count is missing"),
        ({"curve": [{"loss": 1}]}, whole, "curve[0].auc is missing"),
        ({"best_epoch": 3}, whole, "best_epoch is out of range"),
        ({"held_out_auc": "x"}, whole, "held_out_auc is not a number"),
        ({"views": 0}, whole, "views is out of range"),
        ({"averaging": 2}, whole, "averaging is out of range"),
        ({"body_rate": None}, whole, "body_rate is not a number"),
        ({"network": "cnn_nine"}, whole, "there is no network"),
        ({"network": "cnn_two"}, whole, "do not fit this network"),
        ({"network_version": 99}, whole, "another version"),
        ({}, bytes(other), "weights.safetensors: it does not have its sum"),
        ({}, whole[:500], "cannot be read"),
        ({}, b"", "cannot be read"),
        ({}, b"\xff" * 64, "cannot be read"),
        ({}, b"\x80\x04\x95cos\nsystem\n", "cannot be read"),
    ]
    for k, (changes, weights, said) in enumerate(cases):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(weights)
        seal(folder, manifest | changes)
        if said == "cannot be read":
            sign(folder)  # as whoever made it would
        refused = pcam("deep", "predict", folder, synthetic_folder, tmp_path / "p.csv")
        assert (refused.code, refused.out) == (2, ""), said
        assert said in refused.err
    assert not (tmp_path / "p.csv").exists()
    assert "not a trained network" in pcam("deep", "predict", tmp_path, "synthetic:40", "p.csv").err


def test_mechanics_bad_usage_is_one_sentence(
    network: Path, synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    for words, said in (
        ((synthetic_folder, network, "--folds", 3), "exists already"),
        ((synthetic_folder, new, "--arch", "vgg"), "there is no network vgg"),
        ((synthetic_folder, new, "--folds", 3, "--fold", 3), "no fold 3"),
        ((synthetic_folder, new, "--split", "test"), "no labels"),
        ((synthetic_folder, new, "--folds", 3, "--folds-from", network), "leave out --folds"),
        ((tmp_path / "nowhere", new), "no folder"),
    ):
        refused = pcam("deep", "fit", *words)
        assert (refused.code, refused.out) == (2, ""), words
        assert said in refused.err
    if not torch.cuda.is_available():
        assert "no CUDA device" in pcam("deep", "fit", synthetic_folder, new, "--device", "cuda").err
    assert not new.exists()


def test_mechanics_a_loss_without_end_stops(
    synthetic_folder: Path, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "at_random", lambda light, rng: light * float("nan"))
    result = pcam("deep", "fit", synthetic_folder, tmp_path / "n", *SMALL)
    assert (result.code, result.out) == (1, "")
    assert "use a lower --rate" in result.err
    assert not (tmp_path / "n").exists()


def unseen_by(network: Path, content: dict[str, Any], split: Split) -> tuple[np.ndarray, int, int]:
    return deep.unseen(network, NetworkManifest.from_dict(content, network), split)


def test_mechanics_patches_that_a_network_has_learned_from_are_left_out(
    network: Path, synthetic_folder: Path
) -> None:
    split = open_source(str(synthetic_folder))[0].splits["train"]
    content = json.loads((network / "manifest.json").read_text())
    fold = pd.read_parquet(network / "folds.parquet")["fold"].to_numpy()
    rows, of_held, learned = unseen_by(network, content, split)
    assert rows.tolist() == np.flatnonzero(fold == 0).tolist()
    assert (of_held, learned) == (len(rows), len(fold) - len(rows))
    other = type(split)(**vars(split) | {"ids": [*split.ids[:-1], "other"]})  # one is new to it
    more, _, fewer = unseen_by(network, content, other)
    assert len(fold) - 1 in more
    assert fewer in (learned, learned - 1)
    for held in (-1, 7, True, "0", 1.5):
        changed = content | {"folds": content["folds"] | {"held_out": held}}
        with pytest.raises(InputError, match="damaged"):
            unseen_by(network, sealed(changed), split)


@pytest.mark.gpu
def test_parity_a_network_on_a_card_says_what_it_says_on_the_cpu(synthetic_folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device")
    known = architectures.RECIPES[architectures.Network.residual]
    torch.manual_seed(0)
    model = known.build()
    split = open_source(str(synthetic_folder))[0].splits["train"]
    here = probabilities(model, known, split, np.arange(8), "cpu", 8)
    there = probabilities(model.to("cuda"), known, split, np.arange(8), "cuda", 8)
    np.testing.assert_allclose(here, there, atol=1e-3)


def test_mechanics_networks_of_timm_are_trained_and_read_again(
    synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    timm = timm_or_skip()
    from safetensors.torch import save_file

    weights = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), weights)
    words = ("--arch", f"timm:test_resnet:{weights}", "--epochs", 1, "--folds", 3)
    assert pcam("deep", "fit", synthetic_folder, tmp_path / "n", *words).code == 0
    weights.unlink()
    assert bundle.read(tmp_path / "n").manifest.network == "timm:test_resnet"
    assert pcam("deep", "predict", tmp_path / "n", synthetic_folder, tmp_path / "p.csv").code == 0
