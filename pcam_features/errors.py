"""Exceptions. A message is one sentence: what went wrong, where, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping

FLAGS = (
    "keep_packed",
    "overwrite",
    "verify",
    "published",
    "strict",
    "labeled_only",
    "skip_unreadable",
    "vouch",
)
VALUES = ("auto", "cpu", "cuda", "cnn", "none", "f32", "bf16", "openvino", "onnxruntime")
FITTINGS = ("resize", "crop", "tile")
ADAPTATIONS = ("split", "slide")
OPTION = re.compile(rf"--([a-z][a-z-]*)(?: ({'|'.join((*VALUES, *FITTINGS, *ADAPTATIONS))})\b)?")
COMMAND = re.compile(r"\bpcam (extract|fit|compare|blend|copy)\b")
URL_SCHEMES = ("s3", "gs", "gcs", "az", "abfs")  # of object stores; see `storage.urls`
ONE_SLASH = re.compile(rf"\b({'|'.join(URL_SCHEMES)}):/(?=[^/\s])")
RENAMED = {"with": "outside"}  # options that are called otherwise in Python, where the word is taken


class PcamError(Exception):
    """A run failed for a known reason."""

    exit_code = 1
    command_line: str | None = None  # the sentence with advice for the command line, if it differs

    def __str__(self) -> str:
        return with_urls(super().__str__())


class InputError(PcamError):
    """Arguments or input data are invalid."""

    exit_code = 2


def with_urls(sentence: str) -> str:
    """A sentence with URLs as users write them: a `Path` has one slash where a URL has two.

    Examples
    --------
    >>> with_urls("s3:/bucket/features is not a feature store.")
    's3://bucket/features is not a feature store.'
    """
    return ONE_SLASH.sub(r"\1://", sentence)


def in_python(sentence: str, names: Mapping[str, str] | None = None) -> str:
    """A sentence about options of the command line, with arguments of functions in their place.

    Parameters
    ----------
    sentence
        The sentence.
    names
        The arguments that have other names than their options.

    Examples
    --------
    >>> in_python("give another folder, or --overwrite to extract anew.")
    'give another folder, or overwrite=True to extract anew.'
    >>> in_python("--size is for embeddings; add --families cnn.")
    "size= is for embeddings; add families='cnn'."
    >>> in_python("run pcam extract again.")
    'run pcam.extract again.'
    >>> in_python("use another --seed.", {"seed": "random_state"})
    'use another random_state=.'
    """

    def argument(match: re.Match[str]) -> str:
        option, value = match[1].replace("-", "_"), match[2]
        name = (RENAMED | dict(names or {})).get(option, option)
        if name in FLAGS:
            return f"{name}=True" + ("" if value is None else f" {value}")
        return f"{name}=" + ("" if value is None else repr(value))

    named = sentence.replace("pcam deep fit", "pcam.fit_network").replace("--no-copies", "copies=False")
    return COMMAND.sub(r"pcam.\1", OPTION.sub(argument, named))
