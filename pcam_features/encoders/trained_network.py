"""Networks that `pcam deep fit` has trained, as encoders: the maps that their heads see, pooled.

A folder of a network is read without PyTorch and without running code, and the same layers are built as
an ONNX graph. A network knows the labels of the patches that it has learned from, so their embeddings
are no features to fit on: the family says which they are, and `fit` refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..extras import check_installed
from ..geometry import PATCH_SIZE
from ..networks.folder import MANIFEST, read_arrays, read_manifest, trained_on
from ..networks.lite_weights import HEAD, MEAN, NORM, PUBLISHED, STD, depths, layers
from ..networks.shapes import HALF, P4M_CHANNELS, QUARTER, RESIDUAL_WIDTHS
from ..storage.files import sha256
from . import efficientnet_lite, network_graphs
from .embedding import VIEWS, Embedding, width_of
from .graph import Graph, pixels_in
from .network_graphs import Weights
from .options import EncoderFacts, EncoderOptions, check_choices
from .pooling import Maps, columns_of, pooled_model
from .runtimes import DEFAULT, F32, RUNTIMES, Run, chunk_for

VERSION = 1
LARGEST = 1 << 26  # bytes of weights: more than twice those of the largest of these networks
DIGITS = 8  # of the sum of the weights, in the name of the family
POOLED = ("mean", "center")  # what the heads of these networks see


@dataclass(frozen=True)
class Architecture:
    """A network that can be an encoder.

    Parameters
    ----------
    depths
        Where it can be read, with the channels there.
    mean, std
        The normalization of its pixels.
    maps
        Adds its layers to a graph; returns the maps at the depths that are asked for.
    """

    depths: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    maps: Callable[[Graph, Maps, Weights, Sequence[str]], dict[str, Maps]]


def _lite(
    name: str, graph: Graph, pixels: Maps, weights: Weights, wanted: Sequence[str]
) -> dict[str, Maps]:
    """The maps of a fine-tuned EfficientNet-Lite."""
    arrays = {}
    for layer in layers(name):
        ours = f"body.{layer.ours}"
        arrays[f"{layer.convolution}.weight"] = weights.take(f"{ours}.kernel.weight", *layer.shape)
        for part in NORM:
            arrays[f"{layer.norm}.{part}"] = weights.take(f"{ours}.norm.{part}", layer.shape[0])
    return efficientnet_lite.maps_at(name, arrays, graph, pixels, wanted)


def _last(
    build: Callable[[Graph, Maps, Weights], Maps],
    graph: Graph,
    pixels: Maps,
    weights: Weights,
    wanted: Sequence[str],
) -> dict[str, Maps]:
    """The last maps of a network that is read there alone."""
    found = build(graph, pixels, weights)
    return dict.fromkeys(wanted, found)


ARCHITECTURES = {
    name: Architecture(depths(name), MEAN, STD, partial(_lite, name)) for name in PUBLISHED
} | {
    "residual": Architecture(
        {HEAD: RESIDUAL_WIDTHS[-1]}, HALF, QUARTER, partial(_last, network_graphs.residual)
    ),
    "p4m_densenet": Architecture(
        {HEAD: P4M_CHANNELS}, HALF, QUARTER, partial(_last, network_graphs.p4m_densenet)
    ),
}


def open_network(name: str, options: EncoderOptions) -> Embedding:
    """Open a network of `pcam deep fit` as an encoder.

    Parameters
    ----------
    name
        The path of its folder.
    options
        The options of the encoder.

    Raises
    ------
    InputError
        If there is no network, it is damaged, it cannot embed, or it lacks an option's value.
    """
    path = Path(name)
    check_one_network(path)
    check_installed("safetensors", "a network of pcam deep fit")
    manifest = read_manifest(path)
    if manifest.network not in ARCHITECTURES:
        raise InputError(
            f"{path} is a network {manifest.network}, which cannot embed patches; networks that can: "
            f"{', '.join(ARCHITECTURES)}."
        )
    if options.size not in (None, PATCH_SIZE):
        raise InputError(f"{path} was trained on {PATCH_SIZE}×{PATCH_SIZE} pixels; leave out --size.")
    known, runtime = ARCHITECTURES[manifest.network], options.runtime or DEFAULT
    wanted = check_choices(options.depths or (HEAD,), list(known.depths), f"depth in {path}")
    pools = POOLED if options.pools is None else options.pools
    views = options.views or manifest.views
    if views not in VIEWS:
        raise InputError(f"network {path} is damaged (it has {views} views); train it again.")
    arrays, content = read_arrays(path, manifest, LARGEST)
    digest, seen = sha256(content), trained_on(path, manifest)
    weights, chunk = Weights(arrays, str(path)), chunk_for(runtime)
    facts = EncoderFacts(
        network=f"{manifest.network}_{digest[:DIGITS]}",
        weights_sha256=digest,
        size=PATCH_SIZE,
        depths=wanted,
        pools=pools,
        mean=known.mean,
        std=known.std,
        views=views,
        precision=options.precision or F32,
        runtime=runtime,
        learned_from=sha256("\n".join(sorted(seen.learned)).encode()),
    )

    def load(source: tuple[int, int], threads: int) -> Run:
        graph = Graph()
        pixels = Maps(pixels_in(graph, source, PATCH_SIZE, known.mean, known.std), 3, PATCH_SIZE)
        found = known.maps(graph, pixels, weights, wanted)
        model = pooled_model(graph, source, [found[depth] for depth in wanted], pools)
        return RUNTIMES[runtime](
            bytes(model.SerializeToString()), chunk=chunk, threads=threads, precision=facts.precision
        )

    width_of(load((PATCH_SIZE, PATCH_SIZE), 1), chunk, PATCH_SIZE, str(path))
    columns = columns_of(known.depths, wanted, pools)
    return Embedding(VERSION, columns, facts, chunk, load, trained_on=seen)


def check_one_network(path: Path) -> None:
    """Raise InputError for a folder that holds several networks, such as those of all folds."""
    inside = sorted(path.glob(f"*/{MANIFEST}"))
    if not (path / MANIFEST).exists() and inside:
        raise InputError(
            f"{path} holds several networks, whose embeddings do not share a space; give one of them, "
            f"such as {inside[0].parent}, or combine their out-of-fold predictions with fit --with."
        )
