"""What is a URL, and what is said of URLs without the packages that read them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pcam_features.errors import URL_SCHEMES, InputError
from pcam_features.storage import urls
from pcam_features.storage.files import whole_file
from pcam_features.storage.folders import whole_folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/features", "s3://bucket/features"),
        ("gs://bucket/a/b/", "gs://bucket/a/b"),
        (Path("s3://bucket/features") / "manifest.json", "s3://bucket/features/manifest.json"),
        ("features", None),
        ("/data/s3://bucket", None),
        ("C:/data/features", None),
        ("file:///data/features", None),
        ("ftp://bucket/features", None),
        ("s3:", None),
        ("s3://", None),
    ],
)
def test_mechanics_urls_are_told_from_paths(path: str | Path, expected: str | None) -> None:
    assert urls.url_of(path) == expected
    assert urls.absolute(path) == (expected or str(Path(path).absolute()))


def test_mechanics_every_scheme_has_a_package() -> None:
    assert set(urls.PACKAGES) == set(URL_SCHEMES)


def test_mechanics_without_the_extra_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"^s3://bucket/x needs fsspec, .* run .*\[remote\]'\.$"):
        urls.size_of("s3://bucket/x")


def test_mechanics_nothing_is_written_to_a_folder_that_is_called_like_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    target = Path("s3://bucket/x")
    with pytest.raises(InputError, match=r"s3://bucket/x needs fsspec"), whole_file(target) as file:
        file.write_text("1")
    with (
        pytest.raises(InputError, match="a model to write has to be on a disk"),
        whole_folder(target, overwrite=True, what="model", mark="manifest.json", key="k"),
    ):
        pass
    assert not list(tmp_path.iterdir())
