"""A check finds what was planted, finds what others found, and measures what others measure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import Result, degenerate
from in_browser import asks_for_nothing, axe_finds_nothing, wait_for
from PIL import Image
from scipy import ndimage
from scipy.special import kolmogorov

from pcam_features.check import duplicates, quality
from pcam_features.check.check import ThreadCrew, check
from pcam_features.check.drift import BY_CHANCE, between
from pcam_features.check.look import Look, by_label, color_measure, gathered, look_at_rows, see
from pcam_features.check.pictures import gather
from pcam_features.check.result import CheckResult
from pcam_features.report.check_page import write
from pcam_features.sources.detect import open_source
from pcam_features.sources.images import one_by_one
from pcam_features.sources.source import Split

Run = Callable[..., Result]


def split_of(pixels: np.ndarray, labels: np.ndarray | None = None, name: str = "train") -> Split:
    ids: list[str] = [f"p{k:05d}" for k in range(len(pixels))]
    read = one_by_one(lambda k: pixels[k])
    return Split(name, ids, labels, [None] * len(ids), lambda *span: "", read)


def looked(pixels: np.ndarray, labels: np.ndarray | None = None) -> Look:
    split = split_of(pixels, labels)
    return gathered(split, look_at_rows(split, color_measure(), range(len(split)), 2))


def checked(path: Path | str, against: Path | None = None, **how: Any) -> CheckResult:
    source, _ = open_source(str(path), strict=False, **how)
    other = None if against is None else open_source(str(against))[0]
    return check(source, source.only(None), other, ThreadCrew(color_measure(), 2))


def kinds(found: CheckResult) -> dict[tuple[str, str], int]:
    return {(one.what, one.split): one.count for one in found.findings}


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def real(kaggle_folder: Path) -> np.ndarray:
    """Patches of tissue, as they are."""
    pixels = open_source(str(kaggle_folder))[0].splits["train"].read(0, 300)
    flat = np.array([one.std() < 15 for one in pixels])
    return pixels[~flat]


@pytest.fixture
def planted(kaggle_folder: Path, tmp_path: Path) -> Path:
    """Some of Kaggle's patches, with every fault that can be planted."""
    folder = tmp_path / "planted"
    table = pd.read_csv(kaggle_folder / "train_labels.csv").iloc[100:160].reset_index(drop=True)
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True)
    for patch in table["id"]:
        shutil.copy(kaggle_folder / "train" / f"{patch}.tif", folder / "train")
    tests = sorted((kaggle_folder / "test").iterdir())[:20]
    for file in tests:
        shutil.copy(file, folder / "test")

    def file(patch: str, name: str = "train") -> Path:
        return folder / name / f"{patch}.tif"

    ids = table["id"].tolist()
    extra = {
        "copied": int(table["label"][0]),
        "swapped": 1 - int(table["label"][1]),
        "hidden": 0,
        "turned": 0,
    }
    shutil.copy(file(ids[0]), file("copied"))
    shutil.copy(file(ids[1]), file("swapped"))
    shutil.copy(tests[0], file("hidden"))
    with Image.open(tests[1]) as image:
        turned = jpeg(np.rot90(np.asarray(image)[:, ::-1]).copy(), 60)
    Image.fromarray(turned).save(folder / "train" / "turned.png")
    file(ids[2]).write_bytes(file(ids[2]).read_bytes()[:9000])
    changed = bytearray(file(ids[3]).read_bytes())
    changed[12_000] ^= 1
    file(ids[3]).write_bytes(changed)
    file(ids[4]).unlink()
    more = pd.DataFrame({"id": list(extra), "label": list(extra.values())})
    pd.concat([table, more]).to_csv(folder / "train_labels.csv", index=False)
    (folder / "ids.json").write_text(json.dumps([ids[:5], tests[0].stem, tests[1].stem]))
    return folder


def test_mechanics_planted_faults_are_all_found(planted: Path, pcam: Run) -> None:
    ids, hidden, turned = json.loads((planted / "ids.json").read_text())
    found = checked(planted)
    examples = {(one.what, one.split): list(one.examples) for one in found.findings}
    assert examples["missing file", ""] == [ids[4]]
    assert examples["unreadable", "train"] == [ids[2]]
    assert examples["wrong checksum", "train"] == [ids[3]]
    assert set(examples["labels of the same pixels", ""]) == {f"train/{ids[1]}", "train/swapped"}
    assert examples["overlap", "test"] == [hidden, turned]
    assert examples["copies with the same pixels", "train"] == ["copied", "swapped"]
    result = pcam("check", planted, "--strict", "--json")
    assert result.code == 1
    assert "5 faults" in result.err
    said = json.loads(result.out)
    assert {one["what"] for one in said["findings"] if one["grade"] == "fault"} == {
        *("missing file", "unreadable", "wrong checksum", "labels of the same pixels", "overlap")
    }
    assert said["splits"]["train"]["unreadable"] == 1


