"""Networks of others: an ONNX file or a timm model, taken as they are or refused in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from conftest import Result
from embedded import embedded
from onnx import TensorProto, helper, numpy_helper
from scipy.signal import correlate
from with_timm import timm_or_skip

from pcam_features.encoders import cache
from pcam_features.encoders.registry import open_encoder
from pcam_features.errors import InputError
from pcam_features.networks.timm_models import settings_of, unwrapped

Run = Callable[..., Result]
TOML = "mean = [0.5, 0.4, 0.3]\nstd = [0.5, 0.25, 0.2]\n"
KERNEL = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def network(
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    more: list[onnx.NodeProto] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """One convolution of 8×8 cells with ReLU: x to maps y, and whatever comes after."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("Relu", ["c"], ["y"]),
        *(more or []),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs or [value("x", ["N", 3, "H", "W"])],
        outputs or [value("y", ["N", 4, "h", "w"])],
        [numpy_helper.from_array(KERNEL, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FLAT = {
    "outputs": [value("z", ["N", "F"])],
    "more": [helper.make_node("Flatten", ["y"], ["z"], axis=1)],
}


def save(folder: Path, model: onnx.ModelProto | bytes, toml: str | None = TOML) -> Path:
    path = folder / "My-Net.v2.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    if toml is not None:
        path.with_suffix(".toml").write_text(toml)
    return path


def maps_of(batch: np.ndarray) -> np.ndarray:
    """What the network should give (N, 4, 12, 12), by SciPy, in double precision."""
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.5, 0.25, 0.2])
    pixels = ((batch / 255 - mean) / std).transpose(0, 3, 1, 2)
    whole = [[correlate(one, kernel, mode="valid")[0, ::8, ::8] for kernel in KERNEL] for one in pixels]
    return np.maximum(np.array(whole), 0)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("batch_axis", ["N", 1])
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_oracle_maps_of_a_file_are_pooled(
    opset: int, batch_axis: str | int, runtime: str, tmp_path: Path, real_batch: np.ndarray
) -> None:
    model = network([value("x", [batch_axis, 3, 96, 96])], opset=opset)
    path = str(save(tmp_path, model))
    pools = ["mean", "center", "deviation", "maximum"]
    maps = maps_of(real_batch[:11])
    middle = maps[:, :, 4:8, 4:8].mean(axis=(2, 3))
    parts = [maps.mean(axis=(2, 3)), middle, maps.std(axis=(2, 3)), maps.max(axis=(2, 3))]
    found = embedded(real_batch[:11], path, pools=pools, runtime=runtime)
    np.testing.assert_allclose(found, np.concatenate(parts, axis=1), rtol=1e-4, atol=1e-4)
    opened = open_encoder(path, pools=pools)
    assert opened.columns[5] == "my_net_v2_96px__mean__center_0001"


def test_oracle_a_vector_of_a_file_is_taken_as_it_is(tmp_path: Path, real_batch: np.ndarray) -> None:
    path = str(save(tmp_path, network(**FLAT)))
    expected = maps_of(real_batch[:3]).reshape(3, -1)
    np.testing.assert_allclose(embedded(real_batch[:3], path), expected, rtol=1e-4, atol=1e-4)
    assert open_encoder(path, size=96).columns[-1] == "my_net_v2_96px__value__patch_0575"


def test_mechanics_an_onnx_file_goes_all_the_way(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    path = save(tmp_path, network(), TOML + "size = 48\n")
    command = ("extract", synthetic_folder, tmp_path / "f", "--families", "cnn", "--encoder", path)
    assert pcam(*command).code == 0
    table = pd.read_parquet(tmp_path / "f" / "train" / "my_net_v2_48px")
    assert table.shape == (240, 1 + 4 * 4)
    assert pcam("fit", tmp_path / "f", tmp_path / "m", "--folds", 3, "--threads", 1).code == 0
    assert pcam("predict", tmp_path / "m", tmp_path / "f", tmp_path / "p.csv").code == 0


def external() -> onnx.ModelProto:
    model = network()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    return model


def elsewhere() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "e")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def external_in(place: str) -> onnx.ModelProto:
    """Weights in another file, said where a look at the initializers does not see it."""
    constant = helper.make_node("Constant", [], ["e"], value=elsewhere())
    if place == "a node":
        return network(more=[constant])
    if place == "a branch":
        branch = helper.make_graph([constant], "branch", [], [value("e", [4])])
        true = helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(np.array(True)))
        both = helper.make_node("If", ["t"], ["i"], then_branch=branch, else_branch=branch)
        return network(more=[true, both])
    model = network()
    if place == "a sparse tensor":
        model.graph.sparse_initializer.add().values.CopyFrom(elsewhere())
    if place == "without saying so":
        model.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")
    return model


