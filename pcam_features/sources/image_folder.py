"""A folder of images: `<split>/<class>/*`, or `<class>/*` for a single split named `train`.

What a folder is, is decided by its name; see `vocabulary`. Names of splits are never classes. Folders
above or below the classes that are neither are slides: `<patient>/<class>/*`, `<class>/<slide>/*`. A
split without classes has no labels, as has one whose only class is `unlabeled`. An image that lies
above the folders of this reading is not read, and reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..constants import Kind
from ..errors import InputError
from ..storage.files import read_json
from ..storage.tables import header_of
from . import tree, vocabulary
from .columns import FLAGS, MORE_SPLITS, SLIDES, SPLITS, is_one_of, shown
from .images import by_id, content_of, originals, patches
from .reading import EVERYTHING, TABLES, Reading
from .slides import BESIDE
from .source import Problem, Source, Split, train_first
from .tree import EXCLUDED, NO_LABEL, NOT_ASKED, NOT_LABELED, TABLE, Parts, Tree, printable
from .vocabulary import (
    alike,
    class_of,
    classes_of,
    has_masks,
    is_masks,
    is_unlabeled,
    split_in,
    split_name,
    split_word,
    words_of,
)

PROTOCOL = (
    "The class of a patch is its folder. Only the author of the folder knows whether splits share "
    "slides."
)
TRAIN = "train"
MARK = "converted.json"  # written by `pcam convert`; it names the splits
# Folders that say nothing of the slide of patches: kinds of files, magnifications, folds and parts.
SAYS_NOTHING = re.compile(
    r"((all|original|augmented)[_ -]?)?(images?|imgs?|patch(es)?|tiles?|png|tiff?|jpe?g|data)"
    r"|originals?|augmented|aug|\d+(\.\d+)?\s*x"
    r"|(level|folds?|part|shard)[_ -]?\d+",
    re.I,
)
BESIDE_CLASSES = "image beside the folders of classes"
BESIDE_SPLITS = "image outside of the splits"
OF_MASKS = "image in a folder of masks"
SHOWN = 12  # names of classes in a message
# Data sets that share so many classes and words are splits, although one does not say so.
LEAST_ALIKE, LEAST_WORDS = 3, 2


@dataclass(frozen=True)
class Role:
    """What the folders above some images say: their split, class and slide; None where they do not."""

    split: str | None
    name: str | None
    group: Parts


def recognize(path: Path) -> bool:
    return path.is_dir() and tree.has_images(path)


def is_known_class(name: str) -> bool:
    """Whether a folder of this name is clearly a class."""
    known = class_of(name)
    return known is not None and not known.by_number


def is_number(name: str) -> bool:
    """Whether a folder of this name may be a class by its number alone."""
    known = class_of(name)
    return known is not None and known.by_number


def has_known_classes(path: Path) -> bool:
    """Whether folders with images are clearly classes."""
    found = tree.walk(path)
    roles = Roles(found.folders, path, EVERYTHING, converted_splits(path))
    names = {role.name for role in map(roles.role, found.folders) if role.name is not None}
    return any(map(is_known_class, names)) or (bool(names) and all(map(class_of, names)))


def converted_splits(path: Path) -> frozenset[str]:
    """The names of splits that `pcam convert` recorded in a folder; empty if it did not write it."""
    try:
        splits = read_json(path / MARK, "record").get("splits") if (path / MARK).is_file() else None
    except InputError:
        return frozenset()
    return frozenset(map(str, splits)) if isinstance(splits, dict) else frozenset()


class Roles:
    """Decides what the folders of a tree are.

    Parameters
    ----------
    folders
        The folders with images, as names from the root.
    path
        The root, for messages.
    reading
        The classes that the user named.
    splits
        Names that are known to be splits.
    """

    def __init__(
        self, folders: Collection[Parts], path: Path, reading: Reading, splits: frozenset[str]
    ) -> None:
        self.path = path
        self.told = {name for name in (reading.positive, *reading.classes) if name}
        self.known_splits, self.unclear = splits, False
        self.siblings = split_siblings(folders, self.told)
        self.split_of: dict[Parts, str | None] = {}
        rest: dict[Parts, Parts] = {}
        for parts in folders:
            self.split_of[parts], rest[parts] = self._without_split(parts)
        self.has_splits = any(self.split_of.values())
        below = [one for one in rest.values() if one]
        skip = common_start(below)
        common = below[0][:skip] if below else ()
        skip = next((k for k, n in enumerate(common) if self.is_class(n) or class_of(n)), skip)
        self.rest = {parts: one[skip:] for parts, one in rest.items()}
        self.place = self._places()

    def is_class(self, name: str) -> bool:
        return name in self.told or is_known_class(name)

    def _without_split(self, parts: Parts) -> tuple[str | None, Parts]:
        """The split of a folder, and the other names on the way to it."""
        if parts and parts[0] in self.known_splits:
            return parts[0], parts[1:]
        for name in parts:
            if name not in self.told and vocabulary.names_split_and_class(name):
                raise InputError(
                    f"{self.path}: the folder {printable(name)} names a split and a class; rename it "
                    "to <split>/<class>, such as train/tumor."
                )
        found = [
            None if name in self.told else split_name(name) or self.siblings.get(name) for name in parts
        ]
        split = next((name for name in found if name), None)
        return split, tuple(
            name for name, one in zip(parts, found, strict=True) if one is None or one != split
        )

    def _places(self) -> dict[Parts, int | None]:
        """Where in `rest` the class of each folder is; None if none of the names is a class."""
        by_word = {parts: self._by_word(rest) for parts, rest in self.rest.items()}
        numbered = self._numbered()
        if numbered and not self.told and self._are_slides(by_word, numbered):
            return {parts: numbered.get(parts) for parts in self.rest}
        found = Counter(place for place in by_word.values() if place is not None)
        if found:
            usual = max(found, key=lambda place: (found[place], place))
        elif numbered:
            return {parts: numbered.get(parts) for parts in self.rest}
        else:
            first = {self.rest[parts][0] for parts in self._main()}
            usual = 0 if len(first) > 1 else tree.DEEPEST + 1
        return {
            parts: by_word[parts] if by_word[parts] is not None else self._at(rest, usual)
            for parts, rest in self.rest.items()
        }

    def _at(self, rest: Parts, place: int) -> int | None:
        """The place of the class where others have theirs; None if no class can be there."""
        if len(rest) <= place:
            return None
        says_nothing = SAYS_NOTHING.fullmatch(rest[place]) and not any(
            SAYS_NOTHING.fullmatch(name) for name in self.told
        )
        return None if says_nothing else place

    def _are_slides(self, by_word: Mapping[Parts, int | None], numbered: Mapping[Parts, int]) -> bool:
        """Whether folders called like classes are slides, because all have folders 0 or 1 in them.

        They are if all are numbered, but not by their labels. Else 0 and 1 are slides if a normal one
        has a folder 1, and if not, either may be the class, which is `unclear`.
        """
        named: set[tuple[str, str]] = set()
        for parts in self._main():
            word, number, rest = by_word[parts], numbered[parts], self.rest[parts]
            if word is None or word >= number:
                return False
            named.add((rest[word], rest[number]))
        labels = {name: one.label for name, _ in named if (one := class_of(name)) is not None}
        numbers = {name: re.search(r"\d$", name) for name in labels}
        by_label = all(found and found[0] == str(labels[name]) for name, found in numbers.items())
        if all(numbers.values()) and not by_label:  # normal_1, not tumor1 beside normal0
            return True
        with_one = {labels[name] for name, number in named if class_of(number) == class_of("1")}
        self.unclear = 0 not in with_one
        return False

    def _main(self) -> list[Parts]:
        """The folders of the splits, if there are splits, without their own images."""
        return [
            parts
            for parts, rest in self.rest.items()
            if rest and (self.split_of[parts] or not self.has_splits)
        ]

    def _by_word(self, rest: Parts) -> int | None:
        """The deepest name that is a class; one with a number, which may be a slide, only else."""
        classes = [k for k in reversed(range(len(rest))) if self.is_class(rest[k])]
        bare = [k for k in classes if rest[k] in self.told or not re.search(r"\d", rest[k])]
        return next(iter(bare or classes), None)

    def _numbered(self) -> dict[Parts, int]:
        """Where each folder of `_main` is called 0 or 1, class0 or class1; empty if one is not.

        It is the deepest level on which all have one, or else the deepest such name of each.
        """
        main = self._main()
        known = {
            parts: [k for k, name in enumerate(self.rest[parts]) if is_number(name)] for parts in main
        }
        if not main or not all(known.values()):
            return {}
        everywhere = set.intersection(*(set(places) for places in known.values()))
        level = max(everywhere, default=None)
        return {parts: places[-1] if level is None else level for parts, places in known.items()}

    def role(self, parts: Parts) -> Role:
        """What the names on the way to a folder say."""
        rest, place, split = self.rest[parts], self.place[parts], self.split_of[parts]
        if place is None:
            return Role(split, None, rest)
        group = (*rest[:place], *rest[place + 1 :])
        if self.has_splits and split is None and self.is_class(rest[place]) and place:
            return Role(rest[0], rest[place], (*rest[1:place], *rest[place + 1 :]))
        return Role(split, rest[place], group)


def split_siblings(folders: Collection[Parts], told: Collection[str]) -> dict[str, str]:
    """The splits of folders that only name them beside others, such as `pcam_train` and `pcam_test`.

    All folders of a level must have a word of a split, each of another one, and one be `train`. A
    single folder without such a word is `train` if it shares words, and the folders in it, with
    all others. Empty if folders are called like splits, or if the user named one (`told`).
    """
    every = {name for parts in folders for name in parts}
    if any(split_name(name) or (name in told and split_word(name)) for name in every):
        return {}
    for level in range(min((len(parts) for parts in folders if parts), default=0)):
        inside: dict[str, set[str]] = {}
        for parts in filter(None, folders):
            inside.setdefault(parts[level], set()).update(parts[level + 1 : level + 2])
        found = {name: split for name in inside if (split := split_word(name))}
        rest, (classes, *others) = [*inside.keys() - found], inside.values()
        alike = len(classes) >= LEAST_ALIKE and all(one == classes for one in others)
        said = [{word for word in words_of(name) if word.isalpha()} for name in inside]
        if len(rest) == 1 and found and alike and len(set.intersection(*said)) >= LEAST_WORDS:
            found[rest[0]] = TRAIN
        each_once = len(set(found.values())) == len(inside)
        if len(inside) > 1 and each_once and TRAIN in found.values():
            return found
    return {}


def common_start(paths: Sequence[Parts]) -> int:
    """How many names all paths begin with."""
    count = 0
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        count += 1
    return count


def positive_classes(
    names: Sequence[str], inner: Sequence[str], path: Path, given: str | None
) -> frozenset[str]:
    """The classes that are tumor; empty without labels or tumor. `unlabeled` is not among the names.

    One that is given is written in any case. `inner` are the names of folders above and below classes.
    Raises InputError if it is not clear from the names.
    """
    if given is not None:
        if given not in names:
            raise InputError(
                f"--positive {given}: {path} has no such class; it has: {first_few(names)}."
            )
        return frozenset(name for name in names if alike(name) == alike(given))
    known = classes_of(names)
    all_known = all(known.values())
    labels = {
        name: one.label for name, one in known.items() if one and (all_known or not one.by_number)
    }
    positive = [name for name, label in labels.items() if label == 1]
    if len(labels) == len(names) or (len(positive) == 1 and len(names) == 2):
        return frozenset(positive)
    raise InputError(
        f"it is not clear which folders of {path} are classes and which is tumor ({first_few(names)}"
        f"{f'; or {first_few(inner)}' if inner else ''}); name the class of tumor with --positive "
        "CLASS, which makes the others negative, or leave folders out with --exclude NAMES."
    )


def first_few(names: Sequence[str]) -> str:
    """The first SHOWN names in a message."""
    return ", ".join(map(printable, names[:SHOWN])) + (", …" if len(names) > SHOWN else "")


def group_names(roles: Iterable[Role]) -> dict[Parts, str | None]:
    """The slide that the remaining folders of each role stand for; None if they stand for none."""
    groups = {role.group for role in roles}
    telling = [tuple(name for name in group if not SAYS_NOTHING.fullmatch(name)) for group in groups]
    some = [set(own) for own in telling if own]
    everywhere = some[0].intersection(*some) if some else set()
    return {
        group: "/".join(printable(name) for name in own if name not in everywhere) or None
        for group, own in zip(groups, telling, strict=True)
    }


def chosen(found: Tree, reading: Reading) -> None:
    """Leave out the folders that the user excluded. Raises InputError if there are none of a name."""
    for name in reading.exclude:
        inside = [parts for parts in found.folders if name in parts]
        if not inside:
            raise InputError(
                f"--exclude {name}: {found.root} has no folder of that name with images; correct the "
                "name."
            )
        for parts in inside:
            found.leave_out(EXCLUDED, parts)


def settled(found: Tree, reading: Reading) -> tuple[dict[Parts, Role], list[str]]:
    """The role of each folder whose images are read, and notes; others are left out of the tree."""
    masks = [parts for parts in found.folders if in_masks(parts)]
    for parts in masks if len(masks) < len(found.folders) else ():
        found.leave_out(OF_MASKS, parts)
    decided = Roles(found.folders, found.root, reading, converted_splits(found.root))
    if decided.unclear:
        raise InputError(
            f"{found.root} has folders 0 and 1 in folders called like classes, and either may be the "
            "class; name the one of tumor with --positive, such as --positive 1."
        )
    roles = {parts: decided.role(parts) for parts in found.folders}
    classed = {role.split for role in roles.values() if role.name is not None}
    for parts, role in list(roles.items()):
        if decided.has_splits and role.split is None:
            found.leave_out(BESIDE_SPLITS, parts)
        elif role.name is None and role.split in classed:
            found.leave_out(BESIDE_CLASSES, parts)
        elif role.name is not None and reading.classes and role.name not in reading.classes:
            found.leave_out(NOT_ASKED, parts)
        else:
            continue
        del roles[parts]
    beside = ", ".join(f"{printable(name)} ({one})" for name, one in sorted(decided.siblings.items()))
    return roles, [f"splits are folders: {beside}"] if beside else []


def in_masks(parts: Parts) -> bool:
    """Whether a folder is one of masks by its name, or below one that is called nothing else."""
    return bool(parts) and (has_masks(parts[-1]) or any(map(is_masks, parts)))


def unlabeled_splits(found: Tree, roles: dict[Parts, Role], reading: Reading) -> set[str | None]:
    """The splits without labels.

    Of a split with labeled patches as well, the others are left out: of the tree, and of the roles.
    """
    bare = {parts for parts, role in roles.items() if role.name is None or is_unlabeled(role.name)}
    labeled = {role.split for parts, role in roles.items() if parts not in bare}
    for parts in bare:
        if roles[parts].split in labeled:
            found.leave_out(NOT_LABELED if reading.labeled_only else NO_LABEL, parts)
            del roles[parts]
    return {role.split for role in roles.values()} - labeled


def unique_ids(
    files: Mapping[Parts, Sequence[Path]], prefixes: Mapping[Parts, Parts]
) -> list[tuple[str, Path]]:
    """Ids for the files of a split: their names, with the folders' before them if names repeat."""
    folders_of: dict[str, set[Parts]] = {}
    for parts, listed in files.items():
        for file in listed:
            folders_of.setdefault(file.stem, set()).add(parts)
    repeated = any(len(parts) > 1 for parts in folders_of.values())
    return [
        (printable("_".join((*(prefixes[parts] if repeated else ()), file.stem))), file)
        for parts, listed in files.items()
        for file in listed
    ]


