"""The commands `pin` and `unpin`: a tenant's limits held for a time."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import msgspec

from agent.answers import PinStatus, TenantPins
from agent.client import AgentRefusedError, AgentUnreachableError, named, post
from agent.exits import EXIT_UNREACHABLE, exit_codes, fail
from agent.options import duration, json_option, socket_option
from agent.output import print_json, print_lines
from agent.quoting import quoted
from agent.units import parse_bytes, seconds_text

_EXAMPLE = "such as: tidegate pin TENANT cpu=0.5 memory=512M --for 2h"
_AMOUNTS: Mapping[str, tuple[str, Callable[[str], float]]] = {
    "cpu": ("cores, such as 0.5", float),
    "memory": ("bytes, such as 512M or 2G", parse_bytes),
}
_SET_BY = {"operator": "an operator", "another": "somebody else", "insisting": "somebody else"}


@click.command(epilog=exit_codes(EXIT_UNREACHABLE), short_help="Hold a tenant's limit for a time.")
@click.argument("tenant")
@click.argument("limits", nargs=-1, required=True, metavar="RESOURCE=AMOUNT...")
@click.option(
    "--for",
    "for_s",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=duration,
    help="How long: 30m, 3h or 7d.",
)
@socket_option
@json_option
def pin(
    tenant: str, limits: tuple[str, ...], for_s: float, socket_path: Path, as_json: bool
) -> None:
    """Hold TENANT's limit at cpu=CORES or memory=BYTES for a time, such as cpu=0.5 memory=512M.

    CORES are as many CPUs' time, as in the tenant's file; BYTES take K, M or G.  A limit may be
    pinned between the tenant's floor and its ceiling.  It is there with the next ticks, down in
    steps, and outlives a restart of the agent.  Memory that the tenant cannot give back is left to
    it, whatever is pinned.  `tidegate explain` says what the limit would be without the pin.
    """
    wanted = dict(_limit(text) for text in limits)
    body = msgspec.json.encode({"limits": wanted, "for_s": for_s})
    _show(_asked(socket_path, f"{named('/v1/tenants', tenant)}/pin", body), as_json=as_json)


@click.command(epilog=exit_codes(EXIT_UNREACHABLE), short_help="Let a tenant's limit move again.")
@click.argument("tenant")
@click.argument("resources", nargs=-1, metavar="[RESOURCE]...")
@socket_option
@json_option
def unpin(tenant: str, resources: tuple[str, ...], socket_path: Path, as_json: bool) -> None:
    """End TENANT's pins, of cpu, memory, disk or network or of all, whoever set them.

    Also what somebody else wrote to its control files, or set of its classes, is tidegate's to move
    again.
    """
    body = msgspec.json.encode({"resources": resources})
    _show(_asked(socket_path, f"{named('/v1/tenants', tenant)}/unpin", body), as_json=as_json)


def _limit(text: str) -> tuple[str, float]:
    resource, is_there, amount = text.partition("=")
    if not is_there or resource not in _AMOUNTS:
        fail([f"expected cpu=CORES or memory=BYTES, got {quoted(text)}", _EXAMPLE])
    expected, read = _AMOUNTS[resource]
    try:
        value = read(amount)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        fail([f"{resource}: expected {expected}, got {quoted(amount)}", _EXAMPLE])
    return resource, value


def _asked(socket_path: Path, target: str, body: bytes) -> bytes:
    try:
        return post(socket_path, target, body)
    except AgentUnreachableError as error:
        fail([str(error), error.hint], EXIT_UNREACHABLE)
    except AgentRefusedError as error:
        fail([str(error), error.hint])


def _show(body: bytes, *, as_json: bool) -> None:
    if as_json:
        print_json(body)
        return
    answer = msgspec.json.decode(body, type=TenantPins)
    lines = [_line(answer.tenant, one) for one in answer.pins]
    print_lines(lines or [f"{answer.tenant}: unpinned, no pin is left"])


def _line(tenant: str, pin: PinStatus) -> str:
    left = seconds_text(round(pin.left_s))
    by = _SET_BY.get(pin.set_by, pin.set_by)
    return f"{tenant}: {pin.control} pinned to {pin.amount or pin.value} for {left}, by {by}"
