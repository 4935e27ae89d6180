"""Encoders from ONNX files, with the normalization of their pixels in a small TOML file.

`net.onnx` takes one input (N, 3, height, width) or (N, height, width, 3), of 32 or 16 bits. It
gives vectors (N, F), feature maps (N, C, h, w), which are then pooled, or tokens (N, T, F), of which
the first or the mean is taken. Of several outputs, one is chosen. Its weights may be beside it.
`net.toml` gives `mean` and `std` of red, green and blue on a scale of 0 to 1, and optionally `size` in
pixels.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import TensorProto, helper, shape_inference

from ..errors import InputError
from ..geometry import PATCH_SIZE
from ..storage.files import sha256
from ..words import message_of
from .embedding import Embedding, check_size, width_of
from .graph import FEATURES, PIXELS, Graph, pixels_in
from .onnx_weights import load_beside
from .options import EncoderFacts, EncoderOptions, check_choices
from .pooling import FIRST, POOLS, pool
from .runtimes import DEFAULT, F32, RUNTIMES, Run, chunk_for

VERSION = 1
LARGEST = (1 << 31) - 1  # bytes: the limit of an ONNX file
LARGEST_BATCH = 64  # the largest fixed batch size that is accepted
DOMAINS = ("", "ai.onnx")  # the domains of operators that the ONNX standard defines
LOOPS = ("Loop", "Scan")  # may run without end
OLDEST_OPSET = 11  # the first with the current definition of pooling and resizing
KINDS = POOLS | {FIRST: "value__patch"}  # what columns are called
SCALED = 1.0  # the largest mean or deviation of pixels from 0 to 1
EXAMPLE = "mean = [0.5, 0.5, 0.5] and std = [0.5, 0.5, 0.5]"  # the content of a TOML file


@dataclass(frozen=True)
class Scaling:
    """The network's input: its side in pixels, and the mean and deviation of red, green and blue."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Input:
    """The input of a network: its name, its number type, its shape (N, 3, height, width) with 0 where a
    length is not fixed, and whether the network takes channels last."""

    name: str
    kind: int
    shape: list[int]
    channels_last: bool


@dataclass(frozen=True)
class Output:
    """An output of a network: its name, its number type and its shape."""

    name: str
    kind: int
    shape: list[int]


@dataclass(frozen=True)
class Network:
    """A parsed network with its input, the output that is used, and its batch size."""

    model: onnx.ModelProto
    input: Input
    output: Output
    chunk: int


def open_file(name: str, options: EncoderOptions) -> Embedding:
    """Open an ONNX file as an encoder.

    Parameters
    ----------
    name
        The path of the file, which ends in `.onnx`; the TOML file is beside it.
    options
        The options of the encoder.

    Raises
    ------
    InputError
        If a file is missing, invalid or unsafe, or the network cannot be run.
    """
    path = Path(name)
    content = _read(path)
    model, beside = _parse(content, path)
    taken = _input(model, path)
    shape = taken.shape
    scaling = _scaling(path, options.size, shape)
    if options.depths is not None:
        check_choices(options.depths, ["head"], f"depth in {path}")
    runtime, precision = options.runtime or DEFAULT, options.precision or F32
    chunk = shape[0] or chunk_for(runtime)
    output = _output(_fixed(model, taken, chunk, scaling.size), path, options.output)
    pools = _pools(options.pools, output, taken, path)
    network = Network(model, taken, output, chunk)

    def load(source: tuple[int, int], threads: int) -> Run:
        graph = _from_pixels(network, scaling, source, pools)
        try:
            return RUNTIMES[runtime](graph, chunk=chunk, threads=threads, precision=precision)
        except InputError:
            raise
        except Exception as error:  # an untrusted graph can be wrong in too many ways to list
            raise InputError(f"{path} cannot be run by {runtime}: {_reason(error)}.") from None

    try:
        run = load((PATCH_SIZE, PATCH_SIZE), 1)
        width = width_of(run, chunk, PATCH_SIZE, str(path))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be run by {runtime}: {_reason(error)}.") from None
    facts = EncoderFacts(
        network=path.stem,
        weights_sha256=sha256(content + beside),
        size=scaling.size,
        mean=scaling.mean,
        std=scaling.std,
        pools=pools,
        views=options.views or 1,
        precision=precision,
        runtime=runtime,
        output=options.output,
    )
    kinds = [KINDS[name] for name in pools] or ["value__patch"]
    each = width // len(kinds)
    features = tuple(f"{kind}_{k:04d}" for kind in kinds for k in range(each))
    return Embedding(VERSION, features, facts, chunk, load)


def _reason(error: Exception) -> str:
    """The message of an error on one line, without its final period."""
    return message_of(error, 300).rstrip(".") or type(error).__name__


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is larger than an ONNX file can be; check the file.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"encoder {path} cannot be read: {error.strerror}.") from None


