"""A command that works in two processes, `works.held_up` each: to be run, killed, interrupted.

An item is "waits" or "fails"; with "starts" first, its workers hang before they have begun.
"""

import os
import signal
import sys
from contextlib import suppress

import click
from works import held_up

from agent.backtest.parallel import WorkerGoneError, in_parallel
from agent.exits import fail


@click.command()
@click.argument("items", nargs=-1)
def main(items: tuple[str, ...]) -> None:
    """Work, and end as commands do."""
    try:
        in_parallel(held_up, items, jobs=2, tell=lambda _: None)
    except (ValueError, WorkerGoneError) as error:
        fail([str(error)])


class _GoOnError(Exception):
    """What a signal raises, also one that comes before the wait for it."""


def hang() -> None:
    """Say that this process is here, and wait for SIGUSR1."""

    def go_on(*_: object) -> None:
        raise _GoOnError

    signal.signal(signal.SIGUSR1, go_on)
    with suppress(_GoOnError):
        click.echo(os.getpid())
        while True:
            signal.pause()


if __name__ == "__mp_main__" and sys.argv[1] == "starts":
    hang()
if __name__ == "__main__":
    # Tests in the background ignore interrupts, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