def test_oracle_duplicates_and_blanks_are_those_of_the_real_table(pcam_folder: Path) -> None:
    found = checked(pcam_folder / "labels.csv")
    table = found.to_frame()
    known = pd.read_csv(pcam_folder / "labels.csv").set_index("id").loc[table["id"]]
    sizes = known.groupby("dup_group")["dup_group"].transform("size").to_numpy()
    group = np.where(sizes > 1, known["dup_group"], -1)
    for ours in ("exact", "near"):
        pairs = pd.DataFrame({"theirs": group, "ours": table[ours].fillna(-1).astype(int)})
        # Groups are the same if each of theirs is one of ours and each of ours is one of theirs.
        assert (pairs.groupby("theirs")["ours"].nunique() == 1).all(), ours
        assert (pairs.groupby("ours")["theirs"].nunique() == 1).all(), ours
        assert ((pairs["theirs"] < 0) == (pairs["ours"] < 0)).all(), ours
    looks = [part.look for part in found.parts]
    flat = np.concatenate([look.deviation < quality.FLAT for look in looks])
    assert (flat == (known["near_blank"] == 1)).all()
    assert (table["blank"] | table["black"])[flat].all()
    assert table["blank"].sum() == 66


def test_oracle_kaggle_and_pcam_overlap_in_the_same_tissue(
    kaggle_folder: Path, pcam_folder: Path, tmp_path: Path
) -> None:
    """What is said to be in both is laid over each other at full size, which the search did not do."""
    small = pd.read_csv(pcam_folder / "labels.csv").iloc[:8000]
    table = tmp_path / "some.csv"
    small.assign(path=[str(pcam_folder / one) for one in small["path"]]).to_csv(table, index=False)
    (tmp_path / "pcam").symlink_to(pcam_folder)
    small.assign(path=["pcam/" + one for one in small["path"]]).to_csv(table, index=False)
    found = checked(kaggle_folder, against=table)
    assert kinds(found)["overlap", "some.csv:train"] > 60
    near, parts = found.copies.near, [part.look.split for part in found.parts]
    start = np.cumsum([0, *(len(split) for split in parts)])
    place = {int(g): k for k, g in enumerate(near[: start[1]]) if g >= 0}
    other = start[-2]
    labels = []
    for k, group in enumerate(near[other:]):
        if int(group) in place:
            first = parts[0].read(place[int(group)], place[int(group)] + 1)[0].astype(float)
            second = parts[-1].read(k, k + 1)[0].astype(float)
            assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
            assert parts[0].labels is not None
            assert parts[-1].labels is not None
            labels.append(parts[0].labels[place[int(group)]] == parts[-1].labels[k])
    assert all(labels)


def test_invariant_flipped_and_turned_patches_have_the_same_fingerprint(real: np.ndarray) -> None:
    small = see(real[:40], color_measure())["small"]
    turned = duplicates.symmetries(small)
    for one in turned:
        np.testing.assert_allclose(
            duplicates.fingerprints(one), duplicates.fingerprints(small), atol=1e-3
        )
    assert len(np.unique(turned.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("quality_of_jpeg", [90, 50, 20])
def test_mechanics_near_duplicates_survive_jpeg_and_turning(
    quality_of_jpeg: int, real: np.ndarray
) -> None:
    worse = np.stack([jpeg(np.rot90(one, k % 4).copy(), quality_of_jpeg) for k, one in enumerate(real)])
    near = duplicates.find([looked(np.concatenate([real, worse]))]).near
    rows = len(real)
    found = (near[:rows] >= 0) & (near[:rows] == near[rows:])
    assert found.mean() > 0.97  # but for some that are all but blank
    assert len(np.unique(near[near >= 0])) == (near[:rows] >= 0).sum()  # and nothing else is joined


def test_mechanics_many_alike_do_not_fill_the_memory(
    real: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1000)
    noise = np.random.default_rng(0).integers(0, 2, (200, 96, 96, 3), np.uint8)
    found = duplicates.find([looked(np.minimum(real[0], 250) + noise)])
    assert found.too_many
    assert (found.near == found.exact).all()


def test_oracle_what_is_seen_is_what_libraries_measure(real: np.ndarray) -> None:
    found = see(real[:30], color_measure())
    gray = real[:30] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found["gray"], gray.mean(axis=(1, 2)), atol=0.1)
    np.testing.assert_allclose(found["deviation"], gray.std(axis=(1, 2)), atol=0.1)
    whole = np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in real[:30]]).astype(float)
    sharp = [ndimage.laplace(one, mode="mirror").var() for one in whole]
    np.testing.assert_allclose(found["sharpness"], sharp, rtol=1e-4)
    small = whole.reshape(-1, 8, 12, 8, 12).mean(axis=(2, 4))
    assert np.abs(found["small"] - small).max() <= 1
    assert (found["dark"] == (real[:30].max(axis=-1) < 60).mean(axis=(1, 2))).all()


