"""Docstrings where Python was told to drop them (`python -OO`, `PYTHONOPTIMIZE=2`).

XGBoost edits its own docstrings when it is imported, and fails without them. The help of commands and
the descriptions of families are docstrings as well. So these packages are compiled as without the
option; all others stay as Python was told.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

PACKAGES = ("pcam_features", "xgboost")


class WithDocstrings(SourceFileLoader):
    """Loads a module from its source with docstrings; Python's cache of bytecode has none."""

    def get_code(self, fullname: str) -> CodeType:
        """The module's code."""
        source = self.get_data(self.path)
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True, optimize=0)
        return code


class Finder:
    """Finds the modules of PACKAGES."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is and how it is loaded; None if it is no source file of these packages."""
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = WithDocstrings(spec.loader.name, spec.loader.path)
        return spec


def keep_docstrings() -> None:
    """Let modules that are imported from now on have docstrings, if Python was told to drop them."""
    if sys.flags.optimize > 1 and Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
