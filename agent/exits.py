"""How a command ends: exit codes, and errors with what to do about them."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

EXIT_FAULT = 1
EXIT_UNREACHABLE = 3
EXIT_DEGRADED = 4
EXIT_CODES = """\b
Exit codes:
  0  done
  1  a fault was found, or the request was refused
  2  wrong usage of the command line
  3  the agent is not running, or does not answer
"""
DOCTOR_EXIT_CODES = f"""{EXIT_CODES}\
  4  nothing is missing, but something is degraded: the agent runs, with less
"""


def fail(lines: Sequence[str], code: int = EXIT_FAULT) -> NoReturn:
    """Print an error, its details below it, and end."""
    first, *details = lines
    click.echo(f"Error: {first}", err=True)
    for detail in filter(None, details):
        click.echo(f"  {detail}", err=True)
    sys.exit(code)
