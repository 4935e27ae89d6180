"""Patches cut from slides: PCam's rule, outlines of strangers, and splits that tear no slide."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result

import pcam_features as pcam_api
from pcam_features.errors import InputError
from pcam_features.slides.annotations import Annotations, Shape, read_annotations
from pcam_features.slides.grid import Grid
from pcam_features.slides.patches import hardest_of, labels_of
from pcam_features.slides.reading import open_slide
from pcam_features.slides.synthesize import SyntheticSlide, synthesize_slide

Run = Callable[..., Result]
SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


@pytest.fixture(scope="module")
def three_slides(made_slide: SyntheticSlide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three slides with outlines, the last of them without tumor."""
    folder = tmp_path_factory.mktemp("three")
    for name, nests, seed in (("a", 2, 3), ("b", 3, 3), ("c", 0, 3)):
        synthesize_slide(folder / f"{name}.tif", 700, 640, nests=nests, seed=seed)
    return folder


def inside(shape: Shape, points: np.ndarray) -> np.ndarray:
    """Which points, (n, 2), are in a polygon, by counting the edges to their right."""
    crossed = np.zeros(len(points), int)
    x, y = points.T
    for ring in shape.rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 != y1:
                crossed += ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return crossed % 2 == 1


def circle(x: float, y: float, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def test_oracle_labels_follow_the_rule_of_pcam() -> None:
    rng = np.random.default_rng(0)
    places = zip(*rng.uniform(100, 900, (2, 6)).tolist(), rng.uniform(9, 90, 6), strict=True)
    shapes = [Shape((circle(*place),)) for place in places]
    shapes.append(Shape((circle(500, 500, 360), circle(500, 500, 250))))  # with a hole
    grid = Grid.of(1000, 1000, 0.486, 32)
    centers = np.argwhere(np.ones((grid.rows, grid.columns))).astype(np.int32)
    found = labels_of(Annotations(tuple(shapes)), grid, centers)
    within = np.stack(np.meshgrid(np.arange(65, 128, 3), np.arange(65, 128, 3)), axis=-1).reshape(-1, 2)
    outlines = np.concatenate([ring for shape in shapes for ring in shape.rings])
    for label, (row, column) in zip(found.tolist(), centers.tolist(), strict=True):
        corner = np.array(grid.corner(row, column))
        reached = any(inside(shape, corner + within).any() for shape in shapes)
        apart = np.abs(outlines - np.clip(outlines, corner + 64, corner + 128)).max(axis=1).min()
        if reached or apart > 4:  # pixels; nearer, an outline may touch a pixel of the center
            assert label == reached
    assert 0.2 < found.mean() < 0.8


def test_invariant_patches_are_those_of_the_slide_with_its_name(
    pcam: Run, three_slides: Path, tmp_path: Path
) -> None:
    words = (three_slides, tmp_path / "out", "--annotations", three_slides, "--test", 0.34, "--json")
    done = pcam("slide", "patches", *words)
    assert done.code == 0, done.err
    slides = {part["slide"]: part for part in json.loads(done.out)["slides"]}
    assert sorted(slides) == ["a", "b", "c"]
    assert sorted(part["split"] for part in slides.values()) == ["test", "train", "train"]
    assert slides["a"]["tumor"] == slides["a"]["normal"] > 0
    assert slides["c"]["tumor"] == 0 < slides["c"]["normal"]
    source = pcam_api.open_source(tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "positions.csv").set_index("id")
    frame = source.frame()
    assert len(frame) == len(table) == sum(one["tumor"] + one["normal"] for one in slides.values())
    assert frame.groupby("slide")["split"].nunique().eq(1).all()
    for split in source.splits.values():
        for k in range(0, len(split), 7):
            place = table.loc[split.ids[k]]
            assert split.slides[k] == place["slide"]
            assert split.labels is not None
            assert split.labels[k] == place["label"]
            with open_slide(three_slides / f"{place['slide']}.tif") as slide:
                patch = slide.region(place["x"], place["y"], (96, 96), 0.972)
            np.testing.assert_array_equal(split.read(k, k + 1)[0], patch)
    refused = pcam("slide", "patches", *words)
    assert refused.code == 2
    assert "exists already" in refused.err


def test_invariant_the_draw_depends_on_the_seed_and_is_bounded(
    three_slides: Path, tmp_path: Path
) -> None:
    def ids(name: str, **options: Any) -> set[str]:
        out = tmp_path / name
        pcam_api.cut_slides(three_slides, out, three_slides, progress=None, **options)
        return set(pcam_api.open_source(out).ids)

    one, same, other = ids("one", most=9), ids("same", most=9), ids("other", most=9, seed=1)
    assert one == same != other
    assert max(sum(i.startswith(name) for i in one) for name in "abc") == 9
    everything = ids("everything", balanced=False, to="hdf5")
    assert one < everything


def test_oracle_half_of_the_normal_patches_are_the_hardest_of_a_model(
    three_slides: Path, quick_model: Path, tmp_path: Path
) -> None:
    def cut(name: str, **options: Any) -> tuple[Any, pd.DataFrame]:
        given = {"test": 0.34, "progress": None} | options
        made = pcam_api.cut_slides(three_slides, tmp_path / name, three_slides, **given)
        return made, pd.read_csv(tmp_path / name / "positions.csv").set_index("id")

    _, every = cut("every", balanced=False)
    _, plain = cut("plain")
    made, hard = cut("hard", hard=quick_model)
    assert (
        str(quick_model) in json.loads((tmp_path / "hard" / "converted.json").read_text())["protocol"]
    )
    source = pcam_api.open_source(tmp_path / "every")
    model = pcam_api.open_model(quick_model)
    predicted = [model.predict_split(source, split, progress=None) for split in source.splits]
    ids = [patch for one in predicted for patch in one.ids]
    probability = pd.Series(np.concatenate([one.probabilities for one in predicted]), ids)
    assert not plain["hard"].any()
    for part in made.parts:
        known, before = every[every["slide"] == part.slide], plain[plain["slide"] == part.slide]
        now = hard[hard["slide"] == part.slide]
        assert set(now.index[now["label"] == 1]) == set(before.index[before["label"] == 1])
        normal = now[now["label"] == 0]
        assert part.normal == len(normal) == (before["label"] == 0).sum()
        if part.split == "test":
            assert part.hard == 0
            assert set(now.index) == set(before.index)
            continue
        assert part.hard == now["hard"].sum() == part.normal // 2 > 0
        ranked = probability[known.index[known["label"] == 0]].sort_values(ascending=False)
        chosen = probability[now.index[now["hard"] == 1]]
        assert sorted(chosen) == sorted(ranked.iloc[: part.hard])
        assert set(normal.index[normal["hard"] == 0]) <= set(before.index)


def test_mechanics_hard_patches_by_several_models_are_chosen_by_the_command(
    pcam: Run, three_slides: Path, quick_model: Path, tmp_path: Path
) -> None:
    words = ("slide", "patches", three_slides, tmp_path / "out", "--annotations", three_slides)
    models = ("--hard", quick_model, "--hard", quick_model)
    refused = pcam(*words, *models, "--complete")
    assert refused.code == 2
    assert "leave out --hard" in " ".join(refused.err.split())
    assert pcam(*words, "--hard", tmp_path / "none").code == 2
    with pytest.raises(InputError, match="is 5"):
        pcam_api.cut_slides(three_slides, tmp_path / "out", three_slides, hard=5, progress=None)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    done = pcam(*words, *models, "--most", 8, "--json")
    assert done.code == 0, done.err
    assert [part["hard"] for part in json.loads(done.out)["slides"]] == [2, 2, 4]


def test_invariant_of_the_hardest_patches_unknown_ones_are_left_out_and_ties_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    hardness = np.round(rng.random(40), 1)
    hardness[rng.random(40) < 0.3] = np.nan
    rows = np.sort(rng.choice(40, 30, replace=False))
    known = [row for row in rows.tolist() if not np.isnan(hardness[row])]
    ranked = sorted(known, key=lambda row: (-hardness[row], row))
    for count in (0, 3, 12, 40):
        assert hardest_of(rows, hardness, count).tolist() == ranked[:count]


def test_mechanics_a_slide_without_outlines_is_asked_about(three_slides: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no annotations of slide a"):
        pcam_api.cut_slides(three_slides, tmp_path / "out", tmp_path, progress=None)
    made = pcam_api.cut_slides(
        three_slides / "a.tif", tmp_path / "out", tmp_path, unannotated=True, most=5, progress=None
    )
    assert [(part.tumor, part.normal) for part in made.parts] == [(0, 5)]


def feature(name: str | None, rings: Any = None, kind: str = "Polygon") -> dict[str, Any]:
    named = {} if name is None else {"classification": {"name": name}}
    geometry = {"type": kind, "coordinates": [SQUARE] if rings is None else rings}
    return {"type": "Feature", "geometry": geometry, "properties": named}


def test_mechanics_classes_are_understood_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    hole = [[2, 2], [4, 2], [4, 4]]
    features = [
        feature("Tumor", [SQUARE, hole]),
        feature("Stroma"),
        feature("Stroma"),
        feature("_2"),
        feature("Metastasis", [[SQUARE], [SQUARE]], "MultiPolygon"),
        feature(None, [1, 2], "Point"),
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read_annotations(path)
    assert [len(shape.rings) for shape in found.tumor] == [2, 1, 1]
    assert (len(found.excluded), found.other, found.ignored) == (1, {"Stroma": 2}, 1)
    assert len(read_annotations(path, ("Stroma",)).tumor) == 2
    path.write_text(json.dumps([feature(None), feature(None)]))
    assert len(read_annotations(path).tumor) == 2
    path.write_text(json.dumps([feature("Stroma")]))
    with pytest.raises(InputError, match="--tumor"):
        read_annotations(path)
    mask = found.mask(0, 0, (12, 12), 1.0)
    assert mask.sum() == 0  # what is excluded is drawn last, and here it is everything
    drawn = Annotations(found.tumor[:1]).mask(0, 0, (12, 12), 1.0)
    assert drawn[1, 1]
    assert not drawn[11, 11]


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="A" Type="Polygon" PartOfGroup="_0"><Coordinates>
<Coordinate Order="2" X="10" Y="10"/><Coordinate Order="0" X="0" Y="0"/>
<Coordinate Order="1" X="10" Y="0.5"/></Coordinates></Annotation>
<Annotation Name="B" Type="Polygon" PartOfGroup="_2"><Coordinates>
<Coordinate Order="0" X="1" Y="1"/><Coordinate Order="1" X="2" Y="1"/>
<Coordinate Order="2" X="2" Y="2"/></Coordinates></Annotation>
<Annotation Name="C" Type="Dot" PartOfGroup="_0"><Coordinates>
<Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>
</Annotations></ASAP_Annotations>"""


def test_mechanics_xml_of_asap_is_read_in_the_order_of_its_corners(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(ASAP)
    found = read_annotations(path)
    assert found.tumor[0].rings[0].tolist() == [[0, 0], [10, 0.5], [10, 10]]
    assert (len(found.tumor), len(found.excluded), found.ignored) == (1, 1, 1)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><ASAP_Annotations>&d;</ASAP_Annotations>'
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&b;</ASAP_Annotations>'
)
HOSTILE = {
    "laughs": ("a.xml", LAUGHS, "document type"),
    "outside": ("a.xml", OUTSIDE, "document type"),
    "deep xml": ("a.xml", "<ASAP_Annotations>" * 50, "nested too deeply"),
    "no xml": ("a.xml", "<ASAP_Annotations", "it is no XML"),
    "other xml": ("a.xml", "<svg/>", "no XML of ASAP"),
    "words": ("a.xml", ASAP.replace('X="10"', 'X="ten"'), "no pair of numbers"),
    "infinite": ("a.xml", ASAP.replace('X="10"', 'X="1e999"'), "no pair of numbers"),
    "deep": ("a.geojson", "[" * 100_000, "nested too deeply"),
    "cut off": ("a.geojson", '{"features": [', "cannot be read"),
    "number": ("a.geojson", "3", "no list"),
    "far": ("a.geojson", json.dumps([feature("Tumor", [[[0, 0], [1e12, 0], [0, 1]]])]), "pixels away"),
    "short": ("a.geojson", json.dumps([feature("Tumor", [[[0, 0], [1, 0]]])]), "three corners"),
    "flat": ("a.geojson", json.dumps([feature("Tumor", [[0, 0, 1, 1]])]), "no pair of numbers"),
    "true": ("a.geojson", json.dumps([feature("Tumor", [[[0, True], [1, 0], [1, 1]]])]), "no pair"),
    "empty": ("a.geojson", json.dumps([feature("Tumor", [])]), "no rings"),
    "no geometry": ("a.geojson", json.dumps([{"geometry": None}]), "no geometry"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_regression_hostile_annotations_are_one_sentence(tmp_path: Path, case: str) -> None:
    name, content, says = HOSTILE[case]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says) as told:
        read_annotations(tmp_path / name)
    assert str(told.value).count("\n") == 0
    assert "export them again" in str(told.value)


def test_invariant_a_line_that_crosses_itself_is_drawn_by_counting(tmp_path: Path) -> None:
    bow = Shape((np.array([[0.0, 0.0], [20.0, 20.0], [20.0, 0.0], [0.0, 20.0]]),))
    drawn = Annotations((bow,)).mask(0, 0, (21, 21), 1.0)
    assert drawn[10, 3]
    assert drawn[10, 17]
    assert not drawn[3, 10]
    assert not drawn[17, 10]