def test_oracle_histograms_and_means_by_class_are_numpys(real: np.ndarray) -> None:
    labels = (np.arange(len(real)) % 3 == 0).astype(np.int8)
    look = looked(real, labels)
    for label in (0, 1):
        own = real[labels == label]
        assert look.count[label] == len(own)
        np.testing.assert_array_equal(look.total[label], own.astype(np.int64).sum(axis=0))
        for channel in range(3):
            expected = np.histogram(own[..., channel], bins=np.arange(257))[0]
            np.testing.assert_array_equal(look.histogram[label, channel], expected)
    assert by_label(real[:4], None)["count"].tolist() == [0, 0, 4]


def test_mechanics_what_shows_no_tissue_is_told() -> None:
    cases = degenerate()
    look = looked(np.stack(list(cases.values())))
    found = {
        name: dict(zip(cases, tell(look).tolist(), strict=True))
        for name, tell in (("blank", quality.blank), ("black", quality.black))
    }
    assert {name for name, true in found["black"].items() if true} == {"black"}
    assert {"white", "constant"} <= {name for name, true in found["blank"].items() if true}
    assert not found["blank"]["half_glass"]
    assert not found["blank"]["noise"]


@pytest.mark.parametrize("sigma", [2.0, 3.0])
def test_mechanics_blurred_patches_are_out_of_focus(sigma: float, real: np.ndarray) -> None:
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in real])
    assert quality.out_of_focus(looked(blurred)).mean() > 0.95
    assert quality.out_of_focus(looked(real)).mean() < 0.02


@pytest.mark.parametrize("ink", [(20, 60, 190), (10, 130, 60), (30, 160, 160)])
def test_mechanics_blue_and_green_ink_is_found(ink: tuple[int, int, int], real: np.ndarray) -> None:
    marked = real.copy()
    for one in marked:
        cv2.line(one, (0, 80), (95, 60), ink, 6)
    assert quality.pen_marked(looked(marked)).all()
    assert quality.pen_marked(looked(real)).mean() < 0.02


def test_mechanics_drift_is_told_and_sameness_is_not(real: np.ndarray) -> None:
    half = len(real) // 2
    same = between("a", looked(real[:half]), "b", looked(real[half:]))
    darker = between("a", looked(real[:half]), "b", looked((real[half:] * 0.5).astype(np.uint8)))
    assert same is not None
    assert darker is not None
    assert max(same.apart.values()) < 0.35
    assert darker.apart["brightness"] > 0.6
    # The Kolmogorov-Smirnov statistic is the largest gap between two distribution functions.
    first, second = looked(real[:half]).gray, looked(real[half:]).gray
    grid = np.concatenate([first, second])
    gaps = [abs((first <= at).mean() - (second <= at).mean()) for at in grid]
    assert same.apart["brightness"] == pytest.approx(max(gaps))
    assert kolmogorov(BY_CHANCE) == pytest.approx(1e-3, rel=0.02)  # once in a thousand
    few = between("a", looked(real[:25]), "b", looked(real[25:50]))
    assert few is not None
    assert few.bound == pytest.approx(BY_CHANCE * (2 / 25) ** 0.5)
    assert between("a", looked(real[:3]), "b", looked(real)) is None


