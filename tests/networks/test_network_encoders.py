"""Networks of `deep fit` as encoders: equal to PyTorch, and refused where they know the labels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from embedded import embedded
from signed import manifest_of, seal, sign

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from safetensors.torch import load_file, save_file

import pcam_features
from pcam_features.encoders.options import EncoderOptions
from pcam_features.encoders.registry import open_encoder, open_with
from pcam_features.errors import InputError
from pcam_features.networks import architectures, folder
from pcam_features.networks import fit as deep
from pcam_features.networks.feed import normalized, to_light
from pcam_features.networks.manifest import Epoch, NetworkManifest, TrainingOptions, TrainingOutcome
from pcam_features.networks.training import Trainer
from pcam_features.sources.detect import open_source
from pcam_features.store.store import open_store

Run = Callable[..., Result]
LITE0 = "efficientnet_lite0"
# The largest difference from PyTorch. Random weights of so many layers amplify its rounding: single
# precision differs from double by 2e-4 in PyTorch alone.
NETWORKS = {LITE0: 1e-4, "residual": 1e-4, "p4m_densenet": 1e-4, "efficientnet_lite2": 1e-3}
SOURCE = "synthetic:120:12:5"  # patches, slides, seed


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)


def like_fine_tuned(known: architectures.Recipe) -> torch.nn.Module:
    """A network a little beside the weights that it starts from, ready to predict."""
    network = known.build()
    with torch.inference_mode():
        for one in network.parameters():
            one.mul_(1 + 0.02 * torch.randn_like(one))
    return network.eval()


def randomized(known: architectures.Recipe, patches: np.ndarray) -> torch.nn.Module:
    """A network with random weights, whose batch norm has seen some patches, ready to predict."""
    network = known.build()
    for one in network.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.momentum = 1.0
            torch.nn.init.uniform_(one.weight, 0.8, 1.2)
            torch.nn.init.uniform_(one.bias, -0.3, 0.3)
    with torch.inference_mode():
        network.train()(normalized(to_light(patches, "cpu"), known))
    return network.eval()


def write(path: Path, name: str, held_out: int = 0) -> torch.nn.Module:
    """Write a network as a training leaves it, and return its layers.

    Lite0 starts from ImageNet's weights, the others from random ones.
    """
    source, _ = open_source(SOURCE)
    split = source.splits["train"]
    assert split.labels is not None
    dealt = deep.deal(split, 3, 0, 1)
    torch.manual_seed(1)
    how = TrainingOptions(1, 4, 1, 0, "cpu", 1)
    known = architectures.recipe(name, pretrained=name == LITE0)
    layers = like_fine_tuned(known) if name == LITE0 else randomized(known, split.read(0, 16))
    trainer = Trainer(layers, known, how)
    plan = deep.plan_of(deep.TrainingTask(source, split, name, dealt, held_out), known, how)
    outcome = TrainingOutcome(int(split.labels.sum()), (Epoch(0.5, 0.5, 0.5),), 1, 0.5)
    table = deep.labeled(split).assign(group=dealt.group, fold=dealt.fold)
    path.mkdir(parents=True)
    deep.write(path, NetworkManifest.of(plan, outcome), trainer, table)
    return trainer.network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of p4m, of which fold 0 is held out."""
    path = tmp_path_factory.mktemp("networks") / "p4m"
    write(path, "p4m_densenet")
    return path


@pytest.fixture(scope="module")
def folds(network: Path) -> pd.Series[int]:
    """The fold of each training patch."""
    return pd.read_parquet(network / "folds.parquet").set_index("id")["fold"]


