"""Options that several commands have, and what follows from them."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent import paths
from agent.exits import fail
from agent.quoting import meant, quoted
from agent.reading import is_missing
from agent.units import parse_seconds

if TYPE_CHECKING:
    from agent.tenant import Resource

    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # before click 8.2 it takes no type

LONGEST_S = 3650 * 86400.0

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
socket_option = click.option(
    "--socket",
    "socket_path",
    envvar="TIDEGATE_SOCKET",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=paths.RUNTIME_DIR / paths.SOCKET_NAME,
    show_default=True,
    help="Where the agent answers.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


def config_options(command: Command) -> Command:
    """Add the options that say where the configuration is."""
    for option in (
        click.option(
            "--tenants-dir",
            envvar="TIDEGATE_TENANTS_DIR",
            show_envvar=True,
            type=click.Path(path_type=Path),
            help="Folder with one file per tenant.  "
            f"[default: {paths.TENANTS_DIR_NAME}, beside that of --config]",
        ),
        config_option,
    ):
        command = option(command)
    return command


def tenants_dir_of(config: Path, tenants_dir: Path | None) -> Path:
    """Return the tenants' folder: where it is said to be, or beside the host's file."""
    return tenants_dir or config.parent / paths.TENANTS_DIR_NAME


_NO_FILE = "scripts/install.sh makes the host's file; --config names another (README: Install)"


def fault_lines(problems: Sequence[str], config: Path | None = None) -> list[str]:
    """Return how many faults a configuration has, each, and where there is none how to get one."""
    count = len(problems)
    lines = [f"{count} fault{'' if count == 1 else 's'} in the configuration", *problems]
    return [*lines, _NO_FILE] if config is not None and is_missing(config) else lines


class NearChoice(_Choice):
    """A choice of names that says which was probably meant."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name that is chosen."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            hint = meant(str(value), self.choices)
            if not hint:
                raise
            said = f"{error.message.rstrip('.')} ({hint})"
            raise click.BadParameter(said, ctx, param) from error


def note_seconds(option: click.Parameter, text: str) -> None:
    """Say so where an option's number has no unit and was taken for seconds."""
    if text.strip().replace(".", "", 1).isdigit():
        name, number = option.opts[0], text.strip()
        said = f"{name} {number} is {number} seconds ({number}m are minutes, {number}h hours)"
        click.echo(f"Note: {said}", err=True)


def duration(_context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of an option such as 3h; for click's `callback`."""
    if text is None:
        return None
    try:
        value_s = parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected for example 30m, 3h or 7d") from error
    if not 0 < value_s <= LONGEST_S:
        raise click.BadParameter("must be above 0, and at most ten years")
    note_seconds(option, text)
    return value_s


def resource(_context: click.Context, _option: click.Parameter, text: str) -> "Resource":
    """Return the resource that an option names; for click's `callback`."""
    from agent.tenant import Kind, Resource  # noqa: PLC0415 - `status` is quick without

    try:
        return Resource.parsed(text)
    except ValueError as error:
        raise click.BadParameter(f"{quoted(text)} is none of {', '.join(Kind)}") from error


resource_option = click.option(
    "--resource",
    default="cpu",
    show_default=True,
    metavar="NAME",
    callback=resource,
    help="cpu, memory, disk_read:sda, ...",
)
since_option = click.option(
    "--since",
    "since_s",
    metavar="TIME",
    default="3h",
    show_default=True,
    callback=duration,
    help="How far back: 30m, 3h or 7d.",
)


def check_matplotlib(option: str) -> None:
    """End the command before the work begins where it could not be plotted."""
    if find_spec("matplotlib") is None:
        install = f"{sys.executable} -m pip install matplotlib"
        fail([f"{option} needs matplotlib, which is not installed", f"install it: {install}"])