def with_function() -> onnx.ModelProto:
    call = helper.make_node("Twice", ["y"], ["z"], domain="own")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model = network(outputs=[value("z", ["N", 4, "h", "w"])], more=[call])
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def with_loop() -> onnx.ModelProto:
    """Goes round 2⁶² times."""
    ins = [value("k", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("a", None)]
    outs = [value("d", [], TensorProto.BOOL), value("b", None)]
    same = [helper.make_node("Identity", [old], [new]) for old, new in (("c", "d"), ("a", "b"))]
    body = helper.make_graph(same, "body", ins, outs)
    times = numpy_helper.from_array(np.array(1 << 62))
    more = [
        helper.make_node("Constant", [], ["n"], value=times),
        helper.make_node("Loop", ["n", "", "y"], ["z"], body=body),
    ]
    return network(outputs=[value("z", ["N", 4, "h", "w"])], more=more)


def after(*more: onnx.NodeProto) -> onnx.ModelProto:
    """The vectors z, and what comes of them, v."""
    return network(outputs=[value("v", ["N", "F"])], more=[*FLAT["more"], *more])


def node(operator: str, inputs: str, output: str, **how: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **how)


BAD: dict[str, tuple[Any, str]] = {
    **{
        f"another file's weights in {place}": (external_in(place), "weights are in another file")
        for place in ("a node", "a branch", "a sparse tensor", "without saying so")
    },
    "functions": (with_function(), "My-Net.v2.onnx is not an ONNX model that pcam can use"),
    "a loop": (with_loop(), "cannot have the operator :Loop"),
    "neighbors seen": (
        after(node("ReduceMean", "z", "m", axes=[0]), node("Sub", "z m", "v")),
        "mixes the patches of a batch",
    ),
    "patches joined": (
        after(node("ReduceMean", "z", "v", axes=[0])),
        "returns [1, 576] for 8 patches",
    ),
    "NaN": (after(node("Neg", "z", "n"), node("Log", "n", "v")), "returns NaN or infinity"),
    "a huge batch": (network([value("x", [65, 3, 96, 96])]), "fixed batch size of 65"),
    "two inputs": (network([value("x", [1, 3, 96, 96]), value("v", [1])]), "has 2 inputs (x, v)"),
    "two outputs": (
        network(outputs=[value(name, ["N", 4, "h", "w"]) for name in "yc"]),
        "has 2 outputs (y, c); choose one with --encoder-output NAME",
    ),
    "gray": (network([value("x", ["N", 1, 96, 96])]), "is FLOAT [0, 1, 96, 96]"),
    "whole numbers": (network([value("x", ["N", 3, 96, 96], TensorProto.UINT8)]), "is UINT8"),
    "not square": (network([value("x", ["N", 3, 96, 64])]), "is FLOAT [0, 3, 96, 64]"),
    "tokens": (
        network(
            outputs=[value("z", ["N", "T", "F"])],
            more=[
                helper.make_node("Constant", [], ["s"], value_ints=[0, 4, -1]),
                helper.make_node("Reshape", ["y", "s"], ["z"]),
            ],
        ),
        "choose with --pools cls (the first token) or --pools mean",
    ),
    "text": (b"this is no network", "not an ONNX model"),
    "empty": (b"", "not an ONNX model"),
    "cut": (network().SerializeToString()[:900], "not an ONNX model"),
    "another file's weights": (external(), "not an ONNX model"),
    "old": (network(opset=9), "opset before 11"),
    "unknown operator": (
        network(outputs=[value("z", ["N", "F"])], more=[helper.make_node("Nonsense", ["y"], ["z"])]),
        "not an ONNX model",
    ),
    "a stranger's operator": (
        network(
            outputs=[value("z", ["N", "F"])],
            more=[helper.make_node("Nonsense", ["y"], ["z"], domain="com.nobody")],
        ),
        "My-Net.v2.onnx",
    ),
    "kernel of another shape": (network([value("x", ["N", 3, 4, 4])]), "4×4 pixels, not 96×96"),
}


@pytest.mark.parametrize("name", BAD)
def test_mechanics_files_that_are_no_encoder(
    name: str,
    pcam: Run,
    synthetic_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, words = BAD[name]
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    how = ("--families", "cnn", "--size", 96, "--encoder", save(tmp_path, model))
    result = pcam("extract", synthetic_folder, tmp_path / "f", *how)
    assert result.code == 2, result.err
    (error,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert words in error
    assert error.endswith(".")
    assert not (tmp_path / "f").exists()
    assert not cache.folder().exists()


@pytest.mark.parametrize(
    ("toml", "how", "words"),
    [
        (None, {}, "My-Net.v2.toml is missing"),
        ("mean = [0.5, 0.5, 0.5]", {}, "must have std as three numbers"),
        ("mean = 0.5\nstd = [1, 1, 1]", {}, "must have mean as three numbers"),
        ("mean = [0, 0, nan]\nstd = [1, 1, 1]", {}, "must have mean as three numbers"),
        ("mean = [0, 0, 0]\nstd = [1, 1, 0]", {}, "std must be above 0"),
        ("mean = [", {}, "cannot be read"),
        ("mean = [123.7, 116.3, 103.5]\nstd = [58.4, 57.1, 57.4]", {}, "by 255"),
        ("mean = [0, 0, 0]\nstd = [255, 255, 255]", {}, "by 255"),
        (TOML, {"pools": ["cls"]}, "returns maps, not tokens"),
        (TOML, {"output": "nothing"}, "has no such output; it has: y"),
        (TOML + "layout = 'NHWC'", {}, "unknown entries: layout"),
        (TOML, {"size": None}, "choose one with --size"),
        (TOML + "size = 5", {"size": None}, "must be 32 to 1024 pixels, not 5"),
        (TOML + "size = 20000", {"size": None}, "must be 32 to 1024 pixels, not 20000"),
        (TOML + "size = true", {"size": None}, "must be 32 to 1024 pixels, not True"),
        (TOML + "size = -96", {"size": None}, "must be 32 to 1024 pixels, not -96"),
        (TOML + "size = '96'", {"size": None}, "must be 32 to 1024 pixels, not '96'"),
        ("mean = [0, 0, 0]\nstd = [1, 1, true]", {}, "must have std as three numbers"),
        (TOML, {"depths": ["block04"]}, "no depth in"),
        (TOML, {"pools": ["median"]}, "no pool 'median'"),
    ],
)
def test_mechanics_settings_of_a_file(
    toml: str | None, how: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = save(tmp_path, network(), toml)
    with pytest.raises(InputError, match=words):
        open_encoder(str(path), **({"size": 96} | how))


def test_mechanics_a_vector_has_nothing_to_pool(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be pooled; leave out --pools"):
        open_encoder(str(save(tmp_path, network(**FLAT))), size=96, pools=["center"])


def beside(folder: Path, name: str = "w.data", **told: str) -> Path:
    """A network whose weights lie in a file beside it, as torch.onnx.export writes it."""
    model = network()
    weights = model.graph.initializer[0]
    (folder / "w.data").write_bytes(b"\0" * 16 + weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    place = {"location": name, "offset": "16", "length": str(KERNEL.nbytes)} | told
    for key, text in place.items():
        weights.external_data.add(key=key, value=text)
    return save(folder, model)


def test_oracle_weights_beside_the_network(tmp_path: Path, real_batch: np.ndarray) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    inside, outside = save(tmp_path / "a", network()), beside(tmp_path / "b")
    found = [open_encoder(str(path), size=96) for path in (inside, outside)]
    values = [embedded(real_batch[:3], str(path), size=96) for path in (inside, outside)]
    np.testing.assert_array_equal(*values)
    sum_of_one = found[1].facts.weights_sha256
    (tmp_path / "b" / "w.data").write_bytes(b"\0" * 16 + (2 * KERNEL).tobytes())
    assert open_encoder(str(outside), size=96).facts.weights_sha256 != sum_of_one


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"name": "../w.data"}, "not a file beside it"),
        ({"name": "/etc/passwd"}, "not a file beside it"),
        ({"name": "missing"}, "put that file beside it"),
        ({"name": "link"}, "cannot be read"),
        ({"name": "pipe"}, "no plain file"),
        ({"offset": "17"}, "are not in their file"),
        ({"offset": "-1"}, "are not in their file"),
        ({"length": "8"}, "are not in their file"),
    ],
)
def test_invariant_weights_come_from_plain_files_beside_the_network_alone(
    told: dict[str, str], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "w.data").write_bytes(b"\0" * 16 + KERNEL.tobytes())
    (folder / "link").symlink_to(tmp_path / "w.data")
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match=words):
        open_encoder(str(beside(folder, **told)), size=96)


def tokens(count: int) -> onnx.ModelProto:
    """Tokens (N, count, 4): the columns of the maps, 144 at 96 pixels, after one more if 145."""
    shape = np.array([0, 4, -1])
    more = [
        helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(shape)),
        helper.make_node("Reshape", ["y", "s"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["columns"], perm=[0, 2, 1]),
    ]
    if count == 145:
        first = [
            helper.make_node("GlobalMaxPool", ["y"], ["top"]),
            helper.make_node("Reshape", ["top", "s"], ["one"]),
            helper.make_node("Transpose", ["one"], ["first"], perm=[0, 2, 1]),
            helper.make_node("Concat", ["first", "columns"], ["z"], axis=1),
        ]
    else:
        first = [helper.make_node("Identity", ["columns"], ["z"])]
    return network(outputs=[value("z", ["N", count, 4])], more=[*more, *first])


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_oracle_tokens_are_pooled(runtime: str, tmp_path: Path, real_batch: np.ndarray) -> None:
    maps = embedded(real_batch[:3], str(save(tmp_path, network())), size=96, pools=["mean", "maximum"])
    for count in (144, 145):
        path = str(save(tmp_path, tokens(count)))
        how = {"size": 96, "runtime": runtime}
        mean = embedded(real_batch[:3], path, pools=["mean"], **how)
        np.testing.assert_allclose(mean, maps[:, :4], rtol=1e-4, atol=1e-5)
    first = embedded(real_batch[:3], path, pools=["cls"], **how)
    np.testing.assert_allclose(first, maps[:, 4:], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="145 tokens of 4 values"):
        open_encoder(path, size=96, pools=["deviation"])


def test_oracle_channels_last_half_precision_and_one_of_two_outputs(
    tmp_path: Path, real_batch: np.ndarray
) -> None:
    expected = embedded(real_batch[:3], str(save(tmp_path, network(**FLAT))), size=96)
    first = helper.make_node("Transpose", ["x0"], ["x"], perm=[0, 3, 1, 2])
    last = network(inputs=[value("x0", ["N", "H", "W", 3])], **FLAT)
    last.graph.node.insert(0, first)
    path = str(save(tmp_path, last))
    np.testing.assert_allclose(embedded(real_batch[:3], path, size=96), expected, rtol=1e-5, atol=1e-5)

    half = network(
        inputs=[value("x", ["N", 3, "H", "W"], TensorProto.FLOAT16)],
        outputs=[value("z", ["N", "F"], TensorProto.FLOAT16)],
        more=FLAT["more"],
    )
    half.graph.initializer[0].CopyFrom(numpy_helper.from_array(KERNEL.astype(np.float16), "w"))
    found = embedded(real_batch[:3], str(save(tmp_path, half)), size=96)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.05)

    two = network(outputs=[value("y", ["N", 4, "h", "w"]), value("z", ["N", "F"])], more=FLAT["more"])
    encoder = open_encoder(str(save(tmp_path, two)), size=96, output="z")
    assert encoder.facts.to_dict()["output"] == "z"
    found = embedded(real_batch[:3], str(tmp_path / "My-Net.v2.onnx"), size=96, output="z")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_mechanics_maps_of_channels_last_are_not_guessed(tmp_path: Path) -> None:
    model = network(inputs=[value("x0", ["N", "H", "W", 3])])
    model.graph.node.insert(0, helper.make_node("Transpose", ["x0"], ["x"], perm=[0, 3, 1, 2]))
    with pytest.raises(InputError, match="channels may be first or last"):
        open_encoder(str(save(tmp_path, model)), size=96)


