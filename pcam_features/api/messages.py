"""The command line's sentences, with advice that makes sense in Python."""

from __future__ import annotations

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import PcamError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

FLAGS = ("overwrite", "verify", "published", "strict")
VALUES = ("auto", "cpu", "cuda", "cnn", "none", "f32", "bf16", "openvino", "onnxruntime")
FITTINGS = ("resize", "crop", "tile")
OPTION = re.compile(rf"--([a-z][a-z-]*)(?: ({'|'.join((*VALUES, *FITTINGS))})\b)?")
COMMAND = re.compile(r"\bpcam (extract|fit|compare)\b")

PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(sentence: str) -> None:
    """Issue a UserWarning that names the line outside pcam from which it was called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, UserWarning, stacklevel=level)


def in_python(sentence: str) -> str:
    """A sentence about options of the command line, with arguments of functions in their place.

    Examples
    --------
    >>> in_python("give another folder, or --overwrite to extract anew.")
    'give another folder, or overwrite=True to extract anew.'
    >>> in_python("--size is for embeddings; add --families cnn.")
    "size= is for embeddings; add families='cnn'."
    >>> in_python("run pcam extract again.")
    'run pcam.extract again.'
    """

    def argument(match: re.Match[str]) -> str:
        name, value = match[1].replace("-", "_"), match[2]
        if name in FLAGS:
            return f"{name}=True" + ("" if value is None else f" {value}")
        return f"{name}=" + ("" if value is None else repr(value))

    return COMMAND.sub(r"pcam.\1", OPTION.sub(argument, sentence))


def for_python(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function of the API, whose errors advise in Python."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except PcamError as error:
            sentence = in_python(str(error))
            if sentence != str(error):
                error.command_line = str(error)
                error.args = (sentence,)
            raise

    return call
