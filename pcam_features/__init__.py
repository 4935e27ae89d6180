"""pcam: the classical baseline for histopathology patches.

Examples
--------
>>> import pcam_features as pcam
>>> pcam.features("synthetic:40", families="color").shape
(50, 364)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .optimized import keep_docstrings

keep_docstrings()

__version__ = "0.1.0"

# Where each public name is; it is loaded when it is asked for, since what it needs is heavy. Type
# checkers and editors read __init__.pyi.
PLACES = {
    "Blend": ".api.blending",
    "Comparison": ".api.comparing",
    "CutPatches": ".slides.patches",
    "EncoderOptions": ".encoders.options",
    "Explanation": ".api.explaining",
    "InputError": ".errors",
    "Model": ".api.model",
    "PcamError": ".errors",
    "ReferenceNetwork": ".api.networks",
    "RunResult": ".api.running",
    "SlideMap": ".api.slides",
    "Source": ".sources.source",
    "SourceCheck": ".api.preparing",
    "Store": ".store.store",
    "blend": ".api.blending",
    "check_source": ".api.preparing",
    "compare": ".api.comparing",
    "convert_source": ".api.preparing",
    "copy": ".api.copying",
    "cut_slides": ".api.slides",
    "embeddings": ".api.features",
    "extract": ".api.data",
    "features": ".api.features",
    "fetch_dataset": ".api.fetching",
    "fit": ".api.fitting",
    "fit_network": ".api.networks",
    "map_slide": ".api.slides",
    "open_model": ".api.model",
    "open_network": ".api.networks",
    "open_source": ".api.data",
    "open_store": ".api.data",
    "run": ".api.running",
    "score_maps": ".api.slides",
}

__all__ = [
    "Blend",
    "Comparison",
    "CutPatches",
    "EncoderOptions",
    "Explanation",
    "InputError",
    "Model",
    "PcamError",
    "ReferenceNetwork",
    "RunResult",
    "SlideMap",
    "Source",
    "SourceCheck",
    "Store",
    "__version__",
    "blend",
    "check_source",
    "compare",
    "convert_source",
    "copy",
    "cut_slides",
    "embeddings",
    "extract",
    "features",
    "fetch_dataset",
    "fit",
    "fit_network",
    "map_slide",
    "open_model",
    "open_network",
    "open_source",
    "open_store",
    "run",
    "score_maps",
]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(PLACES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *PLACES])
