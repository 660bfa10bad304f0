"""Options of `tidegate backtest --since`, and which go with it.

`status` loads this file too, so it imports nothing heavy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from agent.keys import shown
from agent.options import config_options, note_seconds
from agent.overrides import Override, parsed_override
from agent.units import parse_seconds

Command = TypeVar("Command", bound=Callable[..., Any])

_ONLY_SINCE = ("overrides", "config", "tenants_dir")
_RESOURCES = ("cpu", "memory")
_OF_BOTH = ("resource", "mode", "no_fits", "jobs", "as_json")


def _since_s(_context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        since_s = parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if since_s == 0:
        raise click.BadParameter("expected a duration above 0")
    note_seconds(option, text)
    return since_s


def _overrides(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[Override, ...]:
    found = []
    for text in texts:
        try:
            found.append(parsed_override(text))
        except ValueError as error:
            raise click.BadParameter(f"{error}; got {shown(text)}") from error
    return tuple(found)


def hindsight_options(command: Command) -> Command:
    """Add the options that replay what this host recorded."""
    for option in (
        config_options,
        click.option(
            "--set",
            "overrides",
            metavar="KEY=VALUE",
            multiple=True,
            callback=_overrides,
            help="With --since: replay also with this in place of what the files say; may be "
            "given several times.  SECTION.KEY, or tenants.NAME.KEY of a tenant's file.",
        ),
        click.option(
            "--since",
            "since_s",
            metavar="AGO",
            callback=_since_s,
            help="Instead of TRACE, replay what the agent recorded on this host since then: "
            "6h, 1d; up to 28d, after 1d in quarters of an hour.",
        ),
    ):
        command = option(command)
    return command


def check_options(context: click.Context, trace: Path | None, since_s: float | None) -> None:
    """Refuse what does not go together.

    Raises:
        click.UsageError: It is neither a trace nor a time, or both, or not all options go with it.

    """
    if (trace is None) == (since_s is None):
        what = "neither" if trace is None else "both"
        raise click.UsageError(f"expected either TRACE or --since, got {what}")
    given = given_options(context)
    if since_s is None:
        wrong = [option for name, option in given.items() if name in _ONLY_SINCE]
        if wrong:
            raise click.UsageError(f"{', '.join(wrong)}: only together with --since, not TRACE")
        return
    fitting = ("since_s", *_ONLY_SINCE, *_OF_BOTH)
    wrong = [option for name, option in given.items() if name not in fitting]
    if wrong:
        raise click.UsageError(
            f"{', '.join(wrong)}: not together with --since, which replays this host as recorded, "
            "in open loop, under its own configuration"
        )
    if context.params["resource"] not in _RESOURCES:
        raise click.UsageError(
            f"--resource: expected {' or '.join(_RESOURCES)} together with --since"
        )


def given_options(context: click.Context) -> dict[str, str]:
    """Return the options on the command line by the names of their parameters."""
    return {
        str(option.name): option.opts[0]
        for option in context.command.params
        if isinstance(option, click.Option) and is_given(context, str(option.name))
    }


def is_given(context: click.Context, name: str) -> bool:
    """Say whether an option stands on the command line."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE
