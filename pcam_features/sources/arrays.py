"""NumPy's arrays: images (N, height, width, 3) and labels (N,), in .npy files or together in an .npz.

Arrays are understood by their words, as HDF5 datasets are: `X_train.npy` and `y_train.npy`, or
`train_images` and `train_labels` in one .npz. The arrays `ids` and `slides` are optional. Pixels are
read from the file at their positions; an .npz that is compressed is unpacked once, into the cache
folder. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..constants import LARGEST_ROWS, Kind
from ..errors import InputError
from ..storage.files import unpacking_folder, whole_file
from ..storage.tables import check_ids
from ..words import message_of
from . import columns, image_folder
from .archive import Archive
from .class_labels import check_once, class_labels, parts_of
from .fitting import LARGEST_SIDE, Size
from .hdf5 import MOST_TIMES, Unpacking, contiguous
from .hdf5_layout import extent
from .images import PATCH, check_size, other_size
from .positions import Positions
from .reading import Reading
from .slides import known
from .source import UNPACK, Part, Source, Split, digest, numbered, source_of, train_first
from .tree import is_litter, printable
from .vocabulary import labels_among, role_of, split_in, split_name, split_of_file, words_of

NPY, NPZ = ".npy", ".npz"
PROTOCOL = (
    "Patches as stored in arrays. Only the author of the arrays knows whether splits share slides."
)
TRAIN = "train"
PIXELS = "pixels"  # the role of an array
CLASSES = ("classes", "class_names", "label_names", "target_names")  # by number
MOST_HEADER = 1 << 14  # bytes before the values of an array
LARGEST_VALUES = 1 << 28  # bytes of labels, ids or slides that are read into memory
MOST_SHOWN = 1 << 24  # bytes of values that are looked at for a message
MOST_LISTED, MOST_ARRAYS = 1000, 100  # of a folder, and of an .npz
CHANNELS, MOST_CLASSES = 3, 1000
MiB = 1 << 20


@dataclass(frozen=True)
class Array:
    """An array of a file: its name, its type, and where its values begin.

    `archive` is the .npz that it lies in, where `start` counts from the array's own beginning.
    """

    path: Path
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    by_column: bool
    start: int
    archive: Archive | None = None

    @property
    def where(self) -> str:
        return str(self.path) if self.archive is None else f"{self.path}: {self.name}"

    @property
    def member(self) -> str:
        return f"{self.name}{NPY}"

    @property
    def size(self) -> int:
        """The bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def begins(self) -> bytes:
        """The header and the first values, for messages."""
        count = self.start + 16 * math.prod(self.shape[1:]) * self.dtype.itemsize
        count = min(count, MOST_SHOWN)
        if self.archive is not None:
            return self.archive.first(self.member, count)
        return Positions(self.path).read(0, count)


def header(data: bytes, path: Path, name: str, archive: Archive | None) -> Array:
    """The array whose file begins with these bytes. Raises InputError if it is no array of values."""
    where = str(path) if archive is None else f"{path}: {name}"
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format {version} is not supported")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read(stream, max_header_size=MOST_HEADER)
    except Exception as error:  # NumPy evaluates the header, and raises many kinds on damage
        reason = message_of(error, 200)
        raise InputError(f"{where} cannot be read as an array: {reason}; save it again.") from None
    if dtype.hasobject or dtype.names is not None:
        raise InputError(
            f"{where} holds Python objects, which are not read because they could run code; save it "
            "as numbers or text with numpy.save."
        )
    if any(side < 0 for side in shape):
        raise InputError(f"{where} has the shape {shape}; save it again.")
    return Array(path, name, dtype, tuple(shape), by_column, stream.tell(), archive)


