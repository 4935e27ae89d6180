"""The command line's sentences, with advice that makes sense in Python."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import PcamError, in_python

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(sentence: str) -> None:
    """Issue a UserWarning that names the line outside pcam from which it was called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, UserWarning, stacklevel=level)


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
