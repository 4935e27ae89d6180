"""The layers of the p4m network are equivariant to quarter turns and flips; its output is invariant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from pcam_features.networks import architectures, p4m, shapes
from pcam_features.networks.augment import turned

NAME = "p4m_densenet"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Maps this small are slower on several threads."""
    torch.set_num_threads(1)


def randomized(layer: torch.nn.Module) -> torch.nn.Module:
    """A layer whose batch norm does something, ready to predict, in double precision."""
    for one in layer.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.running_mean.uniform_(-0.5, 0.5)
            one.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(one.weight, 0.5, 2)
            torch.nn.init.uniform_(one.bias, -0.5, 0.5)
    return layer.double().eval()


def moved(maps: torch.Tensor, g: int) -> torch.Tensor:
    """What maps (N, 8 C, H, W) become if the patch is turned by g: element h goes to gh."""
    apart = maps.unflatten(1, (shapes.ELEMENTS, -1))
    found = torch.empty_like(apart)
    for h, to in enumerate(shapes.products()[g]):
        found[:, to] = turned(apart[:, h], g)
    return found.flatten(1, 2)


def test_oracle_products_are_those_of_numpy() -> None:
    square = np.arange(16).reshape(4, 4)
    acts: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x, k=k: np.rot90(x if k < 4 else x[:, ::-1], k % 4) for k in range(8)
    ]
    for g, row in enumerate(shapes.products()):
        for h, product in enumerate(row):
            np.testing.assert_array_equal(acts[g](acts[h](square)), acts[product](square))


def test_oracle_lifting_is_eight_convolutions_with_turned_filters() -> None:
    torch.manual_seed(0)
    layer = p4m.GroupConvolution(3, 2, 3, lifts=True).double()
    patches = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    found = layer(patches).unflatten(1, (8, 2))
    for g in range(8):
        filters = turned(layer.weight.unflatten(2, (3, 3)), g)
        expected = torch.nn.functional.conv2d(patches, filters, padding=1)
        torch.testing.assert_close(found[:, g], expected)


LAYERS = {
    "3×3": lambda: p4m.GroupConvolution(2, 3, 3),
    "1×1": lambda: p4m.GroupConvolution(2, 3, 1),
    "norm": lambda: p4m.GroupNorm(2),
    "dense": lambda: p4m.Dense(2),
    "transition": lambda: p4m.Transition(2),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("g", range(1, 8))
def test_invariant_every_layer_is_equivariant(name: str, g: int) -> None:
    torch.manual_seed(1)
    layer = randomized(LAYERS[name]())
    maps = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        found, expected = layer(moved(maps, g)), moved(layer(maps), g)
        still = layer(maps)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    assert (found - still).abs().max() > 1e-2  # or nothing was tested


def test_invariant_batch_norm_in_training_is_equivariant() -> None:
    """Its means are over all elements, and so are its running means."""
    torch.manual_seed(1)
    layers = [p4m.GroupNorm(2).double().train() for _ in range(2)]
    maps = torch.randn(3, 16, 4, 4, dtype=torch.float64)
    found, expected = layers[0](moved(maps, 5)), moved(layers[1](maps), 5)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(layers[0].norm.running_mean, layers[1].norm.running_mean)
    by_hand = maps.unflatten(1, (8, 2)).mean(dim=(0, 1, 3, 4))
    torch.testing.assert_close(layers[0].norm.running_mean, 0.1 * by_hand)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_invariant_the_output_does_not_depend_on_how_a_patch_lies(
    dtype: torch.dtype, tolerance: float, synthetic_batch: np.ndarray
) -> None:
    torch.manual_seed(2)
    known = architectures.recipe(NAME, pretrained=False)
    network = randomized(known.build()).to(dtype, memory_format=torch.channels_last)
    patch = torch.from_numpy(synthetic_batch[:2] / 255 - 0.5).permute(0, 3, 1, 2).to(dtype)
    with torch.inference_mode():
        found = [network(turned(patch, g)) for g in range(8)]
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], atol=tolerance, rtol=0)
    assert (found[0][0] - found[0][1]).abs().max() > 1e-3
    assert known.views == 1  # a mean over views would be the same, for eight times the work


def test_mechanics_the_network_has_the_papers_depth() -> None:
    """Five pairs of a dense block and a transition; the number of weights is added up by hand."""
    network = architectures.recipe(NAME, pretrained=False).build()
    kinds = [type(layer).__name__ for layer in network]
    assert kinds[:11] == ["GroupConvolution", *["Dense", "Transition"] * 5]
    inside = [9 * k for k in range(1, 6)]  # channels that each dense block takes; it adds nine
    by_hand = 9 * 3 * 9 + sum(2 * c + 9 * 8 * c * 9 for c in inside)
    by_hand += sum(2 * c + 8 * c * c for c in (c + 9 for c in inside))
    assert architectures.weights(network) == by_hand + 2 * 54 + (2 * 54 * 2 + 2) == 146_999
