"""Running a graph: OpenVINO by default, ONNX Runtime where it is asked for; the CPU on both.

A `Run` takes a fixed number of patches and one core for each call, so that the threads which read
patches are also those that embed them. Several threads may call it at once.
"""

from __future__ import annotations

import io
import queue
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from ..errors import InputError

CHUNK = 8  # patches at a time: their activations still fit in a core's cache

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
    """A stream, and a request, for each thread. Raises InputError if the processor cannot compute
    at this precision: OpenVINO would take another without a word."""
    ov = _import_openvino()
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


def onnxruntime(graph: bytes, *, chunk: int, threads: int, precision: str) -> Run:
    if precision != "f32":
        raise InputError(f"ONNX Runtime computes in f32 here, not {precision}; use --runtime openvino.")
    if find_spec("onnxruntime") is None:
        raise InputError("ONNX Runtime is not installed; pip install onnxruntime brings it.")
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: pixels})[0])

    return run


DEFAULT = "openvino"
RUNTIMES: dict[str, Runtime] = {"openvino": openvino, "onnxruntime": onnxruntime}
