"""How far a backtest has come: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_TELL_EVERY_S = 10.0


@contextmanager
def progress(steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on the terminal, and a line every ten seconds where standard error is none."""
    if not sys.stderr.isatty():
        yield _Lines(steps, label).tell
        return
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield bar.update


class _Lines:
    """Progress for a log: a line now and then, and none of what is done within seconds."""

    def __init__(self, steps: int, label: str) -> None:
        self._steps, self._label, self._done = max(steps, 1), label, 0
        self._begun_s = self._told_s = time.monotonic()

    def tell(self, steps: int) -> None:
        """Take note of some more steps."""
        self._done += steps
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = now_s
        pct = min(100 * self._done // self._steps, 99)
        click.echo(f"{self._label}: {pct} % after {now_s - self._begun_s:.0f} s", err=True)
