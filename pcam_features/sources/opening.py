"""How a source was opened, as a value that another process can open it with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..constants import Kind
from ..storage.urls import absolute
from .reading import EVERYTHING, Reading

NO_SLIDES = "none"  # instead of a table of slides


@dataclass(frozen=True)
class Opening:
    """The arguments of `detect.open_source` that decide what a source holds.

    Parameters
    ----------
    path, kind, slides, reading, fit, mpp
        See `detect.open_source`.
    """

    path: str
    kind: Kind | None = None
    slides: str | None = None
    reading: Reading = EVERYTHING
    fit: str | None = None
    mpp: float | None = None

    def absolute(self) -> Opening:
        """The same with absolute paths, for a process with another current folder.

        Examples
        --------
        >>> opening = Opening("synthetic:40", slides="none").absolute()
        >>> opening.path, opening.slides
        ('synthetic:40', 'none')
        """
        tables = {table: absolute(table) for table in self.reading.excluded_tables}
        exclude = tuple(tables.get(name, name) for name in self.reading.exclude)
        drawn = self.path.startswith(f"{Kind.synthetic}:")
        named = self.slides in (None, NO_SLIDES)
        return replace(
            self,
            path=self.path if drawn else absolute(self.path),
            slides=self.slides if named else absolute(str(self.slides)),
            reading=replace(self.reading, exclude=exclude),
        )
