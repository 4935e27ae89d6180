"""Running a graph: OpenVINO by default, ONNX Runtime where it is asked for, on the CPU or a card.

A `Run` takes a fixed number of patches and, on the CPU, one core for each call, so that the threads
which read patches are also those that embed them. Several threads may call it at once.
"""

from __future__ import annotations

import io
import queue
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from ..engine.devices import cuda_problem
from ..errors import InputError

CHUNK = 8  # patches at a time: their activations still fit in a core's cache
CHUNK_ON_CARD = 256  # enough to keep a card busy
CAPABILITIES = "OPTIMIZATION_CAPABILITIES"  # OpenVINO's property of a device

Run = Callable[[np.ndarray], np.ndarray]  # uint8 (chunk, H, W, 3) -> float32 (chunk, F)


class Runtime(Protocol):
    """What loads a serialized ONNX graph: for so many patches a call, calls at once, a precision."""

    def __call__(self, graph: bytes, *, chunk: int, threads: int, precision: str) -> Run: ...


def _import_openvino() -> Any:
    """OpenVINO without the telemetry package it brings along: hidden while OpenVINO is imported, it
    is never loaded, and OpenVINO takes its own stub instead."""
    if find_spec("openvino") is None:
        raise InputError(
            "OpenVINO is not installed; pip install openvino, or use --runtime onnxruntime."
        )
    hidden = "openvino_telemetry"
    if "openvino" not in sys.modules and hidden not in sys.modules:
        sys.modules[hidden] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[hidden]
    import openvino

    return openvino


def openvino(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    """Load a graph with one stream and one request for each thread.

    Raises InputError if the processor has no instructions for this precision. OpenVINO would compute
    in another precision, or emulate this one, without a word.
    """
    ov = _import_openvino()
    if precision == "bf16" and "BF16" not in ov.Core().get_property("CPU", CAPABILITIES):
        raise InputError("this processor has no bf16 instructions; use --precision f32.")
    model = ov.Core().read_model(io.BytesIO(graph))
    model.reshape([chunk, *model.inputs[0].partial_shape[1:]])
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = ov.Core().compile_model(model, "CPU", settings)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != precision:
        raise InputError(f"this processor has no {precision} (it would use {used}); use f32.")
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(threads):
        free.put(compiled.create_infer_request())

    def run(pixels: np.ndarray) -> np.ndarray:
        request = free.get()
        try:
            return np.array(request.infer({0: pixels})[0])
        finally:
            free.put(request)

    # OpenVINO looks NumPy up at the first array it is given. Two threads that give it their first
    # arrays at once wait for each other for ever, so the first is given here.
    run(np.zeros(compiled.inputs[0].shape, np.uint8))
    return run


def _options(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def onnxruntime(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    if precision != "f32":
        raise InputError(f"ONNX Runtime computes in f32 here, not {precision}; use --runtime openvino.")
    if find_spec("onnxruntime") is None:
        raise InputError("ONNX Runtime is not installed; pip install onnxruntime brings it.")
    import onnxruntime as ort

    ort.disable_telemetry_events()
    session = ort.InferenceSession(graph, _options(ort), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: pixels})[0])

    return run


def cuda(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    """ONNX Runtime on the card, with pixels in CuPy's memory. Raises InputError where it cannot:
    ONNX Runtime would take the CPU without a word."""
    if precision != "f32":
        raise InputError(f"the runtime cuda computes in f32, not {precision}.")
    problem = cuda_problem()
    if problem is None and find_spec("onnxruntime") is None:
        problem = "ONNX Runtime is not installed (the extra cuda12 or cuda13 brings it)"
    if problem:
        raise InputError(f"--runtime cuda cannot be used: {problem}. Leave it out for the CPU.")
    import onnxruntime as ort

    from ..engine.cuda import to_device

    ort.disable_telemetry_events()
    provider = "CUDAExecutionProvider"
    if provider in ort.get_available_providers():
        ort.preload_dlls()
        how = [(provider, {"use_tf32": "0"})]  # which would cut f32 to 10 bits
        session = ort.InferenceSession(graph, _options(ort), providers=how)
        if provider in session.get_providers():
            return bound(session, "cuda", to_device, lambda array: int(array.data.ptr))
    raise InputError(
        "--runtime cuda cannot be used: the ONNX Runtime here has no CUDA, or cannot load it; "
        "pip uninstall onnxruntime, then reinstall onnxruntime-gpu (the extra cuda12 or cuda13)."
    )


def bound(
    session: Any,
    device: str,
    place: Callable[[np.ndarray], Any],
    address: Callable[[Any], int],
) -> Run:
    """A `Run` whose pixels `place` puts into a device's memory, at an `address`, for the session to
    take from there; features come back to the host once."""
    given, wanted = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        there = place(pixels)  # which returns when they are: ONNX Runtime has a stream of its own
        binding = session.io_binding()
        binding.bind_input(given, device, 0, np.uint8, there.shape, address(there))
        binding.bind_output(wanted, device)
        session.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0])

    return run


DEFAULT, CARD = "openvino", "cuda"
F32 = "f32"  # the precision of every runtime
RUNTIMES: dict[str, Runtime] = {"openvino": openvino, "onnxruntime": onnxruntime, CARD: cuda}


def chunk_for(runtime: str) -> int:
    """How many patches a runtime takes at a time."""
    return CHUNK_ON_CARD if runtime == CARD else CHUNK
