"""Prediction straight from pixels: what a store gives, batch by batch, and only what has a share."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import FITTED, Result

import pcam_features as pcam_api
from pcam_features.constants import Adapt
from pcam_features.extraction import streaming
from pcam_features.families.registry import FAMILIES
from pcam_features.learn.base_models import logits
from pcam_features.learn.bundle import Bundle, read
from pcam_features.learn.predict import predict
from pcam_features.sources.source import Split
from pcam_features.store import layout
from pcam_features.store.store import open_store
from pcam_features.store.values import spans_of, stored

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A source with enough test patches to adapt to, of several slides, and its features."""
    source = pcam_api.open_source("synthetic:1000:8:1")
    folder = tmp_path_factory.mktemp("large") / "store"
    pcam_api.extract(source, folder, split="test", families=",".join(FITTED), progress=None)
    return source, folder


@pytest.mark.parametrize("adapt", list(Adapt))
def test_parity_pixels_and_store_give_the_same_bits(
    model_folder: Path, large: tuple[Any, Path], adapt: Adapt
) -> None:
    source, store = large
    model = pcam_api.open_model(model_folder)
    stored_ones = model.predict_split(store, adapt=adapt)
    own = model.predict_split(source, adapt=adapt, progress=None)
    assert own.ids == stored_ones.ids
    np.testing.assert_array_equal(own.probabilities, stored_ones.probabilities)
    assert own.adaptation == stored_ones.adaptation
    found = model.predict_proba(source, split="test", adapt="none", progress=None)[:, 1]
    if adapt == Adapt.none:
        np.testing.assert_array_equal(found, own.probabilities)
    if adapt == Adapt.whole:
        assert own.adaptation is not None
        assert own.adaptation.patches == 250
        assert (found != own.probabilities).mean() > 0.9
    assert own.cost.predict_patches_per_second is not None
    assert own.cost.adaptation == (None if own.adaptation is None else own.adaptation.sentence())


def weighted(bundle: Bundle, names: list[str]) -> Bundle:
    """The bundle with the shares of all but some models set to zero."""
    stack = bundle.stack
    weights = tuple(
        weight if name in names else 0.0
        for name, weight in zip(stack.models, stack.weights, strict=True)
    )
    return replace(bundle, manifest=replace(bundle.manifest, stack=replace(stack, weights=weights)))


class NeverAsked:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a model without a share was asked for its {name}")


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["color_kernel"], ["color"]),
        (["texture_kernel"], ["glcm", "lbp"]),
        (["color_kernel", "all_trees"], list(FITTED)),
    ],
)
def test_invariant_models_without_a_share_are_neither_evaluated_nor_read(
    model_folder: Path, store_folder: Path, names: list[str], families: list[str]
) -> None:
    bundle, store = weighted(read(model_folder), names), open_store(store_folder)
    everything = stored(store, "test", bundle.families, keep=False)
    expected = bundle.stack.probability(logits(bundle.models, everything, 2))
    assert bundle.families_needed == families
    silent: dict[str, Any] = {
        name: model if name in names else NeverAsked() for name, model in bundle.models.items()
    }
    asked = replace(bundle, models=silent)
    kept = {name: store.manifest.families[name] for name in families}
    less = replace(store, manifest=replace(store.manifest, families=kept))
    _, found = predict(asked, less, "test", 2)
    np.testing.assert_array_equal(found.probabilities, expected)


