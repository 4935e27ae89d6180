"""What is written in a folder that was there before is written through no link, by one function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pcam_features.cli import demo
from pcam_features.errors import InputError
from pcam_features.fetch.record import FetchRecord, add_to_record
from pcam_features.storage import links
from pcam_features.storage.files import whole_file, write_text
from pcam_features.storage.folders import clear_folder, one_process, remove, sweep

PACKAGE = Path(links.__file__).parents[1]
WRITERS = {  # the functions that write a file, and the number of arguments with the folder as the last
    "whole_file": 2,
    "write_text": 3,
    "write_json": 3,
    "write_bytes": 3,
    "write_sealed": 3,
}
INSIDE = ("store", "learn", "networks", "extraction")  # whose files are all in folders of pcam


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a stranger, with links to what is beside it."""
    made, outside = tmp_path / "given", tmp_path / "outside"
    (made / "own").mkdir(parents=True)
    (made / "own" / "file").write_text("mine")
    outside.mkdir()
    (outside / "thesis.txt").write_text("years")
    (made / "file").symlink_to(outside / "thesis.txt")
    (made / "folder").symlink_to(outside)
    (made / "nothing").symlink_to(outside / "new.txt")
    return made


@pytest.mark.parametrize(
    "name", ["file", "folder/new", "folder/new/er", "nothing", "folder/thesis.txt"]
)
def test_invariant_no_file_is_written_through_a_link(name: str, folder: Path) -> None:
    with pytest.raises(InputError, match=r"is a link, and nothing in .* is written through links"):
        write_text(folder / name, "lost", folder)
    outside = folder.parent / "outside"
    assert [file.name for file in outside.iterdir()] == ["thesis.txt"]
    assert (outside / "thesis.txt").read_text() == "years"


def test_mechanics_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other name").symlink_to(folder)
    write_text(tmp_path / "other name" / "own" / "file", "new", tmp_path / "other name")
    assert (folder / "own" / "file").read_text() == "new"


def test_mechanics_a_file_that_the_user_names_may_be_a_link(folder: Path) -> None:
    write_text(folder / "file", "new")
    assert (folder.parent / "outside" / "thesis.txt").read_text() == "new"
    assert (folder / "file").is_symlink()


def test_invariant_a_temporary_file_is_no_link(folder: Path) -> None:
    """A stranger may guess its name."""
    target = folder.parent / "outside" / "thesis.txt"
    with whole_file(folder / "own" / "new", folder) as temporary:
        pass
    temporary.symlink_to(target)
    with whole_file(folder / "own" / "new", folder) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "years"
    assert (folder / "own" / "new").read_text() == "new"


def test_mechanics_links_are_refused_where_one_would_write_or_be_led_out(folder: Path) -> None:
    with pytest.raises(InputError, match="is written through links"):
        links.check_written(folder)
    with pytest.raises(InputError, match=r"leads out of .*cp -rL"):
        links.check_read(folder)
    for name in ("file", "folder", "nothing"):
        (folder / name).unlink()
    links.check_written(folder)
    (folder / "twin").symlink_to(folder / "own" / "file")
    links.check_read(folder)
    with pytest.raises(InputError, match="is written through links"):
        links.check_written(folder)


def test_invariant_what_is_removed_is_the_link(folder: Path) -> None:
    (folder / "x.1.part-written").symlink_to(folder.parent / "outside")
    sweep(folder)
    remove(folder / "folder")
    clear_folder(folder)
    assert not list(folder.iterdir())
    assert (folder.parent / "outside" / "thesis.txt").read_text() == "years"


def test_invariant_a_lock_is_no_link(folder: Path) -> None:
    (folder / "lock").symlink_to(folder.parent / "outside" / "thesis.txt")
    with pytest.raises(InputError, match="is a link"), one_process(folder, "working"):
        pass
    assert (folder.parent / "outside" / "thesis.txt").read_text() == "years"


def calls() -> list[tuple[str, str, int]]:
    """Each call of a writer: where it is, the writer, and its number of arguments."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in WRITERS and not (
                name in ("write_text", "write_bytes") and hasattr(node.func, "attr")
            ):
                place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                found.append((place, name, len(node.args) + len(node.keywords)))
    return found


def test_invariant_every_writer_of_a_folder_names_the_folder() -> None:
    inside = [call for call in calls() if call[0].startswith(INSIDE)]
    assert len(inside) > 8, "the calls were not found"
    assert [call for call in inside if call[2] != WRITERS[call[1]]] == []


def test_invariant_downloads_and_demos_write_through_no_link(tmp_path: Path) -> None:
    target = tmp_path / "outside.json"
    for name, write in (
        ("fetched.json", lambda folder: add_to_record(folder, "file", FetchRecord("url", 1))),
        ("features", lambda folder: demo.run(folder, 8, 0, lambda words: None)),
    ):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / demo.MARK).write_text('{"patches": 8, "seed": 0}')
        (folder / name).symlink_to(target)
        with pytest.raises(InputError, match="is written through links"):
            write(folder)
    assert not target.exists()