def _parse(content: bytes, path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Parse a model; returns it with all its weights, and the sums of the files that lie beside it.

    Raises InputError unless it is valid and recent enough, and its weights are in it or beside it.
    """
    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.node:
            raise ValueError("it has no network")
        beside = load_beside(model, path)
        _check_parts(model)
        onnx.checker.check_model(model)
    except Exception as error:
        raise InputError(f"{path} is not an ONNX model that pcam can use: {_reason(error)}.") from None
    opsets = [opset.version for opset in model.opset_import if opset.domain in DOMAINS]
    if not opsets or opsets[0] < OLDEST_OPSET:
        raise InputError(f"{path} has an ONNX opset before {OLDEST_OPSET}; export it with a newer one.")
    return model, beside


def _check_parts(message: Message) -> None:
    """Raise ValueError for unsafe parts at any depth: external weights, own functions, loops."""
    if isinstance(message, onnx.TensorProto) and (
        message.data_location == TensorProto.EXTERNAL or message.external_data
    ):
        raise ValueError(
            "its weights are in another file that is not a plain file beside it; save them inside the "
            "model, with onnx.save(onnx.load(file), file)"
        )
    if isinstance(message, onnx.FunctionProto):
        raise ValueError("it defines functions; inline them")
    if isinstance(message, onnx.NodeProto) and (
        message.domain not in DOMAINS or message.op_type in LOOPS
    ):
        raise ValueError(f"an encoder cannot have the operator {message.domain}:{message.op_type}")
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                _check_parts(part)


def _dimensions(value: onnx.ValueInfoProto) -> list[int]:
    """The length of each axis of a tensor, 0 where it is not fixed."""
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _input(model: onnx.ModelProto, path: Path) -> Input:
    """The single input."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(
            f"{path} has {len(inputs)} inputs ({names}); an encoder must have one, the pixels."
        )
    given = shape = _dimensions(inputs[0])
    kind = inputs[0].type.tensor_type.elem_type
    last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    if last:
        shape = [shape[0], 3, shape[1], shape[2]]
    known = kind in (TensorProto.FLOAT, TensorProto.FLOAT16)
    if not known or len(shape) != 4 or shape[1] not in (0, 3) or shape[2] != shape[3]:
        raise InputError(
            f"the input of {path} is {TensorProto.DataType.Name(kind)} {given}; it must be FLOAT or "
            "FLOAT16, [N, 3, size, size] or [N, size, size, 3]."
        )
    if not 0 <= shape[0] <= LARGEST_BATCH:
        raise InputError(
            f"{path} has a fixed batch size of {shape[0]}; export it with a dynamic batch size."
        )
    return Input(inputs[0].name, kind, shape, last)


def _scaling(path: Path, size: int | None, shape: list[int]) -> Scaling:
    """Read the TOML file beside a network, whose input has `shape`; `size` takes precedence."""
    beside = path.with_suffix(".toml")
    try:
        entries: dict[str, Any] = tomllib.loads(beside.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"{beside} is missing; create it with the normalization of {path}, such as {EXAMPLE}."
        ) from None
    except ValueError as error:
        raise InputError(f"{beside} cannot be read: {_reason(error)}.") from None
    mean, std = (_three_numbers(entries.pop(key, None), key, beside) for key in ("mean", "std"))
    if min(std) <= 0:
        raise InputError(f"{beside}: std must be above 0; correct it.")
    if max(*mean, *std) > SCALED:
        raise InputError(
            f"{beside}: mean {mean} and std {std} are not of pixels from 0 to 1; divide those of 0 to "
            "255 by 255."
        )
    wanted = entries.pop("size", 0)
    if entries:
        raise InputError(f"{beside} has unknown entries: {', '.join(entries)}; remove them.")
    wanted = size or wanted or shape[2]
    if not wanted:
        raise InputError(
            f"{path} takes any input size; choose one with --size, or with size in {beside}."
        )
    check_size(wanted, f"the input size of {path}")
    if shape[2] not in (0, wanted):
        raise InputError(
            f"{path} takes {shape[2]}×{shape[2]} pixels, not {wanted}×{wanted}; change --size."
        )
    return Scaling(wanted, mean, std)


