"""Options that several commands have, and what follows from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from agent import paths

Command = TypeVar("Command", bound=Callable[..., Any])


# Where the host's file is: it says where all else is.
config_option = click.option(
    "--config",
    envvar="TIDEGATE_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=paths.CONFIG_PATH,
    show_default=True,
    help="The host's configuration file.",
)


def config_options(command: Command) -> Command:
    """Add the options that say where the configuration is."""
    for option in (
        click.option(
            "--tenants-dir",
            envvar="TIDEGATE_TENANTS_DIR",
            show_envvar=True,
            type=click.Path(path_type=Path),
            help=f"Folder with one file per tenant.  [default: {paths.TENANTS_DIR_NAME} beside it]",
        ),
        config_option,
    ):
        command = option(command)
    return command


def tenants_dir_of(config: Path, tenants_dir: Path | None) -> Path:
    """Return the tenants' folder: where it is said to be, or beside the host's file."""
    return tenants_dir or config.parent / paths.TENANTS_DIR_NAME


def fault_lines(problems: Sequence[str]) -> list[str]:
    """Return how many faults a configuration has, and each."""
    count = len(problems)
    return [f"{count} fault{'' if count == 1 else 's'} in the configuration", *problems]
