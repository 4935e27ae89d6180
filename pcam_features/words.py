"""Words that depend on a number, for messages and reports."""

from __future__ import annotations

import re

# Names of units that take -es: patch, box. Others take -s, and -y after a consonant becomes -ies.
HISSING = re.compile("(s|x|ch|sh)$")
AFTER_CONSONANT = re.compile("(?<=[^aeiou])y$")


def plural(noun: str) -> str:
    """The plural of a regular noun.

    Examples
    --------
    >>> [plural(noun) for noun in ("patch", "family", "slide", "near-duplicate")]
    ['patches', 'families', 'slides', 'near-duplicates']
    """
    if HISSING.search(noun):
        return f"{noun}es"
    return AFTER_CONSONANT.sub("ie", noun) + "s"


def counted(count: int, noun: str) -> str:
    """A number with a noun in the form that it asks for.

    Parameters
    ----------
    count
        The number.
    noun
        The noun in the singular.

    Examples
    --------
    >>> counted(1, "patch"), counted(2738, "patch"), counted(0, "slide")
    ('1 patch', '2,738 patches', '0 slides')
    """
    return f"{count:,} {form(count, noun, plural(noun))}"


def form(count: int, one: str, many: str) -> str:
    """The form of a word that a number asks for.

    Examples
    --------
    >>> [f"{count} {form(count, 'is', 'are')}" for count in (1, 2)]
    ['1 is', '2 are']
    """
    return one if count == 1 else many


def of_units(count: int, unit: str) -> str:
    """A number of units that are named in the plural, as for progress: "patches", "steps", "MiB".

    Examples
    --------
    >>> of_units(1, "patches"), of_units(1, "images"), of_units(1, "MiB"), of_units(3, "steps")
    ('1 patch', '1 image', '1 MiB', '3 steps')
    """
    if count != 1:
        return f"{count:,} {unit}"
    if unit.endswith("ies"):
        return f"1 {unit.removesuffix('ies')}y"
    if unit.endswith("es") and HISSING.search(unit.removesuffix("es")):
        return f"1 {unit.removesuffix('es')}"
    return f"1 {unit.removesuffix('s')}"