def arrays_of(path: Path) -> list[Array]:
    """The arrays of an .npy or .npz file. Raises InputError if it is damaged."""
    if path.suffix.lower() == NPY:
        found = header(Positions(path).read(0, MOST_HEADER), path, path.stem, None)
        sizes = [path.stat().st_size]
        listed = [found]
    else:
        archive = Archive(path)
        members = [name for name in archive.members if name.endswith(NPY)]
        if len(members) > MOST_ARRAYS:
            raise InputError(
                f"{path} holds more than {MOST_ARRAYS} arrays; save those of patches alone."
            )
        listed = [
            header(archive.first(name, MOST_HEADER), path, name.removesuffix(NPY), archive)
            for name in members
        ]
        sizes = [archive.members[name].file_size for name in members]
    for array, size in zip(listed, sizes, strict=True):
        if array.start + array.size > size:
            raise InputError(
                f"{array.where} is cut off: {array.shape} of {array.dtype} need {array.size:,} bytes; "
                "copy or save it again."
            )
    return listed


def is_array_file(path: Path) -> bool:
    return path.suffix.lower() in (NPY, NPZ) and not is_litter(path.name)


def files_in(folder: Path) -> Iterator[Path]:
    """The files of arrays in a folder, and in folders of splits in it, by name."""
    try:
        entries = sorted(folder.iterdir())[:MOST_LISTED]
    except OSError:
        return
    for entry in entries:
        if is_array_file(entry) and entry.is_file():
            yield entry
        elif entry.is_dir() and split_name(entry.name):
            yield from (file for file in sorted(entry.iterdir()) if is_array_file(file))


def recognize(path: Path) -> bool:
    """Whether a file is of arrays, or a folder has arrays of images and no classes of image files."""
    if path.is_file():
        return is_array_file(path)
    if not path.is_dir() or not any(map(holds_images, files_in(path))):
        return False
    return not image_folder.has_known_classes(path)


def holds_images(path: Path) -> bool:
    """Whether a file has an array that may be images. A file that is damaged counts by its name."""
    try:
        return any(len(array.shape) == 4 for array in arrays_of(path))
    except InputError:
        return role_of(path.stem) == PIXELS


@dataclass(frozen=True)
class SplitArrays:
    """The arrays of a split; `others` are the names of those that are not read."""

    name: str
    pixels: Array
    labels: Array | None
    ids: Array | None
    slides: Array | None
    splits: Array | None = None
    classes: Array | None = None
    others: Sequence[str] = ()


def split_named(array: Array, root: Path) -> str:
    """The split that an array is of, by its name, its file's or its folder's."""
    return split_in(array.name) or split_of_file(array.path, root) or TRAIN


def are_images(array: Array) -> bool:
    """Whether an array's shape is that of color images, channels last or first."""
    return len(array.shape) == 4 and CHANNELS in (array.shape[-1], array.shape[1])


def understood(arrays: Sequence[Array], root: Path) -> list[SplitArrays]:
    """What the arrays hold. Raises InputError if that is not clear."""
    by_split: dict[str, list[Array]] = {}
    for array in arrays:
        by_split.setdefault(split_named(array, root), []).append(array)
    found = []
    for name, own in by_split.items():
        images = [one for one in own if are_images(one)]
        named = [one for one in images if role_of(one.name) == PIXELS]
        chosen = named or images
        if not chosen and len(by_split) > 1 and not any(len(one.shape) >= 3 for one in own):
            continue  # such as an array of class names beside the splits
        if len(chosen) != 1:
            raise InputError(not_clear(name, own, root))
        pixels = chosen[0]
        beside = [one for one in own if one is not pixels]
        told = SplitArrays(
            name,
            pixels,
            label_array(beside, pixels, root),
            column_among(beside, columns.IDS),
            column_among(beside, columns.SLIDES),
            column_among(beside, columns.SPLITS),
            class_names(arrays, pixels),
        )
        read = (told.labels, told.ids, told.slides, told.splits, told.classes)
        others = [one.name for one in beside if not any(one is own for own in read)]
        found.append(replace(told, others=others))
    if not found:
        raise InputError(not_clear(TRAIN, arrays, root))
    return found


