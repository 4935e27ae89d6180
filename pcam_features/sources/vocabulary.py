"""The words by which people name splits, classes and labels.

A name is split into words at capitals, digits and punctuation. It is understood only if all of its
words are known: `no_tumor_tissue` is negative, and `tumor_infiltrating_cells` is left to the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


TUMOR, NORMAL, UNLABELED = "tumor", "normal", "unlabeled"  # class folders that pcam writes
POSITIVE = words(
    "tumor tumour tumors tumours tumoral positive pos malignant malignancy cancer cancerous "
    "carcinoma metastasis metastases metastatic mets neoplastic neoplasm tumorous tumourous malign "
    "true yes "
    "tumeur tumeurs tumore tumori tumores tumoren bösartig maligne maligno maligna malin krebs "
    "cancéreux karzinom carcinome metastase metastasen positif positivo positiv опухоль рак метастаз "
    "метастазы злокачественный злокачественная kanser tümör nowotwór "
    "肿瘤 腫瘍 腫瘤 癌 癌症 恶性 惡性 悪性 阳性 陽性"
)
HEALTHY = words(
    "normal benign healthy "
    "normale normales normali gesund gutartig benigne benigno benigna bénin bénigne sain saine sano "
    "sana saudável норма здоровый здоровая доброкачественный доброкачественная sağlıklı zdrowy "
    "正常 良性 健康"
)
# Of a patch, or of tumor, as in tumor_negative
NEGATIVE = words("negative neg négatif negativo negativ 阴性 陰性")
NEGATIONS = words(
    "no non not without false free absent kein keine ohne sans sin senza sem pas нет без 无 無"
)
CLASS_WORDS = POSITIVE | HEALTHY | NEGATIVE | NEGATIONS
UNLABELED_NAMES = frozenset((UNLABELED, "unlabelled", "unknown"))
YES = words("positive pos true yes positif positivo positiv 阳性 陽性")  # of tumor, or of anything else
IDC = "idc"  # a tumor, which names classes with a sign or a word beside it
SIGN = re.compile(r"([+−–-])[)\]\s]*$")  # at the end of a name, as in tumor- and IDC(+)
FILLERS = words(
    "a b c has have with is of for the class label tissue tissues cell cells patch patches image "
    "images img imgs tile tiles sample samples region area idc lymph node nodes breast colon lung "
    "prostate skin in present h e he"
)
LABELS = words("label labels class classes")  # no_label is unlabeled
PIECES = words(  # no_tissue is not understood: blank patches are neither tumor nor normal tissue
    "patch patches image images img imgs tile tiles sample samples tissue tissues cell cells region "
    "area"
)
SPLITS = {
    "train": "train",
    "training": "train",
    "trainset": "train",
    "test": "test",
    "testing": "test",
    "testset": "test",
    "trn": "train",
    "tst": "test",
} | {name: name for name in ("valid", "validation", "val", "vld", "dev", "holdout")}
SAME = {"val": "valid", "vld": "valid", "validation": "valid", "dev": "valid"}
ARRAYS = {
    "pixels": words("x images image imgs img data patches pixels tiles"),
    "labels": words("y labels label targets target"),
}
OF_SPLITS = words("set data dataset split image images img imgs patch patches tile tiles")
BESIDE_SPLIT = OF_SPLITS | words("id ood public private internal external out in part")
MASKS = words("mask masks groundtruth segmentation segmentations annotation annotations")
SPACES = re.compile(r"[\s_]+")
WORDS = re.compile(r"[^\W\d_]+|\d+")
CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class ClassName:
    """What a name says of tumor: `label` is 1, 0, or None for unlabeled patches.

    `by_number` is true if only a digit says it, as in `class1`. It then counts only among names that
    are all understood, because class 1 of three may be anything.
    """

    label: int | None
    by_number: bool = False


def words_of(name: str) -> list[str]:
    """The words and numbers of a name, in lower case."""
    return [word.lower() for word in WORDS.findall(CAPITALS.sub(" ", name))]


def class_of(name: str) -> ClassName | None:
    """What the name of a class says; None if it is not understood.

    Examples
    --------
    >>> class_of("b_has_tumor_tissue"), class_of("non-cancer")
    (ClassName(label=1, by_number=False), ClassName(label=0, by_number=False))
    >>> class_of("class1")
    ClassName(label=1, by_number=True)
    >>> class_of("tumor_001") is class_of("stroma") is None  # the former is a slide of CAMELYON16
    True
    """
    if name.strip().lower() in UNLABELED_NAMES:
        return ClassName(None)
    every = words_of(name)
    told = [word for word in every if word not in FILLERS]
    numbers = [word for word in told if word.isdigit()]
    said = {word for word in told if not word.isdigit()}
    if any(len(number) > 1 for number in numbers) or len(numbers) > 1 or "?" in name:
        return None
    sign = None if numbers else SIGN.search(name)
    if not said and sign:
        return ClassName(int(sign[1] == "+")) if IDC in every else None
    if not said:
        return ClassName(int(numbers[0]), by_number=True) if numbers in (["0"], ["1"]) else None
    known = of_words(said, {*every})
    return known if sign is None or known is None else signed(known, said, plus=sign[1] == "+")


def of_words(said: set[str], every: set[str]) -> ClassName | None:
    """What words say, `every` with those that say nothing by themselves."""
    if said <= NEGATIONS and not every.isdisjoint(LABELS | PIECES):
        return None if LABELS.isdisjoint(every) else ClassName(None)
    known = all(word in CLASS_WORDS or is_negated(word) for word in said)
    return ClassName(1 if said <= POSITIVE else 0) if known and not is_unclear(said) else None


def is_unclear(said: set[str]) -> bool:
    """Whether words of classes deny each other, as in not_normal, false_negative and normal_tumor."""
    healthy, denied = said & HEALTHY, said & NEGATIONS
    return bool(
        (denied and said & (HEALTHY | NEGATIVE))
        or len(denied) > 1
        or ("false" in said and len(said) > 1)
        or (healthy and said & POSITIVE)
    )


def signed(known: ClassName, said: set[str], *, plus: bool) -> ClassName | None:
    """What words before a sign say: the sign counts after words for tumor, and may agree with others.

    Examples
    --------
    >>> [class_of(name).label for name in ("tumor-", "IDC (+)", "Negative (-)")]
    [0, 1, 0]
    >>> class_of("normal+") is class_of("positive-") is class_of("A+") is None
    True
    """
    if said <= POSITIVE - YES:
        return ClassName(int(plus))
    return known if known.label == int(plus) else None


def is_unlabeled(name: str) -> bool:
    """Whether a name says that there is no label.

    Examples
    --------
    >>> [is_unlabeled(name) for name in ("unlabeled", "no_label", "without class", "no_tumor")]
    [True, True, True, False]
    """
    known = class_of(name)
    return known is not None and known.label is None


def classes_of(names: Iterable[str]) -> dict[str, ClassName | None]:
    """What each name of a set of classes says; None for those not understood.

    Names that differ in a number alone are not understood, because the number may be the label, as in
    `tumor_0` and `tumor_1`.

    Examples
    --------
    >>> [name for name, known in classes_of(["normal", "tumor 0", "tumor 1"]).items() if known]
    ['normal']
    """
    rest: dict[str, tuple[str, ...]] = {}  # the words of a name that are no numbers
    numbers: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name in names:
        told = words_of(name)
        rest[name] = tuple(word for word in told if not word.isdigit())
        numbers.setdefault(rest[name], set()).add(tuple(filter(str.isdigit, told)))
    known = {name: class_of(name) for name in rest}
    return {
        name: one if one is None or one.by_number or len(numbers[rest[name]]) == 1 else None
        for name, one in known.items()
    }


def alike(name: str) -> str:
    """The same text for names that differ in case and spaces alone.

    Examples
    --------
    >>> alike("Tumor ") == alike("tumor"), alike("HER2+") == alike("HER2-")
    (True, False)
    """
    return SPACES.sub(" ", name.strip(" _")).casefold()


def is_negated(word: str) -> bool:
    """Whether a word denies tumor in itself, such as `nontumor`, `tumorfree` and `非癌`."""
    starts = ("non", "no", "非", "无", "無")
    return any(word.startswith(start) and word.removeprefix(start) in POSITIVE for start in starts) or (
        word.endswith("free") and word.removesuffix("free") in POSITIVE
    )


def split_name(name: str) -> str | None:
    """The split that a name stands for; None if it is not the name of a split.

    Examples
    --------
    >>> [split_name(name) for name in ("Training", "id_val", "Test set", "test_001", "tumor")]
    ['train', 'id_val', 'test', None, None]
    """
    whole = name.strip().lower()
    if whole in SPLITS:
        return SPLITS[whole]
    told = words_of(name)
    others = [word for word in told if word not in SPLITS]
    if len(told) == len(others) + 1 and OF_SPLITS.issuperset(others):
        return SPLITS[next(word for word in told if word in SPLITS)]
    known = all(word in BESIDE_SPLIT or (word.isdigit() and len(word) == 1) for word in others)
    return whole if len(others) < len(told) and known else None


def names_split_and_class(name: str) -> bool:
    """Whether a name says both, as `train_tumor` does."""
    told = words_of(name)
    rest = " ".join(word for word in told if word not in SPLITS)
    if not any(word in SPLITS for word in told):
        return False
    known = class_of(rest) if rest else None
    return known is not None and not known.by_number


def role_of(name: str) -> str | None:
    """Whether an array of this name holds `pixels` or `labels`; None if its name does not say.

    Examples
    --------
    >>> [role_of(name) for name in ("train_images", "Y", "camelyonpatch_level_2_split_test_x", "train")]
    ['pixels', 'labels', 'pixels', None]
    """
    told = words_of(name)
    roles = {role for role, known in ARRAYS.items() if known & set(told)}
    return "labels" if "labels" in roles else next(iter(roles), None)


def labels_among(names: Sequence[str]) -> list[str]:
    """Those arrays that hold labels by their names: called so, or else with such a word in their name.

    Examples
    --------
    >>> labels_among(["x", "y", "y_onehot"]), labels_among(["train_x", "train_labels", "center"])
    (['y'], ['train_labels'])
    """
    told = {name: [word for word in words_of(name) if word not in SPLITS] for name in names}
    exact = [name for name, rest in told.items() if len(rest) == 1 and rest[0] in ARRAYS["labels"]]
    return exact or [name for name in names if role_of(name) == "labels"]


def split_in(name: str) -> str | None:
    """The split that a word of a name says, as `train`, `valid` or `test`; None if not just one.

    Examples
    --------
    >>> [split_in(name) for name in ("training_split", "X_val", "test_0", "pcam")]
    ['train', 'valid', 'test', None]
    """
    found = {SAME.get(SPLITS[word], SPLITS[word]) for word in words_of(name) if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def split_word(name: str) -> str | None:
    """The split that a word of a name says, called as a folder of that word would be, or None.

    Examples
    --------
    >>> [split_word(name) for name in ("pcam_train", "val_224", "train_and_test")]
    ['train', 'val', None]
    """
    said = [SPLITS[word] for word in words_of(name) if word in SPLITS]
    return said[0] if split_in(name) is not None else None


def has_masks(name: str) -> bool:
    """Whether a name has a word for masks."""
    return not MASKS.isdisjoint(words_of(name))


def is_masks(name: str) -> bool:
    """Whether a name is one of masks and says nothing else, apart from a split.

    Examples
    --------
    >>> [is_masks(name) for name in ("train_masks", "mask images", "case_mask")]
    [True, True, False]
    """
    told = set(words_of(name))
    return not told.isdisjoint(("mask", "masks")) and MASKS.union(OF_SPLITS, SPLITS).issuperset(told)


def split_of_file(file: Path, root: Path) -> str | None:
    """The split that a file is of, by its name or by that of its folder, unless that is `root`.

    Examples
    --------
    >>> [split_of_file(Path("d") / name, Path("d")) for name in ("x_val.npy", "test/0.npy", "x.npy")]
    ['valid', 'test', None]
    """
    folder = file.parent
    by_folder = split_in(folder.name) or split_name(folder.name) if folder != root else None
    return split_in(file.stem) or by_folder


def label_values(values: Iterable[str]) -> dict[str, int]:
    """The label that each text of a table stands for; texts that are not understood are left out.

    Numbers count if they are 0 or 1, also as `1.0`.

    Examples
    --------
    >>> label_values(["0.0", "1.0", "True", "non-tumor", "2"])
    {'0.0': 0, '1.0': 1, 'True': 1, 'non-tumor': 0}
    """
    told: dict[str, int] = {}
    for value, known in classes_of(values).items():
        if (number := as_number(value)) is not None:
            if number in (0, 1):
                told[value] = int(number)
            continue
        if known is not None and known.label is not None and not known.by_number:
            told[value] = known.label
    return told


def as_number(text: str) -> float | None:
    """The number that a text spells; None if it spells none."""
    if re.fullmatch(r"\s*[+-]?\d+,\d{1,2}\s*", text):  # a decimal comma
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None
