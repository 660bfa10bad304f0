"""Options of `tidegate backtest --forecast`, and which go with it.

`status` loads this file too, so it imports nothing heavy.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from agent.backtest.hindsight_options import given_options

Command = TypeVar("Command", bound=Callable[..., Any])

_ONLY_FORECAST = ("tenants", "seed", "experts", "autoets_tenants", "scored_pct")
_WITH_FORECAST = ("is_evaluated", *_ONLY_FORECAST, "resource", "jobs", "as_json")
_LEAST_PCT, _MOST_PCT = 1, 99


def evaluation_options(command: Command) -> Command:
    """Add the options that judge forecasts."""
    for option in (
        click.option(
            "--scored",
            "scored_pct",
            type=click.IntRange(_LEAST_PCT, _MOST_PCT),
            default=50,
            show_default=True,
            metavar="PERCENT",
            help="With --forecast: how much of TRACE counts, its end; the rest warms up.",
        ),
        click.option(
            "--autoets",
            "autoets_tenants",
            type=click.IntRange(0),
            default=50,
            show_default=True,
            metavar="N",
            help="With --forecast: how many tenants AutoETS is asked about, drawn by seed; it "
            "takes longest by far.  0 leaves it out.",
        ),
        click.option(
            "--expert",
            "experts",
            metavar="NAME",
            multiple=True,
            help="With --forecast: judge only these experts alone, beside the mix; may be given "
            "several times.  [default: all]",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="With --forecast: draws tenants.",
        ),
        click.option(
            "--tenants",
            type=click.IntRange(1),
            metavar="N",
            help="With --forecast: only so many tenants, drawn by seed.  [default: all]",
        ),
        click.option(
            "--forecast",
            "is_evaluated",
            is_flag=True,
            help="Judge forecasts on TRACE instead of limits: coverage, loss, sharpness, skill "
            "and cost of the bounds on the next 15 minutes' maximum.",
        ),
    ):
        command = option(command)
    return command


def check_evaluation_options(context: click.Context) -> None:
    """Refuse what does not go together, where there is a trace.

    Raises:
        click.UsageError: Not all options go with --forecast, or some only with it.

    """
    given = given_options(context)
    if not context.params["is_evaluated"]:
        wrong = [option for name, option in given.items() if name in _ONLY_FORECAST]
        if wrong:
            raise click.UsageError(f"{', '.join(wrong)}: only together with --forecast")
        return
    wrong = [option for name, option in given.items() if name not in _WITH_FORECAST]
    if wrong:
        raise click.UsageError(
            f"{', '.join(wrong)}: not together with --forecast, which sets no limits"
        )
