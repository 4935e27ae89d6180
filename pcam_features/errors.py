"""Exceptions. A message is one sentence: what went wrong, where, and what to do next."""


class PcamError(Exception):
    """A run failed for a known reason."""

    exit_code = 1


class InputError(PcamError):
    """Arguments or input data are invalid."""

    exit_code = 2
