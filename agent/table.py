"""Plain tables for a terminal: columns as wide as what they hold, fewer where it is narrow.  Pure.

Nothing here knows what is shown.  Text is ASCII; colours are added after all is measured.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")

_GAP = "  "
_NARROW_GAP = " "
_CUT = ".."
_MIN_TEXT = 20  # narrower than this nobody can read: let the terminal wrap


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column; the highest `rank` is the first to go where the screen is narrow.

    Where that is not enough, cells are cut in the middle, to no less than `shortest` (0: never).
    What room is left over goes to the last column: `within` says what a cell shows in so much.
    """

    title: str
    cell: Callable[[Row], str]
    group: str = ""
    is_left: bool = False
    rank: int = 0
    shortest: int = 0
    within: Callable[[Row, int], str] | None = None
    paint: Callable[[str, Row], str] | None = None


@dataclass(frozen=True, slots=True)
class _Fitted(Generic[Row]):
    """A column with its cells and its width."""

    column: Column[Row]
    cells: list[str]
    width: int

    def text(self, cell: str) -> str:
        """Return a cell as wide as the column."""
        return cell.ljust(self.width) if self.column.is_left else cell.rjust(self.width)


def table(
    columns: Sequence[Column[Row]], rows: Sequence[Row], *, width: int
) -> tuple[list[str], list[str], list[str]]:
    """Return head lines, a line for each row, and what was left out to keep within `width`."""
    fitted = [_fitted(column, rows) for column in columns]
    hidden = []
    gap = _GAP
    while _total(fitted, gap) > width:
        if gap == _GAP:
            gap = _NARROW_GAP
            continue
        last = max(fitted, key=lambda one: one.column.rank)
        if last.column.rank == 0:
            break
        fitted.remove(last)
        hidden.append(f"{last.column.group} {last.column.title}".strip().lower())
        gap = _GAP
    for at, one in enumerate(fitted):
        cut = _cut(one, one.width - (_total(fitted, gap) - width))
        if cut.width < one.width:
            fitted[at] = cut
            hidden.insert(0, f"{one.column.title.lower()} in full")
    if fitted:
        fitted[-1] = _filled(fitted[-1], rows, fitted[-1].width + width - _total(fitted, gap))
    return _head(fitted, gap), _body(fitted, rows, gap), hidden[::-1]


def labelled(pairs: Iterable[tuple[str, str]], *, width: int, indent: int = 2) -> list[str]:
    """Return labels with paragraphs beside them, wrapped at `width`."""
    pairs = list(pairs)
    margin = indent + max((len(label) for label, _ in pairs), default=0) + len(_GAP)
    lines: list[str] = []
    for label, text in pairs:
        wrapped = paragraph(text, width=width - margin) or [""]
        start = " " * indent + label
        lines += [
            f"{start if at == 0 else '':{margin}}{line}".rstrip() for at, line in enumerate(wrapped)
        ]
    return lines


def paragraph(text: str, *, width: int) -> list[str]:
    """Return `text` wrapped at `width`, names and numbers in one piece."""
    return textwrap.wrap(
        text, max(width, _MIN_TEXT), break_long_words=False, break_on_hyphens=False
    )


def _fitted(column: Column[Row], rows: Sequence[Row]) -> _Fitted[Row]:
    cells = [column.cell(row) for row in rows]
    return _Fitted(column, cells, max([len(column.title), *map(len, cells)]))


def _filled(one: _Fitted[Row], rows: Sequence[Row], width: int) -> _Fitted[Row]:
    """Return a column that shows as much as fits in `width`, if it has more to show."""
    within = one.column.within
    if within is None:
        return one
    cells = [within(row, width) for row in rows]
    return _Fitted(one.column, cells, max([one.width, *map(len, cells)]))


def _cut(one: _Fitted[Row], width: int) -> _Fitted[Row]:
    """Return a column no wider than `width`, as far as it may be cut."""
    width = max(width, one.column.shortest, len(one.column.title))
    if not one.column.shortest or width >= one.width:
        return one
    head, tail = (width - len(_CUT) + 1) // 2, (width - len(_CUT)) // 2
    cells = [
        cell if len(cell) <= width else f"{cell[:head]}{_CUT}{cell[-tail:]}" for cell in one.cells
    ]
    return _Fitted(one.column, cells, width)


def _total(fitted: Sequence[_Fitted[Row]], gap: str) -> int:
    return sum(one.width for one in fitted) + len(gap) * (len(fitted) - 1)


def _head(fitted: Sequence[_Fitted[Row]], gap: str) -> list[str]:
    titles = gap.join(one.text(one.column.title) for one in fitted).rstrip()
    groups = _groups(fitted, gap)
    return [groups, titles] if groups else [titles]


def _groups(fitted: Sequence[_Fitted[Row]], gap: str) -> str:
    """Return each group's name in the middle of a line over its columns."""
    parts: list[tuple[str, int]] = []
    for one in fitted:
        group = one.column.group
        if parts and group and parts[-1][0] == group:
            parts[-1] = (group, parts[-1][1] + len(gap) + one.width)
        else:
            parts.append((group, one.width))
    if not any(group for group, _ in parts):
        return ""
    return gap.join(
        f" {group} ".center(width, "-") if group else " " * width for group, width in parts
    ).rstrip()


def _body(fitted: Sequence[_Fitted[Row]], rows: Sequence[Row], gap: str) -> list[str]:
    """Return a line for each row; nothing follows the last column, so it needs no padding."""
    columns = [
        [
            _painted(one, cell, row, is_last=one is fitted[-1])
            for cell, row in zip(one.cells, rows, strict=True)
        ]
        for one in fitted
    ]
    return [gap.join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _painted(one: _Fitted[Row], cell: str, row: Row, *, is_last: bool) -> str:
    text = cell if is_last and one.column.is_left else one.text(cell)
    return one.column.paint(text, row) if one.column.paint else text