def test_mechanics_slides_in_two_splits_are_a_fault(synthetic_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "slides.csv"
    slides = pd.read_csv(synthetic_folder / "slides.csv")
    slides.assign(slide="one").to_csv(table, index=False)
    found = checked(synthetic_folder, slides=str(table))
    assert kinds(found)["slides in two splits", ""] == 1
    assert ("slides in two splits", "") not in kinds(checked(synthetic_folder))


def test_mechanics_a_source_that_is_all_damaged_is_reported(tmp_path: Path, pcam: Run) -> None:
    for name in ("normal", "tumor"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "data" / name / f"{name}{k}.png").write_bytes(b"no image")
    report = tmp_path / "check.html"
    result = pcam("check", tmp_path / "data", "--report", report, "--patches", tmp_path / "p.csv")
    assert result.code == 0, result.err
    unreadable = "6 patches of train cannot be read (normal0, normal1, normal2, …); the first: "
    assert unreadable in " ".join(result.out.split())
    assert report.is_file()
    assert not pd.read_csv(tmp_path / "p.csv")["readable"].any()


def test_mechanics_a_check_says_what_it_cannot_work_with(tmp_path: Path, pcam: Run) -> None:
    for words, said in (
        (("check", tmp_path / "none"), "no folder or file"),
        (("check", "synthetic:20", "--against", tmp_path / "none"), "no folder or file"),
        (("check", "synthetic:20", "--split", "valid"), "no split 'valid'"),
        (("check", "synthetic:20", "--report", tmp_path), "cannot be written"),
    ):
        result = pcam(*words)
        assert result.code == 2
        assert said in result.err


@pytest.fixture(scope="module")
def page(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all there can be on it: copies labeled both ways, patches of poor quality, drift."""
    folder = tmp_path_factory.mktemp("page")
    source, _ = open_source(str(synthetic_folder))
    train = source.splits["train"]
    pixels = train.read(0, 120)
    assert train.labels is not None
    labels = train.labels[:120].copy()
    pixels[5], labels[5] = pixels[4], 1 - labels[4]
    pixels[6] = 255
    pixels[7] = 0
    pixels[8] = cv2.GaussianBlur(pixels[8], (0, 0), 4)
    cv2.line(pixels[9], (0, 0), (95, 95), (20, 60, 190), 9)
    table = []
    for k, one in enumerate(pixels):
        name = f"</script>&{k}.png"
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(folder / "data" / name)
        table.append((f"data/{name}", labels[k], train.slides[k], "train" if k < 80 else "valid"))
    columns = ["path", "label", "slide", "split"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "data.csv", index=False)
    return folder


def test_mechanics_the_page_stands_in_a_browser(page: Path, browser: Any) -> None:
    result = checked(page / "data.csv")
    write(page / "check.html", result, gather(result))
    browser.set_window_size(1200, 900)
    browser.get((page / "check.html").as_uri())
    wait_for(browser, "return document.querySelectorAll('.plot .main-svg').length > 0")
    for tab in browser.find_elements("css selector", "[role=tab]"):
        tab.click()
    charts = json.loads(browser.execute_script("return document.getElementById('charts').textContent"))
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].filter(box => box.querySelector('.main-svg'))"
        ".map(box => box.dataset.chart)"
    )
    assert set(drawn) == set(charts)
    assert {"brightness-0", "channels-1", "stain", "sizes", "drift"} <= set(charts)
    headings = [one.text for one in browser.find_elements("css selector", "h3")]
    assert headings[0] == "Duplicates with conflicting labels"
    assert [one.split(":")[0] for one in headings[1:]] == [
        "Blank",
        "Black",
        "Out of focus",
        "Pen-marked",
    ]
    asks_for_nothing(browser, page / "check.html")
    for width in (1200, 390):
        for scheme in ("light", "dark"):
            axe_finds_nothing(browser, width, scheme)


def test_mechanics_a_summary_is_plain_json(synthetic_folder: Path) -> None:
    found = checked(synthetic_folder).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["kind"] == "kaggle"
    train = found["splits"]["train"]
    assert train["patches"] == train["positive"] + train["negative"] == 240
    assert sum(train["brightness"]["tumor"]) == train["positive"]
    assert sum(train["channels"]["normal"]["red"]) == train["negative"] * 96 * 96


SUMMARY = {
    "": "pcam_version source kind protocol verdict faults findings splits drift",
    "findings": "grade what count examples says split",
    "splits": "patches unreadable positive negative unlabeled slides slide_unknown brightness channels",
    "drift": "base other apart bound medians",
}
COLUMNS = "id split label slide readable blank black out_of_focus pen_marked exact near"  # of --patches


def test_invariant_the_json_and_the_table_have_their_keys(page: Path, pcam: Run) -> None:
    """Scripts read them: keys and their order are part of the interface."""
    found = checked(page / "data.csv")
    said = json.loads(json.dumps(found.to_dict()))
    assert list(said) == SUMMARY[""].split()
    for name in ("findings", "drift"):
        assert len(said[name]) > 0
        for one in said[name]:
            assert list(one) == SUMMARY[name].split()
    assert list(said["splits"]) == ["train", "valid"]
    for one in said["splits"].values():
        assert list(one) == SUMMARY["splits"].split()
        assert list(one["channels"]["tumor"]) == ["red", "green", "blue"]
        assert len(one["channels"]["tumor"]["red"]) == len(one["brightness"]["normal"]) == 32
    assert said["faults"] == sum(one["grade"] == "fault" for one in said["findings"]) > 0
    table = found.to_frame()
    assert list(table.columns) == COLUMNS.split()
    assert table["split"].value_counts().to_dict() == {"train": 80, "valid": 40}
    printed = json.loads(pcam("check", page / "data.csv", "--json").out)
    assert printed == said


def test_mechanics_a_check_shows_itself_in_a_notebook(page: Path) -> None:
    found = checked(page / "data.csv")
    html = found._repr_html_()
    assert "</script>" not in html  # which is in the ids
    assert html.count("<tr>") == len(found.findings)
    assert all(finding.what in html for finding in found.findings)
    clean = replace(found, findings=())
    assert clean._repr_html_() == (
        "<p><strong>120 patches checked: no faults, nothing unusual</strong></p>"
    )


def sources_of(folder: Path, real: np.ndarray) -> tuple[Path, Path]:
    """Two sources: of pictures 0, 1 and near copies of 1 that are each other's; and one of more."""
    near = jpeg(np.rot90(real[1]).copy(), 60)
    rows = {
        "a": [
            ("a0", real[0], 0, "s1"),
            ("a1", real[1], 1, "s1"),
            ("a2", near, 1, ""),
            ("a3", near, 1, ""),
        ],
        "b": [("b0", near, 1, "s1"), ("b1", real[2], 0, ""), ("b2", real[2], 1, "")],
    }
    for name, patches in rows.items():
        (folder / name).mkdir()
        for patch, pixels, _, _ in patches:
            Image.fromarray(pixels).save(folder / name / f"{patch}.png")
        table = [(f"{patch}.png", label, slide) for patch, _, label, slide in patches]
        pd.DataFrame(table, columns=["path", "label", "slide"]).to_csv(
            folder / name / "manifest.csv", index=False
        )
    return folder / "a", folder / "b"


def test_mechanics_copies_of_copies_are_told_with_and_without_another_source(
    real: np.ndarray, tmp_path: Path, pcam: Run
) -> None:
    first, second = sources_of(tmp_path, real)
    alone, beside = checked(first), checked(first, against=second)
    for found, name in ((alone, "train"), (beside, "a:train")):
        assert kinds(found)["copies with the same pixels", name] == 1
        assert kinds(found)["copies with nearly the same pixels", name] == 1
    assert kinds(beside)["overlap", "b:train"] == 1
    assert kinds(beside)["slides in two splits", ""] == 1
    assert not any(what.startswith("labels of") for what, _ in kinds(beside))  # they are the other's
    assert kinds(checked(second))["labels of the same pixels", ""] == 1
    result = pcam("check", first, "--strict", "--patches", tmp_path / "p.csv")
    assert result.code == 0, result.err
    table = pd.read_csv(tmp_path / "p.csv", dtype={"near": "Int64"})
    assert table["near"].tolist()[1:] == [0, 0, 0]
    assert table["label"].tolist() == [0, 1, 1, 1]


def test_mechanics_a_check_replaces_only_its_own_files(tmp_path: Path, pcam: Run) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("id,label\na,1\n")
    for option in ("--patches", "--report"):
        result = pcam("check", "synthetic:20:4", option, mine)
        assert result.code == 2
        assert "choose another file name" in result.err
    assert mine.read_text() == "id,label\na,1\n"
    for _ in range(2):
        assert pcam("check", "synthetic:20:4", "--patches", tmp_path / "p.csv").code == 0