def class_names(arrays: Sequence[Array], pixels: Array) -> Array | None:
    """The array with a name for each class, in the order of their numbers; None without one.

    One of the file of the pixels goes before the only one elsewhere. No name occurs twice.
    """
    found = [
        one
        for one in arrays
        if one.name.lower() in CLASSES
        and one.dtype.kind in "US"
        and one.size > 1
        and len(one.shape) == 1
    ]
    own = [one for one in found if one.path == pixels.path] or found
    if len(own) != 1 or own[0].shape[0] > MOST_CLASSES:
        return None
    names = texts_of(own[0], own[0].shape[0], "name")
    return own[0] if len(set(names)) == len(names) > 1 else None


def not_clear(split: str, arrays: Sequence[Array], root: Path) -> str:
    listed = ", ".join(f"{one.name} {one.shape}" for one in arrays[:10]) or "none"
    in_color = any(are_images(one) for one in arrays)
    advice = "name the images x and the labels y, with the split if there are several (x_train)"
    return (
        f"{root} has no clear array of color images (N, 96, 96, 3) for split {split}; its arrays are: "
        f"{listed}; {advice if in_color else 'save images with three channels (RGB)'}."
    )


def label_array(own: Sequence[Array], pixels: Array, root: Path) -> Array | None:
    """The labels: an array so named, or else the only one of as many values without a name.

    Raises InputError if several may be meant.
    """
    names = labels_among([one.name for one in own])
    chosen = [one for one in own if one.name in names]
    chosen = chosen or [one for one in own if words_without_split(one.name) in columns.LABELS]
    chosen = chosen or [
        one
        for one in own
        if words_of(one.name)[:1] == ["arr"]
        and len(one.shape) <= 2
        and one.shape[:1] == pixels.shape[:1]
    ]
    if len(chosen) > 1:
        listed = ", ".join(f"{one.name} {one.shape}" for one in chosen[:10])
        raise InputError(
            f"{root} has several arrays that may be labels ({listed}); name the one of tumor y."
        )
    return chosen[0] if chosen else None


def words_without_split(name: str) -> str:
    """An array's name in lower case, without words that are splits."""
    return "_".join(word for word in words_of(name) if split_in(word) is None)


def column_among(arrays: Sequence[Array], names: Sequence[str]) -> Array | None:
    """The array of one value for each patch that has one of these names, also with a split's."""
    for array in arrays:
        told = words_without_split(array.name)
        singular = "_".join(word.removesuffix("s") for word in told.split("_"))
        whole = array.name.lower()  # split, which is a word of splits itself
        if told in names or singular in names or whole in names:
            return array if math.prod(array.shape) == array.shape[0] else None
    return None


def values_of(array: Array) -> np.ndarray:
    """The values of a small array. Raises InputError if it is too large, or damaged."""
    if array.size > LARGEST_VALUES:
        raise InputError(
            f"{array.where} has {array.size:,} bytes, too many for one value per patch; correct it."
        )
    if array.archive is not None:
        data = array.archive.read(array.member, array.start + LARGEST_VALUES)
    else:
        data = Positions(array.path).read(0, array.start + array.size)
    if len(data) < array.start + array.size:
        raise InputError(f"{array.where} became shorter while it was read; run the command again.")
    flat = np.frombuffer(data, array.dtype, math.prod(array.shape), array.start)
    return flat.reshape(array.shape, order="F" if array.by_column else "C")


def texts_of(array: Array, rows: int, what: str) -> list[str]:
    """The values of an array (rows,) as texts. Raises InputError if there are not as many."""
    values = values_of(array)
    shape = [side for side in values.shape if side != 1]
    if len(values) != rows or shape not in ([rows], []):
        raise InputError(
            f"{array.where} has the shape {array.shape} for {rows:,} patches; give one {what} for each."
        )
    flat = values.reshape(-1)
    if flat.dtype.kind == "S":
        return [one.decode("utf-8", errors="replace") for one in flat.tolist()]
    return [str(one) for one in flat.tolist()]


