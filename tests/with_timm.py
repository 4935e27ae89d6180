"""timm for tests, also beside PyTorch's CPU build."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

OPERATORS = ("nms", "qnms")
DECLARED = []  # an operator is there as long as the object that declared it


def timm_or_skip() -> Any:
    """Import timm; skip the test if it is not installed.

    The torchvision of Python's package index is built for CUDA. Its operators do not load beside
    PyTorch's CPU build, and then its import fails because it describes two of them. No model of timm
    calls these, so it is enough to declare them.
    """
    torch = pytest.importorskip("torch", reason="the extra deep brings torch")
    try:
        import_module("torchvision")
    except ImportError:
        pytest.skip("torchvision is not installed; the extra deep brings it")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in OPERATORS:
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        DECLARED.append(library)
    return pytest.importorskip("timm", reason="the extra deep brings timm")