def test_mechanics_options_of_onnx_files_are_refused_elsewhere() -> None:
    with pytest.raises(InputError, match="no pool 'cls'"):
        open_encoder(pools=["cls"])
    with pytest.raises(InputError, match="leave out --encoder-output"):
        open_encoder(output="y")


def test_mechanics_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_encoder(str(tmp_path / "none.onnx"))


@pytest.fixture
def timm() -> Any:
    return timm_or_skip()


def test_oracle_timm_by_weight_file(timm: Any, tmp_path: Path, real_batch: np.ndarray) -> None:
    import torch
    from safetensors.torch import save_file

    model = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    how = timm.data.resolve_model_data_config(model)
    pixels = (real_batch[:3] / 255 - np.array(how["mean"])) / np.array(how["std"])
    model.reset_classifier(0)
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()).numpy()
    for file in ("w.safetensors", "w.pth"):
        found = embedded(real_batch[:3], f"timm:resnet10t:{tmp_path / file}")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrapped", ["uni", "state_dict", "module", "backbone", "teacher"])
def test_oracle_timm_weights_as_they_are_published(
    wrapped: str, timm: Any, tmp_path: Path, real_batch: np.ndarray
) -> None:
    """As UNI is published (layer scale, any size), and out of what training programs wrap them in."""
    import torch

    how = {"init_values": 1e-5, "dynamic_img_size": True} if wrapped == "uni" else {}
    size = 96 if wrapped == "uni" else 224  # positions are resampled to another size
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **how).eval()
    state = model.state_dict()
    if wrapped == "uni":
        state = {key: one + 0.5 if ".ls" in key else one for key, one in state.items()}
        model.load_state_dict(state)
    elif wrapped == "state_dict":
        state = {"epoch": 3, "state_dict": state}
    elif wrapped == "teacher":
        state = {"teacher": {f"backbone.{key}": one for key, one in state.items()}}
        state["teacher"]["head.mlp.weight"] = torch.zeros(3)
    else:
        state = {f"{wrapped}.{key}": one for key, one in state.items()}
    torch.save(state, tmp_path / "w.pth")
    data = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        x = torch.from_numpy(real_batch[:2].transpose(0, 3, 1, 2).copy()).float() / 255
        if size != 96:
            x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear")
        expected = model((x - mean) / std).numpy()
    name = f"timm:vit_tiny_patch16_224:{tmp_path / 'w.pth'}"
    found = embedded(real_batch[:2], name, size=size)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_mechanics_weights_are_found_in_their_wrapping() -> None:
    assert unwrapped({"model": {"module.a": 1, "module.b": 2}, "optimizer": {}}) == {"a": 1, "b": 2}
    assert unwrapped({"backbone.a": 1, "head.b": 2}) == {"a": 1, "head.b": 2}
    assert unwrapped({"backbone.a": 1, "neck.b": 2}) == {"backbone.a": 1, "neck.b": 2}
    assert settings_of({"blocks.0.ls1.gamma": 0}) == {"init_values": 1.0}
    assert settings_of({"blocks.0.norm1.weight": 0}) == {}