def test_mechanics_from_pixels_only_needed_families_are_computed(
    model_folder: Path, large: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pcam_api.open_model(model_folder)
    model.bundle = weighted(model.bundle, ["color_kernel"])
    computed: list[str] = []
    usual = streaming.kept_open

    def watched(families: Any, threads: int, device: Any) -> Any:
        computed.extend(family.name for family in families)
        return usual(families, threads, device)

    monkeypatch.setattr(streaming, "kept_open", watched)
    own = model.predict_split(large[0], progress=None).probabilities
    assert computed == ["color", "thumbnail"]  # the latter finds copies of training patches
    expected = model.predict_split(large[1]).probabilities
    np.testing.assert_array_equal(own, expected)


class Counted:
    """Patches of a split over and over, which counts how often each is read."""

    def __init__(self, split: Split, rows: int) -> None:
        self.patches, self.counts = split.read(0, 64), np.zeros(rows, int)

    def __len__(self) -> int:
        return len(self.counts)

    def read(self, start: int, stop: int) -> np.ndarray:
        self.counts[start:stop] += 1
        return self.patches[np.arange(start, stop) % 64]


def test_invariant_memory_holds_one_part_and_patches_are_read_once(
    large: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PART_ROWS", 128)
    peaks = {}
    for rows in (256, 1024):
        for folder in (None, tmp_path / str(rows)):
            if folder is not None:
                folder.mkdir()
            images = Counted(large[0].splits["test"], rows)
            values = streaming.streamed(images, [FAMILIES["color"]], threads=1, folder=folder)
            assert len(spans_of(rows)) == rows // 128
            tracemalloc.start()
            sums = [block.sum(dtype=np.float64) for _, block in values.blocks(["color"])]
            peaks[rows, folder is not None] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert (images.counts == 1).all()
            again = [block.sum(dtype=np.float64) for _, block in values.blocks(["color"])]
            assert again == sums
            assert (images.counts == (1 if folder else 2)).all()
    part = 128 * len(FAMILIES["color"].columns) * 4
    for kept in (False, True):
        assert abs(peaks[1024, kept] - peaks[256, kept]) < 2 * part  # six more parts were measured
        assert peaks[1024, kept] > part


def test_mechanics_commands_take_a_source_in_place_of_a_store(
    pcam: Run, model_folder: Path, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    for name, data in (("store", store_folder), ("source", synthetic_folder)):
        done = pcam("predict", model_folder, data, tmp_path / f"{name}.csv", "--threads", 2)
        assert done.code == 0, done.err
        sample = synthetic_folder / "sample_submission.csv"
        sent = tmp_path / f"sent_{name}.csv"
        done = pcam("submit", model_folder, data, sent, "--sample", sample, "--adapt", "split")
        assert done.code == 0, done.err
        assert "adaptation: no patch adapted" in done.err
        assert pd.read_csv(sent)["id"].tolist() == pd.read_csv(sample)["id"].tolist()
        for file in (f"{name}.cost.json", f"sent_{name}.cost.json"):
            cost = json.loads((tmp_path / file).read_text())
            assert cost["parameters"] > 0
            assert cost["predict_patches_per_second"] > 0
            assert ("adaptation" in cost) == file.startswith("sent")
    for start in ("", "sent_"):
        source, store = ((tmp_path / f"{start}{name}.csv").read_bytes() for name in ("source", "store"))
        assert source == store


def test_mechanics_patches_of_the_fit_get_their_out_of_fold_predictions(
    model_folder: Path, store_folder: Path, synthetic_folder: Path
) -> None:
    model, said = pcam_api.open_model(model_folder), []
    own = model.predict_split(synthetic_folder, "train", log=said.append)
    expected = model.predict_split(store_folder, "train")
    assert own.out_of_fold
    assert any("out-of-fold predictions" in sentence for sentence in said)
    np.testing.assert_array_equal(own.probabilities, expected.probabilities)
    assert own.cost.predict_patches_per_second is None
    with pytest.raises(pcam_api.InputError, match="out-of-fold predictions are not adapted"):
        model.predict_split(synthetic_folder, "train", adapt="split")


def test_mechanics_options_of_a_source_are_refused_with_a_store(
    pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    done = pcam("predict", model_folder, store_folder, tmp_path / "p.csv", "--fit", "crop")
    assert done.code == 2
    assert "is for a source, and" in done.err
    assert "is a feature store; leave it out" in done.err
    done = pcam("predict", model_folder, tmp_path / "nowhere", tmp_path / "p.csv")
    assert done.code == 2
    assert "nowhere" in done.err
    assert not (tmp_path / "p.csv").exists()


def test_mechanics_a_disk_that_is_too_small_for_adaptation_is_said_before(
    model_folder: Path, large: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = streaming.shutil.disk_usage
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))
    with pytest.raises(pcam_api.InputError, match="1000 bytes free; name another folder with TMPDIR"):
        pcam_api.open_model(model_folder).predict_split(large[0], adapt="split", progress=None)
