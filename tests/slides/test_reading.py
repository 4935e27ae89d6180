"""Reading slides: regions, levels, scales, and files that are damaged or no slides."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import SHARED, Result
from PIL import Image

from pcam_features.errors import InputError
from pcam_features.execution.executor import Threads
from pcam_features.slides import reading, tissue
from pcam_features.slides.pyramid import UnreadableError
from pcam_features.slides.reading import open_slide
from pcam_features.slides.tiff import TiffSlide
from pcam_features.slides.tissue import overview
from pcam_features.sources.fitting import resized

SCAN = SHARED / "slides" / "cmu-1-small-region.svs"
PLACES = [(0, 0), (317, 1204), (1790, 2500)]
MPPS = [0.499, 0.972, 1.944]


def openslide_or_skip() -> Any:
    module = reading.openslide_module()
    if module is None:
        pytest.skip("OpenSlide is not installed (extra slides)")
    return module


@pytest.fixture
def without_openslide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "openslide_module", lambda: None)


@pytest.fixture(scope="module")
def scan() -> Path:
    if not SCAN.is_file():
        pytest.skip(f"no scan {SCAN}")
    return SCAN


def picture(width: int, height: int) -> np.ndarray:
    """A picture in which every pixel's place can be told."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x % 251, y % 241, (x // 251 + y // 241) * 16 % 256], axis=-1).astype(np.uint8)


@pytest.mark.usefixtures("without_openslide")
def test_oracle_regions_of_a_scan_are_those_of_pillow(scan: Path) -> None:
    with Image.open(scan) as image:
        whole = np.asarray(image.convert("RGB"))
    with open_slide(scan) as slide:
        assert slide.mpp == 0.499
        assert slide.pixels.reader == "tifffile and Pillow"
        assert [(one.width, one.height) for one in slide.levels] == [(2220, 2967)]
        for mpp in MPPS:
            side = round(96 * mpp / 0.499)
            for x, y in PLACES:
                expected = resized(whole[y : y + side, x : x + side], (96, 96))
                np.testing.assert_array_equal(slide.region(x, y, (96, 96), mpp), expected)


