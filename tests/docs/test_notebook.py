"""The notebook runs from start to end, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_invariant_the_notebook_is_short_and_without_outputs(stored: Any) -> None:
    nbformat.validate(stored)
    assert len(stored.cells) == 12
    assert not any(cell.outputs or cell.execution_count for cell in code(stored))


# Kernels of Jupyter leave sockets to the garbage collector.
@pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning")
@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_mechanics_the_notebook_runs(
    stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the notebook keeps its store and model
    root = str(NOTEBOOK.parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    notebook = nbformat.from_dict(stored)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    cells = code(notebook)
    text = [str(cell.outputs) for cell in cells]
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert text[1].count("<img") == 9  # patches
    assert "color__mean__patch_red" in text[2]
    assert "combined" in text[3]
    assert "AUC" in text[4]
    assert "application/vnd.plotly.v1+json" in text[5]