@dataclass(frozen=True)
class Classes:
    """The classes of tumor, the splits without labels, and the slide of each group."""

    tumor: frozenset[str]
    unlabeled: set[str | None]
    slides: Mapping[Parts, str | None]


def split_of(
    name: str, files: Mapping[Parts, Sequence[Path]], roles: Mapping[Parts, Role], classes: Classes
) -> tuple[Split, list[Problem], bool]:
    """A split of these files, its problems, and whether its ids name folders."""
    prefixes = {
        parts: (*((role.name,) if role.name else ()), *role.group) for parts, role in roles.items()
    }
    listed = unique_ids(files, prefixes)
    by_folder = any(i != printable(file.stem) for i, file in listed)
    found, twice = by_id(listed)
    ids = sorted(found)
    paths = [found[i] for i in ids]
    role_of = {file: roles[parts] for parts, own in files.items() for file in own}
    labels = None
    if roles[next(iter(files))].split not in classes.unlabeled:
        labels = np.array([role_of[file].name in classes.tumor for file in paths], np.int8)
    slides = [classes.slides[role_of[file].group] for file in paths]
    original = originals(paths)
    split = Split(name, ids, labels, slides, content_of(paths), patches(original), original)
    return split, twice, by_folder


def notes_on(roles: Mapping[Parts, Role], classes: Classes, by_folder: Sequence[str]) -> list[str]:
    """How the folders were understood, in sentences."""
    notes = []
    names = sorted({r.name for r in roles.values() if r.name and r.split not in classes.unlabeled})
    if names:
        tumor = ", ".join(printable(name) for name in names if name in classes.tumor) or "none"
        negative = ", ".join(printable(name) for name in names if name not in classes.tumor) or "none"
        notes.append(f"tumor: {tumor}; negative: {negative}")
    bare = sorted(split or TRAIN for split in classes.unlabeled)
    if bare:
        notes.append(f"without labels: {', '.join(bare)}")
    slides = sorted({slide for slide in classes.slides.values() if slide})
    if slides:
        shown = ", ".join(slides[:3]) + (", …" if len(slides) > 3 else "")
        notes.append(f"slides are folders: {shown} (--slides none ignores them)")
    if by_folder:
        notes.append(f"ids name their folder in {', '.join(by_folder)}, because file names repeat")
    return notes


