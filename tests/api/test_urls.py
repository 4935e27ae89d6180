"""Stores, sources and predictions at URLs, over HTTP with a server that speaks S3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import files_in

import pcam_features as pcam
from pcam_features.api import copying
from pcam_features.errors import InputError, PcamError
from pcam_features.storage import urls
from pcam_features.storage.sums import MANIFEST

s3fs = pytest.importorskip("s3fs", reason="the extra remote brings s3fs")
moto = pytest.importorskip(
    "moto.server", reason="the tests' extra brings moto, a server that speaks S3"
)

files_of = partial(files_in, without=("lock",))  # of an open or a finished run
BUCKET = "s3://patches"
NOBODY = "http://127.0.0.1:9"  # the port of a service that nobody runs


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that speaks S3."""
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `patches`; yields the file system."""
    for name, value in (
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir("patches")
    yield files
    files.rm("patches", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "store"
    pcam.extract("synthetic:160:16:1", folder, families="color", copies=0, progress=None)
    return folder


def upload(bucket: Any, folder: Path) -> None:
    """Put the files of a folder into the bucket, below `data`."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.pipe_file(f"patches/data/{file.relative_to(folder)}", file.read_bytes())


def test_parity_a_store_that_went_to_a_url_and_back_has_the_same_bytes(
    bucket: Any, store: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    pcam.copy(store, f"{BUCKET}/a/features", progress=None, log=said.append)
    assert said[0].startswith("s3://patches/a/features: a copy of feature store")
    pcam.copy(f"{BUCKET}/a/features", tmp_path / "back", progress=None)
    assert files_of(tmp_path / "back") == files_of(store)


def test_parity_a_store_at_a_url_is_read_as_on_the_disk(bucket: Any, store: Path) -> None:
    pcam.copy(store, f"{BUCKET}/features", progress=None)
    there = pcam.open_store(f"{BUCKET}/features")
    pd.testing.assert_frame_equal(there.frame("train"), pcam.open_store(store).frame("train"))
    bucket.pipe_file("patches/features/train/color/part-00000.parquet", b"PAR1")
    with pytest.raises(InputError, match="damaged"):
        there.frame("train")


def test_invariant_a_store_at_a_url_is_there_only_with_its_manifest(
    bucket: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = urls.write

    def stopping(path: Path, content: bytes, **how: Any) -> None:
        if path.name == MANIFEST:
            raise KeyboardInterrupt
        write(path, content, **how)

    monkeypatch.setattr(urls, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        pcam.copy(store, f"{BUCKET}/features", progress=None)
    monkeypatch.undo()
    with pytest.raises(InputError, match="is not a feature store"):
        pcam.open_store(f"{BUCKET}/features")


def test_mechanics_a_copy_at_a_url_is_replaced_only_if_that_is_asked_for(
    bucket: Any, store: Path, tmp_path: Path
) -> None:
    target = f"{BUCKET}/features"
    pcam.extract("synthetic:60:6:2", tmp_path / "other", families="color,lbp", copies=0, progress=None)
    pcam.copy(tmp_path / "other", target, progress=None)
    with pytest.raises(InputError, match="exists already"):
        pcam.copy(store, target, progress=None)
    pcam.copy(store, target, overwrite=True, progress=None)
    names = {name.removeprefix("patches/features/") for name in bucket.find("patches/features")}
    assert names == set(files_of(store))


def test_mechanics_a_damaged_file_is_not_copied(bucket: Any, store: Path, tmp_path: Path) -> None:
    pcam.copy(store, f"{BUCKET}/features", progress=None)
    bucket.pipe_file("patches/features/train/color/part-00000.parquet", b"PAR1")
    with pytest.raises(InputError, match=r"train/color/part-00000.parquet is damaged"):
        pcam.copy(f"{BUCKET}/features", tmp_path / "back", progress=None)
    assert not list(tmp_path.iterdir())


def test_mechanics_a_manifest_that_leads_elsewhere_is_not_copied(
    bucket: Any, store: Path, tmp_path: Path
) -> None:
    bucket.pipe_file("patches/features/manifest.json", b'{"store_version": 2, "sum": "0"}')
    with pytest.raises(InputError, match="cannot be used"):
        pcam.copy(f"{BUCKET}/features", tmp_path / "back", progress=None)


def test_mechanics_two_clients_do_not_replace_each_others_manifest(bucket: Any, store: Path) -> None:
    found = copying.Listing.of(store)
    urls.write(Path(f"{BUCKET}/features") / MANIFEST, b"{}")
    with pytest.raises(InputError, match="exists already"):
        urls.write(Path(f"{BUCKET}/features") / MANIFEST, found.manifest, new=True)


def test_parity_predictions_at_a_url_are_those_on_the_disk(
    bucket: Any, store: Path, tmp_path: Path
) -> None:
    model = pcam.fit(store, tmp_path / "model", folds=3, progress=None)
    found = model.predict_split(store, "test", progress=None)
    found.write(tmp_path / "test.csv")
    found.write(f"{BUCKET}/predictions/test.csv")
    assert bucket.cat_file("patches/predictions/test.csv") == (tmp_path / "test.csv").read_bytes()
    assert set(bucket.find("patches/predictions")) == {
        "patches/predictions/test.csv",
        "patches/predictions/test.cost.json",
    }
    patches = pcam.open_store(store).patches("test")
    truth = patches[["id", "label"]].astype({"label": int})
    bucket.pipe_file("patches/truth.csv", truth.to_csv(index=False).encode())
    slides = dict(patches[["id", "slide"]].to_numpy())
    here = pcam.compare(truth, {"a": tmp_path / "test.csv"}, slides=slides)
    predictions = {"a": f"{BUCKET}/predictions/test.csv"}
    there = pcam.compare(f"{BUCKET}/truth.csv", predictions, slides=slides)
    pd.testing.assert_frame_equal(there.models, here.models)


def test_parity_parquet_patches_at_a_url_are_those_on_the_disk(bucket: Any, tmp_path: Path) -> None:
    pcam.convert_source("synthetic:40:4:1", tmp_path / "data", to="parquet", progress=None)
    upload(bucket, tmp_path / "data")
    here, there = (
        pcam.open_source(path, progress=None) for path in (tmp_path / "data", f"{BUCKET}/data")
    )
    assert (there.path, there.kind) == (f"{BUCKET}/data", "parquet")
    assert there.ids == here.ids
    assert there.slides == here.slides
    for k in (0, 17, 39):
        np.testing.assert_array_equal(there.images[k], here.images[k])


def test_mechanics_a_connection_that_is_lost_while_patches_are_read_is_one_sentence(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcam.convert_source("synthetic:40:4:1", tmp_path / "data", to="parquet", progress=None)
    upload(bucket, tmp_path / "data")
    monkeypatch.setattr(urls, "opened", lambda path: Gone())
    with pytest.raises(PcamError, match=r"nobody answers for s3://patches/data/\S+ \(it is gone\)"):
        pcam.open_source(f"{BUCKET}/data", progress=None)


class EndpointConnectionError(Exception):
    """What botocore raises, which is no OSError."""


class Gone(io.RawIOBase):
    """A file at a URL whose server does not answer any more."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *where: int) -> int:
        raise EndpointConnectionError("it is gone")


@pytest.mark.usefixtures("bucket")
def test_mechanics_what_is_wrong_with_a_url_is_one_sentence(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"there is no bucket for s3://nowhere/features"):
        pcam.copy(store, "s3://nowhere/features", progress=None)
    with pytest.raises(InputError, match=r"there are no Parquet files of patches at s3://patches/none"):
        pcam.open_source(f"{BUCKET}/none", progress=None)
    with pytest.raises(InputError, match=r"s3://patches/model is a URL, and .* has to be on a disk"):
        pcam.fit(store, f"{BUCKET}/model", progress=None)
    with pytest.raises(InputError, match=r"a feature store to write has to be on a disk"):
        pcam.extract("synthetic:60", f"{BUCKET}/features", progress=None)
    with pytest.raises(InputError, match=r"gs://patches/x/manifest.json needs the package gcsfs"):
        pcam.open_store("gs://patches/x")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("bucket")
def test_mechanics_no_credentials_and_no_server_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in (
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none")),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"there are no credentials for s3://patches/features"):
        pcam.open_store(f"{BUCKET}/features")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PcamError, match=r"nobody answers for s3://patches/features") as caught:
        pcam.open_store(f"{BUCKET}/features")
    assert caught.value.exit_code == 1
    s3fs.S3FileSystem.clear_instance_cache()
