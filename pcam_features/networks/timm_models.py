"""timm models, with weights from a file or from timm's own source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..extras import check_installed
from ..words import message_of

SAFE, TORCH = ".safetensors", (".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "student", "net")
PREFIXES = (
    "module.",
    "_orig_mod.",
    "backbone.",
    "encoder.",
    "model.",
    "teacher.",
    "student.",
    "visual.",
)
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
    timm = imported()
    architecture, file = split_name(name)
    state = None if file is None or not pretrained else _weights(file)
    how = {} if state is None else settings_of(state)
    try:
        model = timm.create_model(
            architecture, pretrained=pretrained and state is None, num_classes=classes, **how
        )
    except Exception as error:  # for example unknown names, no connection, or a refusing server
        reason = message_of(error, 300).rstrip(".")
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


def imported() -> Any:
    """The module timm. Raises InputError if it is not installed, or cannot be imported."""
    for module in ("torch", "timm"):
        check_installed(module)
    try:
        import timm
    except Exception as error:  # torchvision of another build raises more than ImportError
        reason = message_of(error, 200).rstrip(".")
        raise InputError(
            f"timm cannot be imported: {reason}; torch and torchvision have to be of versions and "
            "builds that go together: reinstall both from one index, with pip install "
            "--force-reinstall torch torchvision."
        ) from None
    return timm


def settings_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a vision transformer that its weights show and timm's default lacks."""
    return {"init_values": 1.0} if any(key.endswith(".ls1.gamma") for key in state) else {}


def unwrapped(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors by timm's names, out of what training programs wrap them in.

    Examples
    --------
    >>> unwrapped({"epoch": 3, "state_dict": {"module.backbone.norm.weight": 1, "head.bias": 2}})
    {'norm.weight': 1, 'head.bias': 2}
    """
    while inner := next(
        (loaded[one] for one in WRAPPERS if isinstance(loaded.get(one), Mapping)), None
    ):
        loaded = inner
    state = dict(loaded)
    for _ in range(len(PREFIXES)):
        for prefix in PREFIXES:
            others = [key for key in state if not key.startswith(prefix)]
            if len(others) < len(state) and all(key.startswith(CLASSIFIERS) for key in others):
                state = {key.removeprefix(prefix): one for key, one in state.items()}
    return state


def _weights(file: Path) -> dict[str, Any]:
    """Read tensors by name; from a pickle, only what PyTorch's `weights_only` allows."""
    import torch

    try:
        if file.suffix == SAFE:
            from safetensors.torch import load_file

            state = unwrapped(load_file(file))
        else:
            state = unwrapped(torch.load(file, map_location="cpu", weights_only=True))
        if not state or not all(isinstance(one, torch.Tensor) for one in state.values()):
            raise ValueError("it does not hold tensors by name; save model.state_dict()")
        return state
    except Exception as error:
        reason = message_of(error, 200).rstrip(".")
        raise InputError(f"weight file {file} cannot be used: {reason}.") from None


def pixels(model: Any) -> dict[str, Any]:
    """The input size, mean and standard deviation with which a timm model was trained."""
    import timm

    return dict(timm.data.resolve_model_data_config(model))
