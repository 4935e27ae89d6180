"""Selects families by name."""

from __future__ import annotations

from collections.abc import Sequence

from ..encoders.options import EncoderOptions
from ..errors import InputError
from ..families.family import FeatureFamily
from ..families.registry import CNN, chosen, listed
from .embedding_tables import is_table, open_table

Families = str | Sequence[str | FeatureFamily] | None
DEFAULTS = EncoderOptions()


def families_named(names: Families, options: EncoderOptions = DEFAULTS) -> list[FeatureFamily]:
    """Select families by name.

    Parameters
    ----------
    names
        Names of families, comma-separated or in a sequence, which may also hold families as objects.
        "all" or None selects every handcrafted family; "cnn" selects an encoder. A table of embeddings
        is named by its file, or as "NAME=FILE"; see `embedding_tables`.
    options
        The encoder for "cnn".

    Raises
    ------
    InputError
        If a name or option is unknown, there are options without "cnn", or a table cannot be used.

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
    tables = [open_table(word) for word in words if is_table(word)]
    by_hand = [word for word in words if word != CNN and not is_table(word)]
    given = options.given()
    if given and CNN not in words:
        raise InputError(f"--{given[0]} is for embeddings; add --families {CNN}.")
    families: list[FeatureFamily] = []
    if by_hand or not (words or objects):
        families += chosen(None if names is None else ",".join(by_hand))
    if CNN in words:
        from ..encoders.registry import open_with

        families.append(open_with(options))
    whole = [*families, *tables, *objects]
    if twice := {one.name for one in tables if [f.name for f in whole].count(one.name) > 1}:
        raise InputError(
            f"two families are named {', '.join(sorted(twice))}; give a table another name, as "
            "NAME=FILE."
        )
    return whole
