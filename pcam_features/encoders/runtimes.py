"""Runs graphs with OpenVINO (the default) or ONNX Runtime, on the CPU or a GPU.

A `Run` takes a fixed number of patches. On the CPU each call uses one core, so the threads that read
patches also embed them. It is thread-safe.
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
from ..extras import check_installed

CHUNK = 8  # patches per call, whose activations still fit in the cache of a core
CHUNK_ON_CARD = 256  # patches per call on a GPU
CAPABILITIES = "OPTIMIZATION_CAPABILITIES"  # OpenVINO's property of a device

Run = Callable[[np.ndarray], np.ndarray]  # uint8 (chunk, H, W, 3) -> float32 (chunk, F)


class Runtime(Protocol):
    """Loads a serialized ONNX graph for `chunk` patches per call, `threads` threads and a precision."""

    def __call__(self, graph: bytes, *, chunk: int, threads: int, precision: str) -> Run: ...


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry package.

    The package is hidden during the import, so that OpenVINO uses its own stub instead.
    """
    check_installed("openvino", "the default runtime")
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
    in another precision, or emulate this one, without reporting it.
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
        raise InputError(f"this processor has no {precision}, only {used}; use --precision f32.")
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(threads):
        free.put(compiled.create_infer_request())

    def run(pixels: np.ndarray) -> np.ndarray:
        request = free.get()
        try:
            return np.array(request.infer({0: pixels})[0])
        finally:
            free.put(request)

    # OpenVINO imports NumPy at its first array. Two threads that pass their first arrays at the same
    # time deadlock, so the first array is passed here.
    run(np.zeros(compiled.inputs[0].shape, np.uint8))
    return run


def _options(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def onnxruntime(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    """Load a graph with ONNX Runtime on the CPU, one thread per call.

    Raises InputError for a precision other than f32, and if ONNX Runtime is not installed.
    """
    if precision != "f32":
        raise InputError(f"ONNX Runtime computes only in f32, not {precision}; use --runtime openvino.")
    check_installed("onnxruntime", "--runtime onnxruntime")
    import onnxruntime as ort

    ort.disable_telemetry_events()
    session = ort.InferenceSession(graph, _options(ort), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: pixels})[0])

    return run


def cuda(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    """Load a graph with ONNX Runtime on the GPU, with pixels in CuPy's memory.

    Raises InputError if that is not possible, because ONNX Runtime would silently use the CPU.
    """
    if precision != "f32":
        raise InputError(f"the runtime cuda computes only in f32; leave out --precision {precision}.")
    problem = cuda_problem()
    if problem is None and find_spec("onnxruntime") is None:
        problem = "ONNX Runtime is not installed (install the extra cuda12 or cuda13)"
    if problem:
        raise InputError(f"--runtime cuda cannot be used: {problem}; leave it out to use the CPU.")
    import onnxruntime as ort

    from ..engine.cuda import to_device

    ort.disable_telemetry_events()
    provider = "CUDAExecutionProvider"
    if provider in ort.get_available_providers():
        ort.preload_dlls()
        how = [(provider, {"use_tf32": "0"})]  # TF32 would reduce the mantissa of f32 to 10 bits
        session = ort.InferenceSession(graph, _options(ort), providers=how)
        if provider in session.get_providers():
            return bound(session, "cuda", to_device, lambda array: int(array.data.ptr))
    raise InputError(
        "--runtime cuda cannot be used: the installed ONNX Runtime has no CUDA, or cannot load it; run "
        "pip uninstall onnxruntime, then reinstall onnxruntime-gpu (the extra cuda12 or cuda13)."
    )


def bound(
    session: Any,
    device: str,
    place: Callable[[np.ndarray], Any],
    address: Callable[[Any], int],
) -> Run:
    """A `Run` on a device.

    `place` copies pixels to the memory of the device, and `address` gives their address for the
    session. Features are copied back to the host once.
    """
    given, wanted = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        # ONNX Runtime has its own stream, so `place` must return only when the copy is complete.
        there = place(pixels)
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
    """The number of patches that a runtime takes per call.

    Examples
    --------
    >>> chunk_for("openvino"), chunk_for("cuda")
    (8, 256)
    """
    return CHUNK_ON_CARD if runtime == CARD else CHUNK
