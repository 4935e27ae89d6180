"""Packages that not everybody needs: which extra brings them, and how to install it here."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

from .errors import InputError

DISTRIBUTION = "pcam-features"
# The extra that brings each module.
EXTRAS = {
    "distributed": "cluster",
    "fsspec": "remote",
    "onnx": "cnn",
    "openvino": "cnn",
    "onnxruntime": "onnxruntime",
    "optuna": "search",
    "s3fs": "remote",
    "safetensors": "cnn",
    "timm": "deep",
    "torch": "deep",
}


def how_to_install(extra: str) -> str:
    """The command that installs an extra, in the way that pcam itself was installed.

    Parameters
    ----------
    extra
        The extra.

    Examples
    --------
    >>> "[cnn]'" in how_to_install("cnn")
    True
    """
    checkout = _checkout()
    if checkout is not None:
        return f"pip install -e '{checkout}[{extra}]'"
    wanted = f"'{DISTRIBUTION}[{extra}]'"
    parts = Path(sys.prefix).parts
    if "pipx" in parts:
        return f"pipx install --force {wanted}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install {wanted}"
    return f"pip install {wanted}"


def _checkout() -> Path | None:
    """The checkout that pcam was installed from with `pip install -e`; None for any other way."""
    try:
        record = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    known = json.loads(record) if record else {}
    if not known.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(known["url"]).path))


def check_installed(module: str, purpose: str | None = None) -> None:
    """Raise InputError, with the line to type, if a module of an extra is not installed.

    Parameters
    ----------
    module
        The module, one of `EXTRAS`.
    purpose
        What needs it, to begin the sentence with. None: the sentence names only the module.
    """
    # find_spec raises ValueError for a module that is hidden by None in sys.modules.
    if (module in sys.modules and sys.modules[module] is None) or find_spec(module) is None:
        subject = f"{purpose} needs {module}, which" if purpose else module
        raise InputError(f"{subject} is not installed; run {how_to_install(EXTRAS[module])}.")
