"""Exceptions. A message is one sentence: what went wrong, where, and what to do next."""


class PcamError(Exception):
    """A run failed for a known reason."""

    exit_code = 1
    command_line: str | None = None  # the sentence with advice for the command line, if it differs


class InputError(PcamError):
    """Arguments or input data are invalid."""

    exit_code = 2
