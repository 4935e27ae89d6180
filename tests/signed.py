"""Manifests of stores and models as whoever changed them would sign them: with sums that fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pcam_features.storage.sums import FileSum, sealed
from pcam_features.store.layout import part_path


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with a sum of its own that fits; numbers that are no JSON have none."""
    try:
        manifest = sealed(manifest)
    except ValueError:
        manifest = manifest | {"sum": ""}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def sign(folder: Path) -> None:
    """Let the manifest list the files of a store or a model as they are now."""
    manifest = manifest_of(folder)
    for name, split in manifest.get("splits", {}).items():
        tables = {"patches": split["patches"]}
        tables |= {family: state["parts"] for family, state in split["families"].items()}
        for table, sums in tables.items():
            files = [part_path(folder, name, table, part) for part in range(len(sums))]
            sums[:] = [str(FileSum.of_file(file)) if file.exists() else None for file in files]
    for name in manifest.get("files", {}):
        if (folder / name).exists():
            manifest["files"][name] = str(FileSum.of_file(folder / name))
    seal(folder, manifest)