def with_columns(folder: Path, name: str) -> str:
    """A table's path in a folder, with its columns if they can be read."""
    columns = header_of(folder / name) if name.lower().endswith(TABLES) else []
    return f"{name}: {shown(columns)}" if columns else name


def tables_of_rest(found: Tree, *, splits: bool) -> list[str]:
    """The tables beside classes that tell what folders do not: slides, and splits unless `splits`."""
    wanted = (*SLIDES, *(() if splits else (*SPLITS, *MORE_SPLITS, *FLAGS)))

    def tells(name: str) -> bool:
        if not splits and split_in(Path(name).stem) is not None:
            return True
        columns = header_of(found.root / name) if name.lower().endswith(TABLES) else []
        return any(is_one_of(column, wanted) for column in columns)

    return [name for name in found.tables if name != BESIDE and tells(name)]


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open a folder of images.

    If two files of a folder have the same id, the first is used and the source has a problem. Raises
    InputError if the tumor class is not clear.
    """
    found = tree.walk(path)
    chosen(found, reading)
    roles, notes = settled(found, reading)
    own_name = split_name(path.absolute().name)
    unlabeled = unlabeled_splits(found, roles, reading)
    splits = any(role.split for role in roles.values())
    if tables := found.tables if unlabeled else tables_of_rest(found, splits=splits):
        found.pass_over(TABLE, [with_columns(path, name) for name in tables])
    labeled = [role for role in roles.values() if role.name and role.split not in unlabeled]
    names = sorted({str(role.name) for role in labeled})
    inner = sorted({name for role in labeled for name in role.group})
    classes = Classes(
        positive_classes(names, inner, path, reading.positive), unlabeled, group_names(roles.values())
    )
    made: dict[str, Split] = {}
    problems: list[Problem] = []
    by_folder: list[str] = []
    default = own_name if own_name and None in unlabeled else TRAIN
    for split in dict.fromkeys(role.split for role in roles.values()):
        files = {parts: found.folders[parts] for parts, role in roles.items() if role.split == split}
        name = split or default
        made[name], twice, prefixed = split_of(name, files, {p: roles[p] for p in files}, classes)
        problems += twice
        by_folder += [name] * prefixed
    return replace(
        Source(Kind.images, str(path), PROTOCOL, {name: made[name] for name in train_first(made)}),
        problems=problems,
        unread=found.problems(),
        notes=[*notes, *notes_on(roles, classes, by_folder)],
    )
