"""timm models, with weights from a file or from timm's own source."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError

SAFE, TORCH = ".safetensors", (".pth", ".pt", ".bin")
CLASSIFIERS = ("head.", "fc.", "classifier.", "head_drop.")  # not needed for an embedding


def split_name(name: str) -> tuple[str, Path | None]:
    """Split NAME[:WEIGHTS] into the model's name and the weight file, None if there is none."""
    before, colon, last = name.rpartition(":")
    return (before, Path(last)) if colon and last.endswith((SAFE, *TORCH)) else (name, None)


def network(name: str, *, classes: int = 0, pretrained: bool = True) -> Any:
    """Create a timm model, ready for inference.

    Parameters
    ----------
    name
        NAME[:WEIGHTS]: timm's name of the model, and optionally a weight file.
    classes
        Number of outputs; with 0, the output is a vector of features.
    pretrained
        Whether to load pretrained weights, from WEIGHTS or from timm's source. Otherwise weights are
        random and no file is read.

    Raises
    ------
    InputError
        If the model cannot be created or the weights do not fit it.
    """
    for module in ("torch", "timm"):
        if find_spec(module) is None:
            raise InputError(f"{module} is not installed; run pip install 'pcam-features[deep]'.")
    import timm

    architecture, file = split_name(name)
    state = None if file is None or not pretrained else _weights(file)
    try:
        model = timm.create_model(
            architecture, pretrained=pretrained and state is None, num_classes=classes
        )
    except Exception as error:  # for example unknown names, no connection, or a refusing server
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(f"timm:{name} cannot be created: {reason}; check its name.") from None
    if state is not None:
        try:
            own = model.state_dict()
            fitting = {
                key: one
                for key, one in state.items()
                if not (key.startswith(CLASSIFIERS) and key in own and own[key].shape != one.shape)
            }
            missing, more = model.load_state_dict(fitting, strict=False)
        except RuntimeError as error:
            raise InputError(
                f"the weights in {file} do not fit {architecture}: "
                f"{str(error).splitlines()[-1].strip().rstrip('.')}."
            ) from None
        missing, more = (
            [key for key in keys if not key.startswith(CLASSIFIERS)] for keys in (missing, more)
        )
        if missing or more:
            raise InputError(
                f"the weights in {file} do not fit {architecture}: {len(missing)} tensors are missing "
                f"and {len(more)} are unknown, the first {(missing + more)[0]}."
            )
    return model.eval()


def _weights(file: Path) -> dict[str, Any]:
    """Read tensors by name; from a pickle, only what PyTorch's `weights_only` allows."""
    import torch

    try:
        if file.suffix == SAFE:
            from safetensors.torch import load_file

            return dict(load_file(file))
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"weight file {file} cannot be used: {reason}.") from None


def pixels(model: Any) -> dict[str, Any]:
    """The input size, mean and standard deviation with which a timm model was trained."""
    import timm

    return dict(timm.data.resolve_model_data_config(model))
