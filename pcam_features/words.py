"""Words for messages and reports: those that depend on a number, and texts of others on one line."""

from __future__ import annotations

import re

# Names of units that take -es: patch, box. Others take -s, and -y after a consonant becomes -ies.
HISSING = re.compile("(s|x|ch|sh)$")
AFTER_CONSONANT = re.compile("(?<=[^aeiou])y$")
# Control characters, ends of lines, marks that turn the direction of text, and halves of characters.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_one_line(text: str) -> bool:
    """Whether a text is one line that steers no terminal, and that can be written in UTF-8.

    Examples
    --------
    >>> is_one_line("data/Größe 1"), is_one_line("a\\n# b"), is_one_line("\\x1b[2J")
    (True, False, False)
    """
    return STEERING.search(text) is None


def one_line(text: str) -> str:
    """A text with escapes in place of what `is_one_line` does not have, as it stands in a record.

    Examples
    --------
    >>> one_line("data/Größe 1"), one_line("a\\nb")
    ('data/Größe 1', 'a\\\\nb')
    """
    return STEERING.sub(lambda match: ascii(match[0])[1:-1], text)


def message_of(error: BaseException, longest: int | None = None) -> str:
    """What an error says, on one line and cut to a length; the name of its kind if it says nothing.

    Examples
    --------
    >>> message_of(ValueError("not\\n  a number")), message_of(KeyboardInterrupt())
    ('not a number', 'KeyboardInterrupt')
    """
    return " ".join(str(error).split())[:longest] or type(error).__name__


def quoted(text: str, longest: int = 100) -> str:
    """A text of somebody else's for a message: cut, in quotes, and with escapes where it is no text.

    Examples
    --------
    >>> quoted("a\\nb"), quoted("x" * 9, 3)
    ("'a\\\\nb'", "'xxx…'")
    """
    cut = text if len(text) <= longest else text[:longest] + "…"
    return repr(cut) if is_one_line(cut) else ascii(cut)


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


def duration(seconds: float) -> str:
    """A duration, rounded as an estimate is.

    Examples
    --------
    >>> duration(42.3), duration(150), duration(9000)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