@pytest.fixture(scope="module")
def leaking(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with embeddings of patches that the network has learned from."""
    path = tmp_path_factory.mktemp("stores") / "leaking"
    pcam_features.extract(
        SOURCE, path, families="color,cnn", encoder=str(network), copies=12, threads=1, progress=None
    )
    return path


def before_the_last_layer(network: torch.nn.Module, name: str, batch: np.ndarray) -> np.ndarray:
    """What the last linear layer of a network takes, by PyTorch."""
    taken: list[torch.Tensor] = []
    (*_, last) = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
    handle = last.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    known = architectures.recipe(name, pretrained=False)
    with torch.inference_mode():
        network.eval()(normalized(to_light(batch, "cpu"), known))
    handle.remove()
    return np.asarray(taken[0].numpy())


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", NETWORKS)
def test_oracle_embeddings_are_those_of_pytorch(
    name: str, runtime: str, synthetic_batch: np.ndarray, tmp_path: Path
) -> None:
    layers = write(tmp_path / "n", name)
    expected = before_the_last_layer(layers, name, synthetic_batch)
    found = embedded(
        synthetic_batch,
        str(tmp_path / "n"),
        pools=("mean", "center"),
        views=1,
        runtime=runtime,
        threads=1,
    )
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=NETWORKS[name], rtol=NETWORKS[name])
    assert np.ptp(expected, axis=0).max() > 0.1


def test_invariant_the_embedding_of_p4m_does_not_depend_on_how_a_patch_lies(
    network: Path, synthetic_batch: np.ndarray
) -> None:
    batches = [synthetic_batch, np.rot90(synthetic_batch, 1, (1, 2)), synthetic_batch[:, :, ::-1]]
    found = [
        embedded(np.ascontiguousarray(one), str(network), pools=("mean", "center"), threads=1)
        for one in batches
    ]
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], atol=1e-4)
    assert np.ptp(found[0], axis=0).max() > 1e-2


def test_mechanics_the_family_is_named_after_its_weights(network: Path, tmp_path: Path) -> None:
    family = open_encoder(str(network))
    digest = family.facts.weights_sha256
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert family.name == f"p4m_densenet_{digest[:8]}_96px"
    assert family.columns[0] == f"{family.name}__mean__patch_head_0000"
    assert len(family.columns) == 2 * 54
    write(tmp_path / "lite", LITE0)
    lite = open_encoder(str(tmp_path / "lite"), depths="block04", pools="deviation")
    assert lite.name.endswith("_96px_8views")  # as its predictions
    assert len(lite.columns) == 40


def test_mechanics_a_network_opens_without_pytorch(network: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pcam_features.encoders.registry import open_encoder\n"
        f"print(len(open_encoder({str(network)!r}).columns))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "108\n"), done.stderr


def test_mechanics_a_leak_is_said_before_it_is_extracted(
    pcam: Run, network: Path, folds: pd.Series[int], tmp_path: Path
) -> None:
    learned = int((folds != 0).sum())
    words = ("extract", SOURCE, tmp_path / "s", "--families", "cnn", "--encoder", network)
    told = pcam(*words, "--dry-run")
    assert told.code == 0
    assert f"learned the labels of {learned} of the 120 patches of split 'train'" in told.err
    assert "add --unseen" in told.err
    assert "split 'test'" not in told.err


def test_invariant_fit_refuses_embeddings_that_know_the_labels(
    pcam: Run, leaking: Path, network: Path, folds: pd.Series[int], tmp_path: Path
) -> None:
    """The leak is planted: the network was trained on two of three folds of these patches."""
    learned = int((folds != 0).sum())
    for families in ((), ("--families", "all,cnn"), ("--families", open_encoder(str(network)).name)):
        refused = pcam("fit", leaking, tmp_path / "m", "--folds", 3, *families)
        assert (refused.code, refused.out) == (2, "")
        assert f"learned the labels of {learned} of the 120 patches of split 'train'" in refused.err
        assert "--unseen" in refused.err
        assert "fit --with" in refused.err
        assert not (tmp_path / "m").exists()
    refused = pcam("run", SOURCE, tmp_path / "r", "--families", "color,cnn", "--encoder", network)
    assert refused.code == 2
    assert "learned the labels" in refused.err
    assert pcam("fit", leaking, tmp_path / "m", "--folds", 3, "--families", "color").code == 0


def test_invariant_the_store_counts_what_the_network_has_seen(
    leaking: Path, network: Path, folds: pd.Series[int]
) -> None:
    name, store = open_encoder(str(network)).name, open_store(leaking)
    for split in ("train", "train~copies"):
        of_patch = [one.partition("~")[0] for one in store.patches(split)["id"]]
        seen = store.split(split).families[name].seen
        assert seen is not None
        assert seen.learned == int((folds[of_patch] != 0).sum()) > 0
        assert seen.learned + seen.held_out == len(of_patch)
    seen = store.split("test").families[name].seen
    assert seen is not None
    assert (seen.learned, seen.held_out) == (0, 0)
    assert store.split("train").families["color"].seen is None


@pytest.mark.parametrize("change", ["missing", "negative", "too many", "of color"])
def test_mechanics_a_store_that_does_not_tell_is_refused(
    change: str, leaking: Path, network: Path, tmp_path: Path
) -> None:
    name, copy = open_encoder(str(network)).name, tmp_path / "s"
    shutil.copytree(leaking, copy)
    manifest = manifest_of(copy)
    states = manifest["splits"]["train"]["families"]
    if change == "missing":
        del states[name]["seen"]
    elif change == "of color":
        states["color"]["seen"] = {"learned": 0, "held_out": 0}
    else:
        states[name]["seen"] = {"learned": -1 if change == "negative" else 100, "held_out": 100}
    seal(copy, manifest)
    with pytest.raises(InputError, match="damaged"):
        open_store(copy)


def test_mechanics_unseen_patches_are_fitted_on_and_predicted(
    pcam: Run, network: Path, folds: pd.Series[int], leaking: Path, tmp_path: Path
) -> None:
    store, model = tmp_path / "s", tmp_path / "m"
    words = ("--families", "color,cnn", "--encoder", network, "--threads", 1)
    made = pcam("extract", SOURCE, store, *words, "--unseen", "--copies", 0)
    assert made.code == 0, made.err
    held = folds.index[folds == 0].tolist()
    assert f"unseen: {len(held)} of the 120 patches of split 'train'" in made.err
    assert open_store(store).patches("train")["id"].tolist() == held
    (tmp_path / "folds.csv").write_text(
        "id,fold\n" + "".join(f"{one},{k % 3}\n" for k, one in enumerate(held))
    )
    fitted = pcam("fit", store, model, "--folds-from", tmp_path / "folds.csv")
    assert fitted.code == 0, fitted.err
    assert f"{len(held)} patches of split 'train' chose the best epoch" in fitted.err
    stored = pcam("predict", model, store, tmp_path / "a.csv")
    assert stored.code == 0, stored.err
    assert pcam("predict", model, SOURCE, tmp_path / "n.csv").code == 2
    direct = pcam("predict", model, SOURCE, tmp_path / "b.csv", "--encoder", network)
    assert direct.code == 0, direct.err
    a, b = (pd.read_csv(tmp_path / f"{one}.csv").set_index("id")["label"] for one in "ab")
    pd.testing.assert_series_equal(a, b, rtol=1e-5)
    warned = f"was trained on {120 - len(held)} of these patches"
    for place in ((leaking,), (SOURCE, "--encoder", network)):
        told = pcam("predict", model, place[0], tmp_path / "c.csv", "--split", "train", *place[1:])
        assert told.code == 0, told.err
        assert warned in told.err


def test_mechanics_unseen_without_a_network_or_with_a_cluster_is_refused(
    pcam: Run, network: Path, tmp_path: Path
) -> None:
    refused = pcam("extract", SOURCE, tmp_path / "s", "--unseen")
    assert refused.code == 2
    assert "--families cnn --encoder NETWORK" in refused.err
    words = ("--families", "cnn", "--encoder", network, "--unseen", "--cluster", "local:1")
    refused = pcam("extract", SOURCE, tmp_path / "s", *words)
    assert refused.code == 2
    assert not (tmp_path / "s").exists()


def test_mechanics_a_split_that_is_wholly_learned_cannot_be_unseen(
    network: Path, folds: pd.Series[int], tmp_path: Path
) -> None:
    source, _ = open_source(SOURCE)
    family, split = open_encoder(str(network)), source.splits["train"]
    learned = split.taking([k for k, one in enumerate(split.ids) if folds[one] != 0])
    small = replace(source, splits={"train": learned})
    with pytest.raises(InputError, match="learned from all patches of split 'train'"):
        pcam_features.extract(
            small, tmp_path / "s", families=[family], unseen=True, progress=None, threads=1
        )


def test_mechanics_the_networks_of_all_folds_are_no_encoder(pcam: Run, tmp_path: Path) -> None:
    for fold in range(2):
        write(tmp_path / "n" / f"fold{fold}", "p4m_densenet", fold)
    refused = pcam("extract", SOURCE, tmp_path / "s", "--families", "cnn", "--encoder", tmp_path / "n")
    assert refused.code == 2
    assert "holds several networks, whose embeddings do not share a space" in refused.err
    assert f"such as {tmp_path / 'n' / 'fold0'}" in refused.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 192}, "leave out --size"),
        ({"depths": "block02"}, "there is no depth in .* 'block02'; choose from: head"),
        ({"pools": "cls"}, "no pool 'cls'"),
        ({"output": "x"}, "leave out --encoder-output"),
    ],
)
def test_mechanics_options_that_a_network_lacks(
    settings: dict[str, object], message: str, network: Path
) -> None:
    with pytest.raises(InputError, match=message):
        open_encoder(str(network), **settings)  # type: ignore[arg-type]


def test_mechanics_a_network_that_cannot_embed_is_named(tmp_path: Path) -> None:
    write(tmp_path / "n", "cnn_one")
    with pytest.raises(InputError, match="is a network cnn_one, which cannot embed patches"):
        open_encoder(str(tmp_path / "n"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a trained network"):
        open_encoder(str(tmp_path / "empty"))


def tensors_changed(path: Path, change: str) -> None:
    """Change the weights of a network, with sums that fit."""
    file = path / folder.WEIGHTS
    tensors = load_file(file)
    first = "0.weight"
    if change == "shape":
        tensors[first] = torch.zeros(9, 3, 10)
    elif change == "huge":
        tensors[first] = torch.zeros(1 << 25)
    elif change == "missing":
        del tensors[first]
    elif change == "not finite":
        tensors[first][0, 0, 0] = float("nan")
    elif change == "too large":
        tensors = {name: one * 0 + 1e30 for name, one in tensors.items() if one.dtype.is_floating_point}
    elif change == "complex":
        tensors[first] = tensors[first].to(torch.complex64)
    save_file(tensors, file)
    if change == "pickle":
        file.write_bytes(b"\x80\x04cposix\nsystem\n(X\x05\x00\x00\x00touchtR.")
    sign(path)


@pytest.mark.parametrize(
    "change", ["shape", "huge", "missing", "not finite", "too large", "complex", "pickle"]
)
def test_mechanics_hostile_weights_are_refused(change: str, network: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(network, tmp_path / "n"))
    tensors_changed(copy, change)
    with pytest.raises(InputError, match=r"damaged|do not fit|too large"):
        open_encoder(str(copy))


@pytest.mark.parametrize("change", ["sum", "link", "folds", "views", "other fold"])
def test_mechanics_hostile_folders_are_refused(change: str, network: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(network, tmp_path / "n"))
    weights, table = copy / folder.WEIGHTS, copy / "folds.parquet"
    if change == "sum":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    elif change == "link":
        weights.rename(tmp_path / "elsewhere")
        weights.symlink_to(tmp_path / "elsewhere")
    elif change == "folds":
        pd.read_parquet(table).iloc[1:].to_parquet(table, index=False)
        sign(copy)
    else:
        manifest = manifest_of(copy)
        if change == "views":
            manifest["views"] = 3
        else:
            manifest["folds"]["held_out"] = 7
        seal(copy, manifest)
    with pytest.raises(InputError, match=r"damaged|link"):
        open_encoder(str(copy))


def test_mechanics_a_network_is_found_from_another_folder(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(network.parent)
    family = open_with(EncoderOptions(network.name))
    assert family.given is not None
    assert family.given.absolute().encoder == str(network)
    assert EncoderOptions().absolute().encoder is None
    assert json.dumps(family.describe())
