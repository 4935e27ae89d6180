"""The image files below a folder, and what lies there that is not read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from .images import SUFFIXES
from .source import EXAMPLES, Problem
from .vocabulary import SPLITS, words, words_of

IMAGES = frozenset(SUFFIXES)
Parts = tuple[str, ...]  # the folders on the way from the root to a folder
DEEPEST = 16  # folders below one another
MOST_LOOKED_AT = 200_000  # files and folders that are looked at to recognize a folder of images
LITTER = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin"))
# Files that lie beside patches and are none: they are passed over without a word.
BESIDE = words(
    ".csv .tsv .txt .md .rst .json .jsonl .yaml .yml .toml .xml .html .pdf .py .ipynb .log .ini "
    ".cfg .xlsx .xls .sh .url .md5 .sha1 .sha256"
)
# Files beside patches that may hold their labels: tables of any name, and texts of such a name.
SHEETS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".xlsx", ".xls")
NOTES = (".txt", ".json", ".jsonl")
OF_LABELS = words("label labels target targets class classes annotation annotations metadata truth gt")
TEXTS = frozenset(("license", "licence", "readme", "citation", "notice", "makefile", "dockerfile"))


@dataclass
class Tree:
    """The images below a folder.

    Parameters
    ----------
    root
        The folder.
    folders
        The image files of each folder that has some, in the order of their names.
    unread
        What was passed over, by the reason: the paths of files and folders, relative to `root`.
    tables
        The paths of files that may hold labels, relative to `root`.
    """

    root: Path
    folders: dict[Parts, list[Path]] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)

    def pass_over(self, reason: str, names: Iterable[str]) -> None:
        """Note files or folders that are not read."""
        self.unread.setdefault(reason, []).extend(names)

    def leave_out(self, reason: str, parts: Parts) -> None:
        """Leave out the images of a folder, with a reason."""
        files = self.folders.pop(parts)
        self.pass_over(reason, [str(file.relative_to(self.root)) for file in files])

    def problems(self) -> list[Problem]:
        """What was passed over, as records."""
        return [left_out(reason, names, str(self.root)) for reason, names in self.unread.items()]


# Reasons, and what to do about them.
BROKEN = "broken link"
LOOP = "link to a folder read already"
FORBIDDEN = "folder without permission"
OTHER = "file of another format"
TOO_DEEP = "folder too deep"
SPECIAL = "not a plain file"
EXCLUDED = "excluded"
NOT_ASKED = "class not asked for"
NO_LABEL = "no label"
NO_FILE = "missing file"
TABLE = "table that may hold labels, slides or splits"
NOT_LABELED = "not labeled"  # and the user asked for labeled patches alone
PARTLY = "add what is missing or, if this is meant, add --labeled-only"
ADVICE = {
    BROKEN: "restore what the links lead to, or remove them",
    LOOP: "its images are read once, where they lie",
    FORBIDDEN: "correct its permissions",
    OTHER: f"images are read as {', '.join(SUFFIXES)}; convert or remove the others",
    TOO_DEEP: f"folders are searched {DEEPEST} levels deep; give a folder further down",
    EXCLUDED: "as you asked",
    NOT_ASKED: "as you asked",
    NOT_LABELED: "as you asked",
    NO_LABEL: PARTLY,
    NO_FILE: PARTLY,
    TABLE: "if it has labels, save it as a CSV whose first line names the columns, and give it as the "
    "source; --path-column and --label-column name columns; a table of slides is given with --slides",
    SPECIAL: "pipes and devices are not read; remove them",
}
DAMAGED = (BROKEN, FORBIDDEN, NO_LABEL, NO_FILE)  # where patches are lost that were meant to be there


def left_out(
    reason: str, names: Sequence[str], where: str, advice: str = "", *, fault: bool | None = None
) -> Problem:
    """The record of files that are not read. `names` are some words for each of them."""
    shown = ", ".join(printable(name) for name in names[:3])
    says = (
        f"{where}: {len(names):,} not read ({reason}): {shown}; "
        f"{advice or ADVICE.get(reason, 'move or remove them')}."
    )
    serious = reason in DAMAGED if fault is None else fault
    return Problem(reason, len(names), [printable(name) for name in names[:EXAMPLES]], says, serious)


def printable(text: str) -> str:
    """A text with escapes in place of characters that cannot be shown, such as line breaks.

    Examples
    --------
    >>> printable("été\\n")
    'été\\\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_litter(name: str) -> bool:
    """Whether this is a file or folder that programs leave behind, such as `.DS_Store`."""
    return name.startswith(".") or name.lower() in LITTER