def test_oracle_regions_of_a_scan_are_those_of_openslide(
    scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openslide = openslide_or_skip()
    expected = openslide.OpenSlide(str(scan))
    with open_slide(scan) as theirs:
        monkeypatch.setattr(reading, "openslide_module", lambda: None)
        assert theirs.pixels.reader.startswith("OpenSlide")
        with open_slide(scan) as ours:
            assert theirs.levels == ours.levels
            assert theirs.mpp == ours.mpp
            for mpp in MPPS:
                for x, y in PLACES:
                    side = round(96 * mpp / 0.499)
                    region = np.asarray(expected.read_region((x, y), 0, (side, side)).convert("RGB"))
                    for slide in (theirs, ours):
                        found = slide.region(x, y, (96, 96), mpp)
                        np.testing.assert_array_equal(found, resized(region, (96, 96)))


def test_oracle_levels_of_a_pyramid_are_those_of_openslide(
    pyramid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openslide = openslide_or_skip()
    expected = openslide.OpenSlide(str(pyramid))
    monkeypatch.setattr(reading, "openslide_module", lambda: None)
    with open_slide(pyramid) as ours:
        sizes = [(one.width, one.height) for one in ours.levels]
        assert sizes == list(expected.level_dimensions)
        assert len(sizes) == 3
        assert ours.mpp == pytest.approx(float(expected.properties["openslide.mpp-x"]))
        for k, (width, height) in enumerate(sizes):
            region = np.asarray(expected.read_region((0, 0), k, (width, height)).convert("RGB"))
            np.testing.assert_array_equal(ours.pixels.read(k, 0, 0, width, height), region)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiled pyramid of three levels, in deflate with a predictor."""
    path = tmp_path_factory.mktemp("pyramid") / "pyramid.tif"
    pixels = picture(500, 380)
    with tifffile.TiffWriter(path) as file:
        for k in range(3):
            file.write(
                pixels[:: 2**k, :: 2**k],
                tile=(64, 64),
                compression="adobe_deflate",
                predictor=k < 2,
                photometric="rgb",
                subfiletype=min(k, 1),
                resolution=(20_000 / 2**k, 20_000 / 2**k),
                resolutionunit="CENTIMETER",
            )
    return path


@pytest.mark.usefixtures("without_openslide")
def test_oracle_levels_of_a_pyramid_are_those_of_tifffile(pyramid: Path) -> None:
    with open_slide(pyramid) as slide:
        assert slide.mpp == 0.5
        assert [round(level.downsample) for level in slide.levels] == [1, 2, 4]
        assert [slide.level_for(mpp) for mpp in (0.3, 0.5, 0.972, 1.0, 2.0, 9.0)] == [0, 0, 0, 1, 2, 2]
        for k, level in enumerate(slide.levels):
            read = slide.pixels.read(k, 0, 0, level.width, level.height)
            np.testing.assert_array_equal(read, tifffile.imread(pyramid, key=k))
            np.testing.assert_array_equal(read[30:90, 20:110], slide.pixels.read(k, 20, 30, 90, 60))


@pytest.mark.usefixtures("without_openslide")
@pytest.mark.parametrize("kind", ["raw", "lzw", "jpeg", "one strip", "png", "jpg"])
def test_oracle_flat_files_are_read_as_pillow_reads_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"flat.{kind if kind in ('png', 'jpg') else 'tif'}"
    image = Image.fromarray(picture(300, 200))
    options: dict[str, Any] = {"dpi": (25_400 / 0.5, 25_400 / 0.5)}
    if kind in ("lzw", "jpeg"):
        options["compression"] = {"lzw": "tiff_lzw", "jpeg": "jpeg"}[kind]
    if kind == "one strip":
        options["strip_size"] = 1 << 30
    image.save(path, **options)
    with Image.open(path) as again:
        expected = np.asarray(again.convert("RGB"))
    with open_slide(path, mpp=0.25 if kind == "jpg" else None) as slide:
        assert slide.mpp == pytest.approx(0.25 if kind == "jpg" else 0.5, rel=1e-3)
        np.testing.assert_array_equal(slide.pixels.read(0, 0, 0, 300, 200), expected)
        np.testing.assert_array_equal(slide.pixels.read(0, 7, 150, 200, 50), expected[150:, 7:207])


@pytest.mark.usefixtures("without_openslide")
def test_invariant_threads_read_the_same_and_memory_is_bounded(pyramid: Path) -> None:
    with open_slide(pyramid, cache=1) as slide:  # one tile fits, whatever its size
        corners = [(x, y) for x in range(0, 400, 37) for y in range(0, 280, 41)]

        def read(at: tuple[int, int]) -> np.ndarray:
            return slide.region(*at, (64, 64), 0.5)

        alone = [read(at) for at in corners]
        for one, other in zip(alone, Threads(4).map(read, corners), strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(slide.pixels._cache._kept) == 1  # type: ignore[attr-defined]


@pytest.mark.usefixtures("without_openslide")
def test_regression_a_damaged_tile_leaves_the_others_readable(pyramid: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    content = bytearray(pyramid.read_bytes())
    with tifffile.TiffFile(pyramid) as file:
        page = file.pages[0]
        offset = page.dataoffsets[9]  # type: ignore[union-attr]
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    with open_slide(path) as slide, open_slide(pyramid) as whole:
        with pytest.raises(UnreadableError, match="tile 9 of level 0 cannot be read"):
            slide.region(64, 64, (64, 64), 0.5)
        np.testing.assert_array_equal(
            slide.region(0, 0, (64, 64), 0.5), whole.region(0, 0, (64, 64), 0.5)
        )


@pytest.mark.usefixtures("without_openslide")
def test_regression_a_tile_of_another_size_than_declared_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    large = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(large, "JPEG")
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter([large.getvalue()]),
            shape=(64, 64, 3),
            dtype="uint8",
            tile=(64, 64),
            compression="adobe_deflate",
            photometric="ycbcr",
        )
    with tifffile.TiffFile(path, mode="r+") as opened:
        opened.pages[0].tags[259].overwrite(7)  # type: ignore[union-attr]
    with open_slide(path, mpp=0.5) as slide, pytest.raises(UnreadableError, match="3000×3000"):
        slide.region(0, 0, (64, 64), 0.5)


def huge(path: Path) -> None:
    """A TIFF file of a few bytes that says it has billions of pixels."""
    tags = [(256, 4, 1 << 31), (257, 4, 1 << 31), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 8)]
    tags += [(277, 3, 3), (278, 4, 1 << 31), (279, 4, 10)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4))


def many_tiles(path: Path) -> None:
    """A TIFF file that lists one tile and says it has a million."""
    tags = [(256, 4, 256_000), (257, 4, 256_000), (258, 3, 8), (259, 3, 1), (262, 3, 2), (277, 3, 3)]
    tags += [(322, 3, 256), (323, 3, 256), (324, 4, 8), (325, 4, 10)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4))


def huge_png(path: Path) -> None:
    """A PNG file whose header says 60,000 × 60,000."""
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", __import__("zlib").crc32(content[12:29]))
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    """The first bytes of a TIFF file."""
    content = io.BytesIO()
    Image.fromarray(picture(200, 200)).save(content, "TIFF", compression="tiff_lzw")
    path.write_bytes(content.getvalue()[:300])


def label_only(path: Path) -> None:
    """An Aperio file that holds only the picture of the label."""
    told = "Aperio Image Library v11.2.1 \nlabel 387x463"
    tifffile.imwrite(path, picture(387, 463), description=told, metadata=None, photometric="rgb")


def deep(path: Path) -> None:
    """A TIFF file of 16 bits a channel."""
    tifffile.imwrite(path, picture(100, 100).astype(np.uint16), photometric="rgb")


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "huge": ("huge.tif", huge, "says that it has 2,147,483,648×2,147,483,648 pixels"),
    "many tiles": ("many.tif", many_tiles, "cannot hold 1,000,000 tiles"),
    "huge png": ("huge.png", huge_png, "more than 150,000,000 pixels in one piece"),
    "cut off": ("cut.tif", cut_off, "cut off"),
    "empty": ("empty.svs", lambda path: path.write_bytes(b""), "is empty"),
    "text": ("notes.tif", lambda path: path.write_text("a slide"), "not a TIFF, PNG or JPEG file"),
    "folder": ("folder.svs", lambda path: path.mkdir(), "is a folder"),
    "absent": ("absent.svs", lambda path: None, "does not exist"),
    "vendor": ("a.mrxs", lambda path: path.write_bytes(b"\xff\xd8"), "pip install .*\\[slides\\]'"),
    "label": ("label.svs", label_only, "label or of the whole glass"),
    "16 bits": ("deep.tif", deep, "not 8-bit RGB"),
}


@pytest.mark.usefixtures("without_openslide")
@pytest.mark.parametrize("case", BAD)
def test_regression_what_is_no_slide_is_one_sentence(tmp_path: Path, case: str) -> None:
    name, make, says = BAD[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=says) as told, open_slide(path, mpp=0.5):
        pass
    sentence = str(told.value)
    assert sentence.startswith(str(path))
    assert sentence.count("\n") == 0
    assert sentence.endswith(".")


@pytest.mark.parametrize("case", BAD)
def test_regression_what_is_no_slide_is_one_sentence_with_openslide(tmp_path: Path, case: str) -> None:
    openslide_or_skip()
    name, make, _ = BAD[case]
    make(tmp_path / name)
    with pytest.raises(InputError) as told, open_slide(tmp_path / name, mpp=0.5):
        pass
    sentence = str(told.value)
    assert sentence.startswith(str(tmp_path / name))
    assert sentence.count("\n") == 0


@pytest.mark.usefixtures("without_openslide")
def test_invariant_an_overview_reads_pieces_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flat.tif"
    sizes: list[tuple[int, int]] = []
    read = TiffSlide.read

    def noting(self: Any, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        sizes.append((width, height))
        return read(self, level, x, y, width, height)

    tifffile.imwrite(path, picture(1700, 1100), tile=(256, 256), photometric="rgb")
    monkeypatch.setattr(TiffSlide, "read", noting)
    with open_slide(path, mpp=0.486) as slide:
        usual = overview(slide, 7.776, threads=1)
        assert len(sizes) == 1  # 106 × 68 pixels of the overview
        monkeypatch.setattr(tissue, "READ", 300)
        sizes.clear()
        small = overview(slide, 7.776, threads=1)
    assert len(sizes) > 10
    assert max(max(size) for size in sizes) <= 300
    np.testing.assert_array_equal(small.pixels, usual.pixels)


def test_mechanics_an_unknown_scale_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (200, 200)).save(path, dpi=(72, 72))
    with pytest.raises(InputError, match="--mpp"), open_slide(path):
        pass
    with pytest.raises(InputError, match="--mpp"), open_slide(path, mpp=0):
        pass
    with open_slide(path, mpp=0.5) as slide:
        assert slide.mpp == 0.5
        with pytest.raises(ValueError, match="beyond"):
            slide.region(150, 0, (96, 96), 0.5)


def test_invariant_synthetic_slides_are_the_same_bytes(
    pcam: Callable[..., Result], tmp_path: Path
) -> None:
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    small = ("--width", 1200, "--height", 700, "--nests", 2, "--seed", 3)
    assert pcam("synth-slide", one, *small).code == 0
    assert pcam("synth-slide", other, *small, "--threads", 1).code == 0
    assert one.read_bytes() == other.read_bytes()
    outlines = one.with_suffix(".geojson").read_bytes()
    assert outlines == other.with_suffix(".geojson").read_bytes()
    assert outlines.count(b'"Tumor"') == 2
    refused = pcam("synth-slide", one, *small)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    with open_slide(one) as slide:
        assert slide.mpp == pytest.approx(0.486, rel=1e-5)  # a ratio of whole numbers in the file
        assert [(level.width, level.height) for level in slide.levels] == [(1200, 700), (300, 175)]
        corner = slide.region(0, 0, (24, 24), 0.972)
        assert corner.min() > 200  # glass
        middle = slide.region(504, 252, (96, 96), 0.972)
        assert middle.mean() < 200
        lower = slide.pixels.read(1, 0, 0, 300, 175).astype(float)
        upper = resized(slide.pixels.read(0, 0, 0, 1200, 700), (300, 175)).astype(float)
        shifted = np.abs(lower[1:] - upper[:-1]).mean()
        assert np.abs(lower - upper).mean() < shifted / 3
    for option, value in (("--width", 10), ("--height", 200_000), ("--nests", 5000)):
        assert pcam("synth-slide", tmp_path / "x.tif", option, value).code == 2
