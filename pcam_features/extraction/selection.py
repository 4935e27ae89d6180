"""Selects families by name."""

from __future__ import annotations

from collections.abc import Sequence

from ..encoders.options import EncoderOptions
from ..errors import InputError
from ..families.family import FeatureFamily
from ..families.registry import CNN, chosen, listed

Families = str | Sequence[str | FeatureFamily] | None
DEFAULTS = EncoderOptions()


def families_named(names: Families, options: EncoderOptions = DEFAULTS) -> list[FeatureFamily]:
    """Select families by name.

    Parameters
    ----------
    names
        Names of families, comma-separated or in a sequence, which may also hold families as objects.
        "all" or None selects every handcrafted family; "cnn" selects an encoder.
    options
        The encoder for "cnn".

    Raises
    ------
    InputError
        If a name or option is unknown, or there are options without "cnn".

    Examples
    --------
    >>> [family.name for family in families_named("lbp, color")]
    ['color', 'lbp']
    >>> len(families_named("all"))
    14
    """
    if isinstance(names, str):
        words, objects = listed(names), []
    else:
        words = [name for name in names or () if isinstance(name, str)]
        objects = [name for name in names or () if not isinstance(name, str)]
    by_hand = [word for word in words if word != CNN]
    given = options.given()
    if given and CNN not in words:
        raise InputError(f"--{given[0]} is for embeddings; add --families {CNN}.")
    families: list[FeatureFamily] = []
    if by_hand or not (words or objects):
        families += chosen(None if names is None else ",".join(by_hand))
    if CNN in words:
        from ..encoders.registry import open_with

        families.append(open_with(options))
    return families + objects