def is_image(name: str) -> bool:
    """Whether this is the name of an image file. `.png` alone has no suffix."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in IMAGES


def is_patch(path: Path) -> bool:
    """Whether this is an image file, and none that programs leave behind."""
    return is_image(path.name) and not is_litter(path.name) and path.is_file()


def walk(root: Path) -> Tree:
    """Find the images below a folder, at any depth. Links are followed, but to no folder twice."""
    tree = Tree(root)
    seen: set[tuple[int, int]] = set()
    linked: list[tuple[Path, Parts]] = []
    waiting: list[tuple[Path, Parts]] = [(root, ())]
    while waiting or linked:
        folder, parts = waiting.pop() if waiting else linked.pop(0)
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            tree.pass_over(LOOP, ["/".join(parts)])
            continue
        seen.add((state.st_dev, state.st_ino))
        if len(parts) > DEEPEST:
            tree.pass_over(TOO_DEEP, ["/".join(parts)])
            continue
        inside = list_folder(folder, parts, tree)
        waiting += [one for one in reversed(inside) if not one[0].is_symlink()]
        linked += [one for one in inside if one[0].is_symlink()]
    tree.folders = dict(sorted(tree.folders.items()))
    return tree


def list_folder(folder: Path, parts: Parts, tree: Tree) -> list[tuple[Path, Parts]]:
    """Note a folder's images, and what is not read of it. Returns the folders in it, by name."""
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except PermissionError:
        tree.pass_over(FORBIDDEN, ["/".join(parts)])
        return []
    images: list[Path] = []
    inside: list[tuple[Path, Parts]] = []
    for entry in entries:
        if is_litter(entry.name):
            continue
        if entry.is_dir():
            inside.append((folder / entry.name, (*parts, entry.name)))
            continue
        image = is_image(entry.name)
        if reason := reason_not_read(entry, image):
            tree.pass_over(reason, ["/".join((*parts, entry.name))])
        elif image:
            images.append(folder / entry.name)
        elif may_hold_labels((*parts, entry.name)):
            tree.tables.append("/".join((*parts, entry.name)))
    if images:
        tree.folders[parts] = images
    return inside


def reason_not_read(entry: os.DirEntry[str], image: bool) -> str | None:
    """Why a file is not read; None for images, and for files that are obviously no patches."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return BROKEN
    if not entry.is_file():
        return SPECIAL
    return OTHER if not image and is_foreign(entry.name) else None


def is_foreign(name: str) -> bool:
    """Whether a file of this name may hold patches in a format that is not read."""
    stem, suffix = os.path.splitext(name.lower())
    packed = suffix == ".gz" and os.path.splitext(stem)[1] in BESIDE
    return not (is_image(name) or suffix in BESIDE or packed or (not suffix and stem in TEXTS))


def may_hold_labels(parts: Parts) -> bool:
    """Whether a file is, by its name and those of its folders, a table or text of labels.

    Examples
    --------
    >>> [may_hold_labels(parts) for parts in (("grades.csv",), ("labels", "0.txt"), ("a.txt",))]
    [True, True, False]
    """
    name = parts[-1].lower()
    told = {word for part in parts for word in words_of(part)}
    return name.endswith(SHEETS) or (name.endswith(NOTES) and bool(told & (OF_LABELS | SPLITS.keys())))


def has_images(root: Path) -> bool:
    """Whether there is an image below a folder, among the first files and folders that are found."""
    return any(is_image(name) for name in islice(names_below(root, 0), MOST_LOOKED_AT))


def names_below(folder: Path, depth: int) -> Iterator[str]:
    """The names of files below a folder; of folders that cannot be read or are links, nothing."""
    try:
        with os.scandir(folder) as opened:
            entries = [entry for entry in opened if not is_litter(entry.name)]
        folders = [entry for entry in entries if entry.is_dir()]
    except OSError:
        return
    for entry in entries:
        if entry not in folders and entry.is_file():
            yield entry.name
    for entry in folders if depth < DEEPEST else ():
        yield ""  # a folder counts too
        yield from names_below(Path(entry.path), depth + 1)
