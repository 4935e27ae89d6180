"""Manual pages of all commands, written from the command line itself.

`python -m pcam_features.cli.man FOLDER` writes `pcam.1`, `pcam-extract.1` and so on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

from typer.main import get_command

from .. import __version__
from ..errors import InputError, PcamError
from .failures import STOPPED, handled
from .main import app

NAME = "pcam"
PROJECT = "the classical baseline for histopathology patches"
LONGEST = 200  # characters of a command's line in the list of commands
STATUS = (
    ("0", "The command did what it was asked to do."),
    (str(PcamError.exit_code), "The command failed."),
    (str(InputError.exit_code), "Arguments or input are invalid."),
    (str(STOPPED), "Ctrl-C stopped the command."),
)


def roff(text: str) -> str:
    """Text in which nothing is an instruction to the formatter."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.splitlines())


def listed(rows: Sequence[tuple[str, str]]) -> str:
    """Terms, each with its meaning."""
    return "\n".join(f".TP\n.B {roff(term)}\n{roff(meaning)}" for term, meaning in rows)


def page(context: Any) -> str:
    """The page of the command of a context, in the language of man(7)."""
    command, path = context.command, context.command_path
    description = cleandoc(command.help or "")
    below = getattr(command, "commands", {})
    lists = {
        "ARGUMENTS": parameters(context, "argument"),
        "OPTIONS": parameters(context, "option"),
        "COMMANDS": [(name, one.get_short_help_str(LONGEST)) for name, one in below.items()],
        "EXIT STATUS": STATUS,
    }
    others = [f"{path} {name}" for name in below]
    if context.parent is not None:
        others.insert(0, context.parent.command_path)
    sections = {
        "NAME": roff(f"{file_name(path)} - {first_sentence(description)}"),
        "SYNOPSIS": f".B {roff(path)}\n{roff(' '.join(command.collect_usage_pieces(context)))}",
        "DESCRIPTION": roff(description).replace("\n\n", "\n.PP\n"),
        **{title: listed(rows) for title, rows in lists.items() if rows},
        "EXAMPLE": f".EX\n{roff((command.epilog or '').partition(': ')[2])}\n.EE",
        "SEE ALSO": roff(", ".join(f"{file_name(other)}(1)" for other in others)),
    }
    head = f'.TH "{roff(file_name(path).upper())}" 1 "" "{NAME} {__version__}" "{PROJECT}"\n'
    return head + "".join(f".SH {title}\n{text}\n" for title, text in sections.items())


def parameters(context: Any, kind: str) -> list[tuple[str, str]]:
    """The arguments or the options of a command, each with its help."""
    shown = [one for one in context.command.get_params(context) if one.param_type_name == kind]
    return [record for one in shown if (record := one.get_help_record(context)) is not None]


def file_name(path: str) -> str:
    """The name of the page of a command, as man(1) takes it."""
    return path.replace(" ", "-")


def first_sentence(text: str) -> str:
    """What stands before the first period or line break that ends a sentence, in lower case."""
    sentence = text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def pages(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """The name and the text of the page of a command, and of all commands below it."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield f"{file_name(context.command_path)}.1", page(context)
    for below, one in getattr(command, "commands", {}).items():
        yield from pages(one, below, context)


def write(folder: Path) -> list[Path]:
    """Write all pages into a folder, which is created if it is not there; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages(get_command(app), NAME):
        written.append(folder / name)
        written[-1].write_text(text, encoding="utf-8")
    return written


if __name__ == "__main__":
    with handled():
        if len(sys.argv) != 2:
            raise InputError("usage: python -m pcam_features.cli.man FOLDER.")
        write(Path(sys.argv[1]))
