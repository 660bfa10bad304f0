"""What all scenes show alike: where it is written, what requests waited, and the table."""

from collections.abc import Callable, Iterable, Sequence
from math import inf, isnan

from rich.console import Console
from rich.table import Table

from scripts.demo_scene.record import Waits
from scripts.demo_scene.verdict import F

WIDTH = 118  # the lab's output is no terminal: say how wide it is
MS = 1e3
WAITS_HEADS = ("answers  p50   p99", " lost        ms")  # two lines above `waits_cells`

Row = tuple[str, Callable[[F], str]]


def console() -> Console:
    """Return where everything is written: standard output."""
    return Console(width=WIDTH, highlight=False)


def closing(out: Console, made: Table, judged: Iterable[str]) -> None:
    """Print the table and, in words, what it says."""
    out.print("", made)
    for text in judged:
        out.print(f"- {text}")


def quoted(out: Console, title: str, lines: Iterable[str]) -> None:
    """Show what a regime said of itself."""
    out.print(f"\n[bold]{title}[/bold]")
    for text in lines:
        out.print(f"  {text}", markup=False, soft_wrap=True)


def table(rows: Sequence[Row[F]], played: Sequence[F], ends: Sequence[str]) -> Table:
    """Return all figures, a column each regime; a line is drawn below the rows called `ends`."""
    made = Table("counted over the same seconds of the same scene", title_justify="left")
    for figures in played:
        made.add_column(figures.regime, justify="right")
    for title, cell in rows:
        made.add_row(title, *(cell(figures) for figures in played), end_section=title in ends)
    return made


def waits_cells(waits: Waits) -> str:
    """Return how many requests were answered and lost, and what the median and the slowest took."""
    lost = f"-{waits.given_up}" if waits.given_up else ""
    return f"{waits.answered:4}{lost:>4}{ms(waits.p50_s):>6}{ms(waits.p99_s):>6}"


def ms(seconds: float, *, endless: str = "gone") -> str:
    """Return a time in ms; `endless` is what to call a wait without end."""
    if isnan(seconds):
        return "-"
    if seconds == inf:
        return endless
    return f"{seconds * MS:.{0 if seconds * MS >= 9.95 else 1}f}"