def label_texts(
    own: SplitArrays, array: Array, rows: int, reading: Reading
) -> tuple[list[str], list[str]]:
    """The labels as texts, and notes. Where classes have names, these are in place of numbers.

    Raises InputError for a number that has no name.
    """
    names = [] if own.classes is None else texts_of(own.classes, own.classes.shape[0], "name")
    numbers = class_numbers(array, rows, len(names))
    if numbers is None:
        return texts_of(array, rows, "label"), []
    by_number = reading.positive is not None and reading.positive not in names
    notes = []
    if not names:
        notes = [f"labels of {array.where} are in two columns; tumor is the second"]
    if not names or by_number:
        return [str(number) for number in numbers], notes
    wrong = next((number for number in numbers if not -1 <= number < len(names)), None)
    if wrong is not None:
        raise InputError(
            f"{array.where} has the label {wrong}, but {len(names)} classes are named, from 0; correct "
            "one of them."
        )
    return ["" if number < 0 else names[number] for number in numbers], notes


def class_numbers(array: Array, rows: int, named: int) -> list[int] | None:
    """The number of each row's class; None if the array does not say it.

    Of two columns, or as many as classes are named, the one with 1 says it; all others have 0. A single
    column of whole numbers says it where classes are named; −1 is no label.
    """
    if array.dtype.kind not in "iubf" or array.shape[:1] != (rows,):
        return None
    if array.shape in ((rows, 2), (rows, named)):
        values = values_of(array).astype(np.float64)
        if np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all():
            return [int(k) for k in values.argmax(axis=1)]
    if named and math.prod(array.shape) == rows:
        values = values_of(array).reshape(-1).astype(np.float64)
        return [int(k) for k in values] if (values == np.round(values)).all() else None
    return None


def pixel_file(array: Array, unpacking: Unpacking) -> tuple[Positions, int]:
    """The file that has the pixels, and where they begin in it. They are unpacked once if need be."""
    if array.archive is None:
        return Positions(array.path), array.start
    at = array.archive.position(array.member)
    if at is not None:
        return Positions(array.path), at + array.start
    info = array.archive.members[array.member]
    if info.file_size > MOST_TIMES * info.compress_size + MiB:
        raise InputError(
            f"{array.where} unpacks to more than {MOST_TIMES} times its size; save it again."
        )
    key = f"{array.path.absolute()}\0{array.member}\0{info.CRC}\0{info.file_size}"
    folder = unpacking_folder(key)
    target = folder / f"array{NPY}"
    if not (target.is_file() and target.stat().st_size == info.file_size):
        try:
            with (
                unpacking(f"{UNPACK} {array.name}", info.file_size >> 20, "MiB") as advance,
                whole_file(target) as temporary,
                temporary.open("wb") as out,
            ):
                done = 0

                def progress(count: int) -> None:
                    nonlocal done
                    advance(((done + count) >> 20) - (done >> 20))
                    done += count

                array.archive.unpack(array.member, out, progress)
        except OSError as error:
            raise InputError(
                f"{array.where} cannot be unpacked to {folder}: {error.strerror or error}; free disk "
                "space, or save the array with numpy.save instead."
            ) from None
    return Positions(target), array.start


def check_pixels(array: Array, size: Size | None) -> tuple[Size, bool]:
    """Width and height of the images, and whether channels come first.

    Raises InputError unless they are 8-bit RGB, and of `size` if that is not None.
    """
    rows, *sides = array.shape
    first = sides[-1] != CHANNELS
    height, width = sides[1:] if first else sides[:2]
    if array.dtype != np.uint8:
        values = np.frombuffer(array.begins()[array.start :], np.uint8)
        count = len(values) // array.dtype.itemsize
        known_kind = array.dtype.kind in "iuf" and count
        told = extent(np.frombuffer(values, array.dtype, count)) if known_kind else "of another kind"
        raise InputError(f"{array.where} holds {array.dtype} {told}, not 8-bit integers.")
    if array.by_column:
        raise InputError(
            f"{array.where} is stored by columns; save numpy.ascontiguousarray of it instead."
        )
    if rows > LARGEST_ROWS or not 0 < max(height, width) <= LARGEST_SIDE or not min(height, width):
        raise InputError(f"{array.where} has the shape {array.shape}, not (N, 96, 96, 3); correct it.")
    if size is not None and (width, height) != size:
        raise InputError(other_size(f"a patch of {array.where}", (width, height)))
    return (width, height), first


