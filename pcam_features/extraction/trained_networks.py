"""Networks that were trained on patches that they are to embed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from ..errors import InputError
from ..families.family import FeatureFamily
from ..sources.source import Split
from ..store.trained_on import learned
from ..words import counted


def unseen_parts(
    splits: Sequence[Split], families: Sequence[FeatureFamily], log: Callable[[str], None]
) -> list[Split]:
    """Splits without the patches that the network of a family has learned from.

    Raises InputError if no family is such a network, or nothing is left of a split.
    """
    networks = [family.trained_on for family in families if family.trained_on is not None]
    if not networks:
        raise InputError(
            "--unseen leaves out what a network of pcam deep fit has learned from; give one with "
            "--families cnn --encoder NETWORK."
        )
    parts = []
    for split in splits:
        part = reduce(lambda left, network: network.unseen(left), networks, split)
        if not len(part):
            raise InputError(
                f"the network has learned from all patches of split {split.name!r}; leave the split "
                "out with --split, or use a network that was trained on others."
            )
        if len(part) < len(split):
            log(
                f"unseen: {len(part):,} of the {counted(len(split), 'patch')} of split {split.name!r}; "
                "the network learned from the others"
            )
        parts.append(part)
    return parts


def leaks(splits: Sequence[Split], families: Sequence[FeatureFamily]) -> list[str]:
    """Warnings of the networks that have learned from patches of these splits."""
    return [
        f"warning: {family.name} {learned(seen, split.name, len(split))}, and fit will refuse them; "
        "add --unseen to extract the others alone"
        for family in families
        if family.trained_on is not None
        for split in splits
        if (seen := family.trained_on.among(split)).learned
    ]
