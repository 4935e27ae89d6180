"""The command line's sentences, with advice that makes sense in Python."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import PcamError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

FLAGS = ("overwrite", "verify", "published", "strict")
VALUES = ("auto", "cpu", "cuda", "cnn", "none", "f32", "bf16", "openvino", "onnxruntime")
FITTINGS = ("resize", "crop", "tile")
OPTION = re.compile(rf"--([a-z][a-z-]*)(?: ({'|'.join((*VALUES, *FITTINGS))})\b)?")
COMMAND = re.compile(r"\bpcam (extract|fit|compare)\b")


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