def splits_of(
    own: SplitArrays, reading: Reading, unpacking: Unpacking, size: Size | None
) -> list[Part]:
    """Open a split, or the splits that an array of it names.

    Raises InputError if its arrays are damaged, or not of one value per patch.
    """
    pixels, rows = own.pixels, own.pixels.shape[0]
    (width, height), first = check_pixels(pixels, size)
    file, start = pixel_file(pixels, unpacking)
    stored = contiguous(file, (rows, *pixels.shape[1:]), start)  # type: ignore[arg-type]
    notes = [f"{pixels.where} is stored with channels first"] * first
    if own.others:
        notes.append(f"arrays not read: {', '.join(map(printable, own.others[:10]))}")

    def read(low: int, high: int) -> np.ndarray:
        batch = stored(low, high)
        return np.ascontiguousarray(np.moveaxis(batch, 1, -1)) if first else batch

    def original(row: int, expected: Size | None) -> np.ndarray:
        check_size((width, height), expected, pixels.path)
        image: np.ndarray = read(row, row + 1)[0]
        return image

    where = f"labels of split {own.name} of {pixels.path}"
    texts = [""] * rows
    if own.labels is None:
        notes.append(f"no labels of split {own.name} beside {pixels.name}")
    else:
        where = own.labels.where
        texts, more = label_texts(own, own.labels, rows, reading)
        notes += more
    told = class_labels(texts, reading, where, row_name="row", first=0)
    ids = numbered(own.name, rows) if own.ids is None else texts_of(own.ids, rows, "id")
    check_ids(ids, pixels.where if own.ids is None else own.ids.where)
    slides: list[str | None] = [None] * rows
    if own.slides is not None:
        slides = known(texts_of(own.slides, rows, "slide"))
    content = digest([str(pixels.path.stat().st_size), str(pixels.shape)])
    whole = Split(own.name, ids, None, slides, lambda *span: content, read, original)
    named = None if own.splits is None else texts_of(own.splits, rows, "split")
    parts = parts_of(whole, told, reading, where, named)
    return [replace(part, notes=[*notes, *told.notes, *part.notes]) for part in parts]


def open_source(
    path: Path, reading: Reading, unpacking: Unpacking, *, any_size: bool = False
) -> Source:
    """Open a file of arrays, or a folder of such files.

    With `any_size`, patches of another size than 96×96 are accepted. Raises InputError for arrays that
    are damaged, or whose names do not say what they are.
    """
    root = path if path.is_dir() else path.parent
    files = list(files_in(path)) if path.is_dir() else beside(path)
    found = understood([array for file in files for array in arrays_of(file)], root)
    if path.is_file():
        found = [one for one in found if one.pixels.path == path]
    every = [
        part
        for one in found
        for part in splits_of(one, reading, unpacking, None if any_size else PATCH)
    ]
    check_once(path, [part.split.name for part in every])
    parts = {part.split.name: part for part in every}
    return source_of(Kind.arrays, path, PROTOCOL, (parts[name] for name in train_first(parts)))


def beside(path: Path) -> list[Path]:
    """A file of arrays; of an .npy also the labels, ids and slides of the same split beside it."""
    if path.suffix.lower() == NPZ:
        return [path]
    split = split_in(path.stem)
    others = [
        file
        for file in files_in(path.parent)
        if file.suffix.lower() == NPY
        and file.parent == path.parent
        and file != path
        and role_of(file.stem) != PIXELS
        and split_in(file.stem) == split
    ]
    return [path, *others]
