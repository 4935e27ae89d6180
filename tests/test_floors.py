"""The house: a folder imports only what stands below it, and nothing imports in a circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pcam_features"

# From the top floor down. Folders on one line stand side by side and do not import each other.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("sklearn",),
    ("api",),
    ("diagnostics",),
    ("slides",),
    ("extraction",),
    ("encoders",),
    ("report",),
    ("learn",),
    ("networks",),
    ("evaluate",),
    ("check",),
    ("grouping",),
    ("families",),
    ("store",),
    ("fetch", "convert"),
    ("engine",),
    ("sources",),
    ("storage",),
    ("execution",),
    ("geometry", "constants", "words", "extras"),
    ("errors", ""),  # the package itself: its version, and names that are loaded when asked for
    ("optimized",),
)
FLOOR = {room: len(FLOORS) - k for k, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its name below it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The package's own modules that a module imports, anywhere in it."""
    package = name.split(".") if path.name == "__init__.py" and name else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(one.name.startswith(PACKAGE.name) for one in node.names), path
        if not isinstance(node, ast.ImportFrom):
            continue
        if not node.level:
            assert not (node.module or "").startswith(PACKAGE.name), f"{path}: import relatively"
            continue
        base = package[: len(package) - node.level + 1]
        target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
        for one in node.names:
            inner = f"{target}.{one.name}".strip(".")
            found.add(inner if inner in known else target)
    return found - {name}


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_invariant_every_room_has_a_floor() -> None:
    assert {room(name) for name in modules()} <= set(FLOOR)


def test_invariant_no_arrow_runs_up(arrows: dict[str, set[str]]) -> None:
    up = [
        f"{source} -> {target}"
        for source, targets in arrows.items()
        for target in sorted(targets)
        if room(source) != room(target) and FLOOR[room(source)] <= FLOOR[room(target)]
    ]
    assert not up


def test_invariant_no_module_imports_in_a_circle(arrows: dict[str, set[str]]) -> None:
    tuple(TopologicalSorter(arrows).static_order())  # raises CycleError, which names the circle


def test_habit_test_modules_have_names_of_their_own() -> None:
    # pytest imports modules of folders that are no packages by their names alone.
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py") if not is_in_package(path)]
    assert sorted(set(names)) == sorted(names)


def is_in_package(path: Path) -> bool:
    return (path.parent / "__init__.py").is_file()