def _three_numbers(values: object, key: str, file: Path) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
        raise InputError(f"{file} must have {key} as three numbers; write {EXAMPLE}.")
    return tuple(float(value) for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _fixed(model: onnx.ModelProto, taken: Input, chunk: int, size: int) -> onnx.ModelProto:
    """The model with a fixed input shape, and all shapes that follow from it."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    lengths = (chunk, size, size, 3) if taken.channels_last else (chunk, 3, size, size)
    for value in fixed.graph.input:
        if value.name == taken.name:
            for axis, length in zip(value.type.tensor_type.shape.dim, lengths, strict=True):
                axis.dim_value = length
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return shape_inference.infer_shapes(fixed)


def _output(model: onnx.ModelProto, path: Path, wanted: str | None) -> Output:
    """The output that is used: (N, F), (N, C, h, w) or (N, T, F), of known size."""
    outputs = {value.name: value for value in model.graph.output}
    names = ", ".join(outputs)
    if wanted is not None and wanted not in outputs:
        raise InputError(f"--encoder-output {wanted}: {path} has no such output; it has: {names}.")
    if wanted is None and len(outputs) != 1:
        raise InputError(
            f"{path} has {len(outputs)} outputs ({names}); choose one with --encoder-output NAME."
        )
    value = outputs[wanted] if wanted is not None else next(iter(outputs.values()))
    shape = _dimensions(value)
    if len(shape) not in (2, 3, 4) or (len(shape) > 2 and not all(shape[1:])):
        raise InputError(
            f"the output of {path} has the shape {shape}; it must be [N, F], maps [N, C, h, w], or "
            "tokens [N, T, F] of a known number."
        )
    return Output(value.name, value.type.tensor_type.elem_type, shape)


def _pools(wanted: tuple[str, ...] | None, output: Output, taken: Input, path: Path) -> tuple[str, ...]:
    """How an output is pooled; empty for vectors. Raises InputError if that has to be chosen."""
    axes = len(output.shape)
    if axes == 2:
        if wanted not in (None, ("mean",)):
            raise InputError(f"{path} returns vectors, which cannot be pooled; leave out --pools.")
        return ()
    if axes == 3:
        told = f"{path} returns {output.shape[1]} tokens of {output.shape[2]} values"
        if wanted is None:
            raise InputError(
                f"{told}; choose with --pools cls (the first token) or --pools mean (of the others)."
            )
        if not set(wanted) <= {FIRST, "mean"}:
            raise InputError(f"{told}, which --pools cls and --pools mean pool; choose one of them.")
        return wanted
    if taken.channels_last:
        raise InputError(
            f"{path} takes channels last and returns maps {output.shape}, whose channels may be first "
            "or last; export it with vectors [N, F] as its output."
        )
    if wanted is not None and FIRST in wanted:
        raise InputError(f"{path} returns maps, not tokens; choose --pools from: {', '.join(POOLS)}.")
    return tuple(POOLS) if wanted is None else wanted


def _token_vectors(graph: Graph, tokens: str, count: int, pools: tuple[str, ...]) -> list[str]:
    """A vector (N, F) for each pool of tokens (N, T, F).

    The mean is over the tokens of the image: all of them if they fill a square, or else those after the
    first.
    """
    axis = graph.constant([1], "int64")

    def between(start: int, stop: int) -> str:
        places = [graph.constant([place], "int64") for place in (start, stop)]
        return graph.add("Slice", tokens, *places, axis)

    vectors = []
    for name in pools:
        if name == FIRST:
            vectors.append(graph.add("Flatten", between(0, 1), axis=1))
            continue
        first = 0 if isqrt(count) ** 2 == count else 1
        # ReduceMean has other inputs in newer opsets; GlobalAveragePool is the same in all.
        columns = graph.add("Transpose", between(first, count), perm=[0, 2, 1])
        vectors.append(graph.add("Flatten", graph.add("GlobalAveragePool", columns), axis=1))
    return vectors


def _from_pixels(
    network: Network, scaling: Scaling, source: tuple[int, int], pools: tuple[str, ...]
) -> bytes:
    """The serialized model from pixels, uint8 (N, *source, 3), to features."""
    model, shape = network.model, network.output.shape
    graph = Graph()
    value = pixels_in(graph, source, scaling.size, scaling.mean, scaling.std)
    if network.input.channels_last:
        value = graph.add("Transpose", value, perm=[0, 2, 3, 1])
    if network.input.kind != TensorProto.FLOAT:
        value = graph.add("Cast", value, to=network.input.kind)
    graph.nodes.append(helper.make_node("Identity", [value], [network.input.name]))
    graph.nodes.extend(model.graph.node)
    output = network.output.name
    if network.output.kind != TensorProto.FLOAT:
        output = graph.add("Cast", output, to=TensorProto.FLOAT)
    if pools:
        vectors = (
            _token_vectors(graph, output, shape[1], pools)
            if len(shape) == 3
            else pool(graph, output, (shape[2], shape[3]), pools)
        )
        output = graph.add("Concat", *vectors, axis=1)
    graph.name_output(output)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for field in ("node", "input", "output", "value_info"):
        whole.graph.ClearField(field)
    whole.graph.node.extend(graph.nodes)
    whole.graph.initializer.extend(graph.constants)
    fixed = _dimensions(model.graph.input[0])[:1] == [network.chunk]
    pixels = [network.chunk if fixed else "N", *source, 3]
    whole.graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, pixels))
    whole.graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, None))
    return bytes(whole.SerializeToString())
