"""Maps of slides: the same probabilities as predict, whole or continued, and what the files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from conftest import Result
from in_browser import asks_for_nothing, axe_finds_nothing, wait_for
from PIL import Image
from sklearn.metrics import roc_auc_score

import pcam_features as pcam_api
from pcam_features.errors import InputError
from pcam_features.learn.steps import Work
from pcam_features.slides import mapping, reading
from pcam_features.slides.grid import Grid
from pcam_features.slides.reading import open_slide
from pcam_features.slides.regions import regions, rings_of, smoothed_maximum
from pcam_features.slides.synthesize import SyntheticSlide
from pcam_features.slides.tissue import find_tissue, overview
from pcam_features.storage.resumable import STEPS

Run = Callable[..., Result]
FILES = ("map.json", "map.parquet", "map.tif", "overlay.png", "regions.geojson", "slide.html")


@pytest.fixture(scope="module")
def made_map(
    made_slide: SyntheticSlide, quick_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> pcam_api.SlideMap:
    folder = tmp_path_factory.mktemp("maps") / "map"
    return pcam_api.map_slide(made_slide.slide, quick_model, folder, progress=None)


def test_parity_a_map_has_the_bits_that_predict_gives_for_patches_in_files(
    made_slide: SyntheticSlide, quick_model: Path, made_map: pcam_api.SlideMap, tmp_path: Path
) -> None:
    centers = made_map.centers
    with open_slide(made_slide.slide) as slide:
        half = 48 * 2  # pixels of level 0, which are half as wide as PCam's
        for k, (x, y) in enumerate(zip(centers["x"], centers["y"], strict=True)):
            patch = slide.region(x - half, y - half, (96, 96), 0.972)
            Image.fromarray(patch).save(tmp_path / f"{k:05d}.png")
    model = pcam_api.open_model(quick_model)
    source = pcam_api.open_source(tmp_path)
    expected = model.predict_split(source, next(iter(source.splits)), progress=None)
    assert [Path(name).stem for name in expected.ids] == [f"{k:05d}" for k in range(len(centers))]
    assert len(centers) > 50
    np.testing.assert_array_equal(centers["probability"], expected.probabilities)


def test_oracle_tumor_is_found_where_the_outlines_say(
    made_slide: SyntheticSlide, made_map: pcam_api.SlideMap
) -> None:
    drawn = np.zeros((made_slide.height, made_slide.width), np.uint8)
    for feature in json.loads(made_slide.outlines.read_text())["features"]:
        ring = np.rint(feature["geometry"]["coordinates"][0]).astype(np.int32)
        cv2.fillPoly(drawn, [ring], (1,))
    labels, scores = [], []
    with open_slide(made_slide.slide) as slide:
        for x, y, _, _, score in made_map.centers.itertuples(index=False):
            patch = slide.region(x - 96, y - 96, (96, 96), 0.972)
            inside = drawn[y - 32 : y + 32, x - 32 : x + 32].mean()
            # A model of color alone knows no edges of tissue, and few of nests.
            if (patch.min(axis=2) > 225).mean() < 0.01 and not 0 < inside < 0.5:
                labels.append(inside > 0)
                scores.append(score)
    assert min(sum(labels), len(labels) - sum(labels)) > 15
    assert roc_auc_score(labels, scores) > 0.9


def test_invariant_the_files_of_a_map_agree(
    made_slide: SyntheticSlide, made_map: pcam_api.SlideMap
) -> None:
    record, folder = made_map.to_dict(), made_map.path
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    assert json.loads((folder / "map.json").read_text()) == record
    with tifffile.TiffFile(folder / "map.tif") as file:
        page: Any = file.pages[0]
        scores, place = page.asarray(), json.loads(page.description)
        per_centimeter = page.tags[282].value
    assert scores.dtype == np.float32
    assert scores.shape == (record["rows"], record["columns"])
    assert per_centimeter[0] / per_centimeter[1] == pytest.approx(10_000 / (32 * 0.972), rel=1e-6)
    centers = pd.read_parquet(folder / "map.parquet")
    assert len(centers) == record["centers"] == np.isfinite(scores).sum()
    np.testing.assert_array_equal(
        scores[centers["row"], centers["column"]], centers["probability"].astype(np.float32)
    )
    middle = place["x"] + (centers["column"] + 0.5) * place["pixel"]
    np.testing.assert_allclose(centers["x"], middle, atol=0.51)
    assert made_map.score == record["score"] == pytest.approx(smoothed_maximum(scores.astype(float)))
    above = (centers["probability"] >= 0.5).sum()
    assert record["above_mm2"] == pytest.approx(above * (32 * 0.972e-3) ** 2)
    outlines = json.loads((folder / "regions.geojson").read_text())["features"]
    # How high this model's probabilities are depends on the versions of OpenCV and XGBoost.
    assert len(outlines) == len(record["regions"])
    assert bool(outlines) == (above > 0)
    assert sum(region["centers"] for region in record["regions"]) == above
    with Image.open(folder / "overlay.png") as image:
        assert image.size == (made_slide.width, made_slide.height)
    page_text = (folder / "slide.html").read_text()
    assert "http://" not in page_text.split("<script>")[0]
    assert 3 < page_text.count("Patch at") <= 12


class StoppedError(Exception):
    pass


def test_invariant_a_map_that_was_stopped_is_continued_to_the_same_bytes(
    made_slide: SyntheticSlide, quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "PART_ROWS", 64)
    predicted = mapping.Predictor.probabilities
    calls: list[int] = []

    def counting(self: Any, patches: Any, progress: Any) -> np.ndarray:
        calls.append(len(patches))
        if stop_at == len(calls):
            raise StoppedError
        return predicted(self, patches, progress)

    monkeypatch.setattr(mapping.Predictor, "probabilities", counting)

    def run(out: Path, **options: Any) -> None:
        pcam_api.map_slide(made_slide.slide, quick_model, out, progress=None, **options)

    stop_at = 0
    run(tmp_path / "whole")
    parts = len(calls)
    assert parts > 2
    calls.clear()
    stop_at = 3
    with pytest.raises(StoppedError):
        run(tmp_path / "map")
    assert not (tmp_path / "map").exists()
    stop_at = 0
    with pytest.raises(InputError, match="differs in stride"):
        run(tmp_path / "map", stride=64)
    calls.clear()
    (tmp_path / "map.unfinished" / "steps" / "part-00001.npy").write_bytes(b"cut off")
    run(tmp_path / "map")
    assert len(calls) == parts - 1
    for name in FILES:
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "map" / name).read_bytes() == whole, name
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map", "whole"]
    with pytest.raises(InputError, match="exists already"):
        run(tmp_path / "map")


def test_invariant_a_part_whose_numbers_were_changed_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "PART_ROWS", 2)
    right = np.array([0.25, 0.5, np.nan, 0.75, 1.0])
    calls: list[int] = []

    class Knowing:
        """Knows the probability of each center by its column."""

        def predict(self, parts: Any, progress: Any) -> Any:
            for part in parts:
                calls.append(int(part[0, 1]))
                yield right[part[:, 1]]

    places = np.array([(0, k) for k in range(len(right))], np.int32)

    def computed() -> np.ndarray:
        calls.clear()
        return mapping.compute(
            Knowing(), places, Work(tmp_path), lambda count: nullcontext(lambda done: None)
        )

    np.testing.assert_array_equal(computed(), right)
    assert calls == [0, 2, 4]
    np.testing.assert_array_equal(computed(), right)
    assert calls == []
    np.save(tmp_path / STEPS / "part-00001.npy", np.array([0.5, 0.75]))
    np.testing.assert_array_equal(computed(), right)
    assert calls == [2]


def test_mechanics_the_command_prints_json_and_takes_a_mask(
    pcam: Run, made_slide: SyntheticSlide, quick_model: Path, tmp_path: Path
) -> None:
    mask = np.zeros((90, 100), np.uint8)
    mask[30:60, 20:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    masked = ("--mask", tmp_path / "mask.png", "--stride", 64, "--threshold", 0.9)
    done = pcam("slide", "map", made_slide.slide, quick_model, tmp_path / "map", *masked, "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["tissue"].startswith("mask ")
    assert record["threshold"] == 0.9
    assert 0 < record["centers"] < record["rows"] * record["columns"] / 4
    centers = pd.read_parquet(tmp_path / "map" / "map.parquet")
    assert centers["x"].between(200 - 32, 500 + 32).all()
    assert centers["y"].between(300 - 32, 600 + 32).all()
    help_text = pcam("slide", "map", "--help").out
    assert "Example: pcam slide map" in " ".join(help_text.split())


def glass(path: Path) -> None:
    Image.new("RGB", (400, 300), (243, 240, 246)).save(path)


def small(path: Path) -> None:
    Image.new("RGB", (150, 300), (200, 100, 180)).save(path)


@pytest.mark.parametrize(
    ("make", "words", "says"),
    [
        (glass, (), "no tissue was found"),
        (small, (), "a patch needs 187×187"),
        (glass, ("--mask", "wide.png"), "give a picture of the whole slide"),
        (glass, ("--mask", "absent.png"), "does not exist"),
        (glass, ("--stride", "1"), "stride"),
        (glass, ("--threshold", "2"), "threshold"),
    ],
)
def test_regression_a_slide_that_cannot_be_mapped_is_one_sentence(
    pcam: Run,
    quick_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (300, 60)).save("wide.png")
    make(Path("slide.png"))
    done = pcam("slide", "map", "slide.png", quick_model, "map", "--mpp", 0.5, *words)
    assert done.code == 2
    assert says in " ".join(done.err.split())
    assert not Path("map").exists()
    assert not Path("map.unfinished").exists()


def test_invariant_unreadable_tiles_are_counted_and_left_out(
    made_slide: SyntheticSlide,
    made_map: pcam_api.SlideMap,
    quick_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "openslide_module", lambda: None)
    path = tmp_path / "damaged.tif"
    content = bytearray(made_slide.slide.read_bytes())
    with tifffile.TiffFile(made_slide.slide) as file:
        page: Any = file.pages[0]
        start = page.dataoffsets[5]  # the tile from 256, 256 to 512, 512
    content[start : start + 700] = bytes(700)
    path.write_bytes(content)
    mask = tmp_path / "mask.png"
    Image.new("L", (100, 90), 255).save(mask)
    said: list[str] = []
    whole = pcam_api.map_slide(
        path, quick_model, tmp_path / "map", mask=mask, stride=64, progress=None, log=said.append
    )
    centers = whole.centers
    touched = (np.abs(centers["x"] - 384) < 128 + 96) & (np.abs(centers["y"] - 384) < 128 + 96)
    assert centers["probability"].isna().tolist() == touched.tolist()
    assert whole.record.unreadable == touched.sum() > 0
    assert f"{touched.sum():,} of {len(centers):,} centers" in said[-1]
    assert "could not be read" in (whole.path / "slide.html").read_text()


def even_odd(rings: list[list[tuple[int, int]]], x: float, y: float) -> bool:
    """Whether a point is inside rings, by counting the edges to its right."""
    crossed = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                crossed += 1
    return crossed % 2 == 1


@pytest.mark.parametrize("seed", range(6))
def test_oracle_outlines_hold_exactly_the_centers_of_regions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((14, 17))
    scores[rng.random(scores.shape) < 0.1] = np.nan
    grid = Grid.of(1000, 900, 0.972, 32)
    found = regions(scores, 0.45, grid)
    above = np.nan_to_num(scores) >= 0.45
    assert sum(region.centers for region in found) == above.sum()
    assert [one.maximum for one in found] == sorted((one.maximum for one in found), reverse=True)
    drawn = np.zeros(above.shape, int)
    for region in found:
        rings = [[(x, y) for x, y in ring] for ring in region.rings]
        inside = 0
        for row in range(14):
            for column in range(17):
                x, y = grid.middle(row, column)
                if even_odd(rings, x, y):  # type: ignore[arg-type]
                    inside += 1
                    drawn[row, column] += 1
        assert inside == region.centers
    np.testing.assert_array_equal(drawn, above)


def test_oracle_outlines_of_a_region_have_its_area_and_its_holes() -> None:
    ring = np.ones((5, 6), bool)
    ring[1:4, 1:3] = ring[2, 4] = False
    found = rings_of(ring)
    assert [len(one) for one in found] == [4, 4, 4]

    def area(corners: list[tuple[int, int]]) -> float:
        following = [*corners[1:], corners[0]]
        return sum(a * d - b * c for (a, b), (c, d) in zip(corners, following, strict=True)) / 2

    assert [area(one) for one in found] == [30, -6, -1]


@pytest.mark.parametrize("seed", range(4))
def test_invariant_no_ring_of_a_region_touches_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filled = (rng.random((24, 24)) < 0.6).astype(np.uint8)
    count, pieces = cv2.connectedComponents(filled, connectivity=4)
    corners_met = 0
    for k in range(1, count):
        inside = pieces == k
        for ring in rings_of(inside):
            passed = []
            for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                steps = max(abs(x1 - x0), abs(y1 - y0))
                passed += [
                    (x0 + (x1 - x0) * n // steps, y0 + (y1 - y0) * n // steps) for n in range(steps)
                ]
            assert len(set(passed)) == len(passed)
        twos = inside[:-1, :-1] & inside[1:, 1:] & ~inside[:-1, 1:] & ~inside[1:, :-1]
        corners_met += int(twos.sum())
    assert corners_met > 3


def test_oracle_the_score_is_the_maximum_of_means_over_neighbors() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((9, 8))
    scores[rng.random(scores.shape) < 0.3] = np.nan
    means = [
        np.nanmean(scores[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2])
        for r, c in np.argwhere(np.isfinite(scores))
    ]
    assert smoothed_maximum(scores) == pytest.approx(max(means))


def test_oracle_tissue_of_a_synthetic_slide_is_where_it_was_drawn(made_slide: SyntheticSlide) -> None:
    from pcam_features.slides.layout import plan

    layout = plan(500, 450, 3, seed=3)
    with open_slide(made_slide.slide) as slide:
        seen = overview(slide, 7.776, threads=2)
    found = find_tissue(seen.pixels)
    assert found.shape == (56, 62)
    drawn = layout.mask(layout.tissue, 0, 0, 512)[: 56 * 8, : 62 * 8]
    expected = drawn.reshape(56, 8, 62, 8).mean(axis=(1, 3)) > 0.5
    assert (found == expected).mean() > 0.95
    assert not find_tissue(np.full((50, 50, 3), 244, np.uint8)).any()


def test_mechanics_the_page_works_in_a_browser(browser: Any, made_map: pcam_api.SlideMap) -> None:
    page = made_map.path / "slide.html"
    browser.get(page.as_uri())
    wait_for(browser, "return document.getElementById('layer').dataset.painted === 'yes'")
    asks_for_nothing(browser, page)
    painted = (
        "const c = document.getElementById('layer'); return [...c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data].filter((v, k) => k % 4 === 3 && v > 0).length"
    )
    assert browser.execute_script(painted) == made_map.record.centers
    move = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input'))"
    )
    browser.execute_script(move, "least", 50)
    levels = np.rint(made_map.centers["probability"].astype(np.float32) * 255)
    assert browser.execute_script(painted) == (levels / 255 >= 0.5).sum()
    wide = "return document.getElementById('stage').clientWidth"
    before = browser.execute_script(wide)
    browser.execute_script(move, "zoom", 300)
    assert browser.execute_script(wide) == pytest.approx(3 * before, rel=0.05)
    browser.execute_script(move, "zoom", 100)
    for width in (390, 1280):
        axe_finds_nothing(browser, width, "light")
    axe_finds_nothing(browser, 1280, "dark")
