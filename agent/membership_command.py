"""The commands `exec` and `attach`: programs and processes put into a tenant."""

import os
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.exits import EXIT_CODES, fail
from agent.options import config_options, fault_lines, tenants_dir_of
from agent.quoting import meant

_GROUPS = ("critical", "normal", "background")  # those of enforce.membership, which is heavy
TENANTS_SERVICE = "tidegate-tenants.service"  # whose cgroup tenants' are in
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as of env(1)
_CODES = (
    EXIT_CODES
    + "\n  126  (exec) the command cannot be executed\n  127  (exec) there is no such command"
    + "\n\n`exec` becomes the command: from then on its exit status is the command's own."
)

Command = TypeVar("Command", bound=Callable[..., Any])
_group_option = click.option(
    "--group",
    type=click.Choice(_GROUPS),
    help="A group of the tenant: they share its limit as 1000 to 100 to 10.",
)


@click.command(
    "exec",
    epilog=_CODES,
    short_help="Run a command in a tenant.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@_group_option
@config_options
@click.argument("tenant")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    tenant: str, command: tuple[str, ...], group: str | None, config: Path, tenants_dir: Path | None
) -> None:
    """Become COMMAND in TENANT: with this terminal, these signals, and its own exit status.

    Nothing runs through a shell, and all that the command starts is in the tenant too.  In a tenant
    that is a slice of systemd's it has a scope of its own there.
    """
    from enforce.membership import MembershipError, enter

    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("expected a command behind --")
    home = _home(tenant, config, tenants_dir, group)
    try:
        if isinstance(home, str):
            _move_to_slice(home, tenant, os.getpid())
        else:
            enter(home, group)
    except MembershipError as error:
        fail([str(error), error.hint])
    sys.stdout.flush()
    for changed in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and a program would inherit it
        signal.signal(changed, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is meant to come between
    except OSError as error:
        code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        hint = "options of `tidegate exec` go before the tenant"
        fail([f"{command[0]}: {error.strerror}", *([hint] * command[0].startswith("-"))], code)
    except ValueError as error:
        fail([f"{command[0]!a}: {error}"], _NOT_EXECUTABLE)


@click.command(epilog=EXIT_CODES, short_help="Move processes into a tenant.")
@_group_option
@config_options
@click.argument("tenant")
@click.argument("pids", nargs=-1, required=True, type=int, metavar="PID...")
def attach(
    tenant: str, pids: tuple[int, ...], group: str | None, config: Path, tenants_dir: Path | None
) -> None:
    """Move processes into TENANT, each with all its threads.

    Children that a process has already stay where they are: name them too.  What a process holds in
    memory by now stays on the account of where it was; what it takes from now on is the tenant's.
    """
    from enforce.membership import MembershipError
    from enforce.membership import attach as attach_process

    home, failed = _home(tenant, config, tenants_dir, group), []
    for pid in dict.fromkeys(pids):
        try:
            if isinstance(home, str):
                before = _move_to_slice(home, tenant, pid)
            else:
                before = attach_process(home, pid, group)
            _tell_of_service(pid, before)
        except MembershipError as error:
            failed += [str(error), error.hint]
    if failed:
        fail(failed)


def _tell_of_service(pid: int, before: str) -> None:
    """Say what it means that a process was one of a service's, by the cgroup that it was in."""
    *_, service = ["", *(part for part in before.split("/") if part.endswith(".service"))]
    if service and service != TENANTS_SERVICE:
        click.echo(
            f"process {pid} was in {service}: what systemd limits, counts and ends there, it is no "
            "more (docs/services.md tells how a service is started in its tenant)",
            err=True,
        )


def _move_to_slice(slice_name: str, tenant: str, pid: int) -> str:
    from enforce.scopes import move_to_slice  # D-Bus, which only few tenants need

    return move_to_slice(slice_name, tenant, pid)


def _home(tenant: str, config: Path, tenants_dir: Path | None, group: str | None) -> Path | str:
    """Return the tenant's cgroup or its slice, or end the command with why it has neither."""
    from agent.config import NAME, ConfigError, load_host

    folder = tenants_dir_of(config, tenants_dir)
    try:
        is_known = NAME.fullmatch(tenant) and (folder / f"{tenant}.toml").is_file()
    except OSError as error:
        fail([f"{folder}: {error.strerror}", "run this as root (sudo)"])
    if not is_known:
        known = sorted(path.stem for path in folder.glob("*.toml"))
        hint = meant(tenant, known) or f"each has a file in {folder}"
        fail([f"there is no tenant {tenant!r}", hint])
    place = _elsewhere(folder / f"{tenant}.toml")
    if place.endswith(".slice") and "/" not in place:
        if group is not None:
            fail([f"tenant {tenant} is {place}: groups in it are systemd's", "leave out --group"])
        return place
    if place:
        hint = "start it there: systemctl start, systemd-run --slice=, or the container's own tool"
        fail([f"tenant {tenant} is {place}: who is in it is not tidegate's to say", hint])
    try:
        return load_host(config).cgroup_root / tenant
    except ConfigError as error:
        fail(fault_lines(error.problems, config))


def _elsewhere(path: Path) -> str:
    """Return where a tenant lives by its file, "" where that is below tidegate's own cgroup."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ""  # of which `check-config` tells
    return str(found.get("unit") or found.get("cgroup") or "")