@pytest.mark.parametrize(
    "error", ["RuntimeError('operator torchvision::nms does not exist')", "OSError"]
)
def test_regression_a_broken_import_is_one_sentence(
    error: str, pcam: Run, synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch's CPU build and torchvision of another index end."""
    pytest.importorskip("torch", reason="the extra deep brings torch")
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    how = ("--families", "cnn", "--encoder", "timm:resnet10t")
    for words in (
        ("extract", synthetic_folder, tmp_path / "f", *how),
        ("deep", "fit", synthetic_folder, tmp_path / "n", "--arch", "timm:resnet10t"),
    ):
        result = pcam(*words)
        assert result.code == 2, result.err
        assert result.err.splitlines()[-1].startswith("error: timm cannot be imported")


def test_mechanics_timm_weights_that_are_none(timm: Any, tmp_path: Path) -> None:
    from test_encoder_safety import hostile

    victim = tmp_path / "victim"
    for file in ("w.pth", "w.safetensors"):
        (tmp_path / file).write_bytes(hostile(victim)["command first"])
        with pytest.raises(InputError, match="cannot be used"):
            open_encoder(f"timm:resnet10t:{tmp_path / file}")
    assert not victim.exists()
    with pytest.raises(InputError, match="cannot be created"):
        open_encoder("timm:nonsense")


def test_mechanics_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"torch is not installed; run .*\[deep\]'"):
        open_encoder("timm:resnet10t")
