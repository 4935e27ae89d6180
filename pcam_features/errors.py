"""What can go wrong, said in one sentence: what, where, and what to do next."""


class PcamError(Exception):
    """A run that failed for a reason we can name."""

    exit_code = 1


class InputError(PcamError):
    """Usage or input that cannot be worked with as it is."""

    exit_code = 2
