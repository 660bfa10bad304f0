"""What pyroute2 changes of interfaces: qdiscs, ifbs and filters, put there and put back.

It takes a fifth of a second to import: only what changes something needs it.
"""

import errno
import os
import sys
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np

from enforce.columns import Ints
from enforce.links.classes import INNER, MAJOR, Update
from enforce.links.messages import ROOT, Qdisc
from enforce.links.netlink import ClassSocket
from enforce.links.uplink import (
    FILTERS,
    INGRESS,
    PARENTS,
    PRIORITY,
    Direction,
    has_clsact,
    ifb_name,
    ifindex_of,
)

_HANDLE, _ALL_PROTOCOLS = 1, 3


def put_root(route: Any, ifindex: int, *, default: int) -> None:
    """Put our HTB on an interface, packets of no class being of the class `default`."""
    route.tc("replace", "htb", ifindex, handle=MAJOR << 16, default=default)


def make_single(netlink: ClassSocket, ifindex: int, minor: int, capacity: float) -> None:
    """Put our HTB on an interface all of whose packets are of the class `minor`.

    Raises:
        OSError: The kernel refused.

    """
    with opened() as route:
        put_root(route, ifindex, default=minor)
    inner = Update(np.array([INNER]), np.array([capacity]), np.array([capacity]))
    for code in netlink.set_classes(ifindex, inner, parent=0).values():
        raise OSError(code, f"class: {os.strerror(code)}")


def remove(
    netlink: ClassSocket, name: str, *, before: Qdisc | None, clsact_was_there: bool
) -> None:
    """Take everything of ours off an uplink, and put `before` back where something was there.

    What somebody has set there since, or had set and ours never replaced, stays as it is.

    Raises:
        OSError: The kernel refused.

    """
    ifindex = ifindex_of(name)
    if not ifindex:
        return
    with opened() as route:
        _remove_filters(netlink, route, ifindex, clsact_was_there=clsact_was_there)
    remove_ifb(ifindex)
    _remove_tree(netlink, ifindex, before)


def remove_way(netlink: ClassSocket, ifindex: int, way: Direction, *, before: Qdisc | None) -> None:
    """Take what is ours off one direction of an uplink of which the other stays divided.

    Raises:
        OSError: The kernel refused.

    """
    with opened() as route:
        _remove_filter_of_ours(netlink, route, ifindex, PARENTS[way])
    if way == "out":
        _remove_tree(netlink, ifindex, before)
    else:
        remove_ifb(ifindex)


def _remove_tree(netlink: ClassSocket, ifindex: int, before: Qdisc | None) -> None:
    """Remove our HTB, and put back what it replaced where nobody has set anything since."""
    with opened() as route:
        remove_root(netlink, route, ifindex)
    root = netlink.root(ifindex)
    is_free = root is None or root.is_default
    if is_free and before is not None and before.ifindex == ifindex:
        put_back(netlink, before)


def remove_root(netlink: ClassSocket, route: Any, ifindex: int) -> None:
    """Remove the HTB of an interface if it is ours: the kernel's own qdisc comes back."""
    root = netlink.root(ifindex)
    if root is not None and root.is_ours:
        route.tc("del", index=ifindex, parent=ROOT)


def take_off(netlink: ClassSocket, ifindexes: Collection[int]) -> None:
    """Remove the HTB of each of some interfaces where it is ours.

    Raises:
        OSError: The kernel refused.

    """
    roots = map(netlink.root, ifindexes)
    if not any(root is not None and root.is_ours for root in roots):
        return
    with opened() as route:
        for ifindex in ifindexes:
            remove_root(netlink, route, ifindex)


def remove_ifb(ifindex: int) -> None:
    """Remove the ifb that was made for an interface of this number, which may be gone itself."""
    ifb = ifindex_of(ifb_name(ifindex))
    if ifb:
        with opened() as route:
            route.link("del", index=ifb)


def put_back(netlink: ClassSocket, before: Qdisc) -> None:
    """Put a qdisc there as it was, up to the kernel's own rounding.

    Raises:
        OSError: The kernel refused, or made something else of it.

    """
    asked = before
    for _ in range(2):
        netlink.put_back(asked)
        now = netlink.root(before.ifindex)
        if now is None or now.kind != before.kind:
            raise OSError(errno.EIO, f"qdisc {before.kind} did not come back")
        if now.options == before.options:
            return
        # What it tells of times is rounded down, and down again when that is set: ask for more.
        asked = replace(before, options=_raised(before.options, now.options))
    netlink.put_back(before)
    now = netlink.root(before.ifindex)
    if now is None or not _is_close(now.options, before.options):
        raise OSError(errno.EIO, f"qdisc {before.kind} is not as it was")


def _raised(wanted: bytes, kept: bytes) -> bytes:
    if len(wanted) != len(kept):
        return wanted
    asked = _words(wanted)
    return (asked + np.where(_words(kept) + 1 == asked, 1, 0)).astype("<u4").tobytes()


def _is_close(options: bytes, others: bytes) -> bool:
    if len(options) != len(others):
        return False
    return bool((np.abs(_words(options) - _words(others)) <= 1).all())


def _words(options: bytes) -> Ints:
    return np.frombuffer(options, dtype="<u4").astype(np.int64)


def _remove_filters(
    netlink: ClassSocket, route: Any, ifindex: int, *, clsact_was_there: bool
) -> None:
    """Remove our filters, and what they hung on unless it was there or others use it by now."""
    for parent in FILTERS:
        _remove_filter_of_ours(netlink, route, ifindex, parent)
    others = [one for parent in FILTERS for one in netlink.filters(ifindex, parent)]
    if not clsact_was_there and not others and has_clsact(netlink, ifindex):
        route.tc("del", "clsact", ifindex)


def _remove_filter_of_ours(netlink: ClassSocket, route: Any, ifindex: int, parent: int) -> None:
    if FILTERS[parent] in {one.name for one in netlink.filters(ifindex, parent)}:
        remove_filter(route, ifindex, parent)


def remove_filter(route: Any, ifindex: int, parent: int) -> None:
    """Remove our filter of one direction."""
    where = {"handle": _HANDLE, "parent": parent, "prio": PRIORITY}
    route.tc("del-filter", "bpf", ifindex, protocol=_ALL_PROTOCOLS, **where)


def replace_filter(route: Any, ifindex: int, parent: int, program: int, **more: object) -> None:
    """Put a program's filter there, in the place of an earlier one's."""
    route.tc(
        "replace-filter",
        "bpf",
        ifindex,
        handle=_HANDLE,
        parent=parent,
        prio=PRIORITY,
        protocol=_ALL_PROTOCOLS,
        fd=program,
        name=FILTERS[parent],
        **more,
    )


def put_clsact(netlink: ClassSocket, route: Any, undo: ExitStack, ifindex: int) -> None:
    """Put there what filters hang on, where it is missing."""
    if not has_clsact(netlink, ifindex):
        route.tc("add", "clsact", ifindex)
        undo.callback(route.tc, "del", "clsact", ifindex)


def put_filter(
    netlink: ClassSocket, route: Any, undo: ExitStack, ifindex: int, parent: int, program: int
) -> None:
    """Put a filter there that decides by itself."""
    is_new = FILTERS[parent] not in {one.name for one in netlink.filters(ifindex, parent)}
    replace_filter(route, ifindex, parent, program, direct_action=True)
    if is_new:
        undo.callback(remove_filter, route, ifindex, parent)


def redirect(route: Any, ifindex: int, program: int, *, to: int) -> None:
    """Put the filter there whose matches go on to another interface."""
    action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": to}
    replace_filter(route, ifindex, INGRESS, program, action=action)


def opened() -> Any:
    """Open pyroute2's socket."""
    _name_package()
    from pyroute2.iproute.linux import IPRoute  # noqa: PLC0415 - only what uplinks need

    return IPRoute()


def _name_package() -> None:
    """Have pyroute2's parts found without its own beginning, which loads all of them: 4 MiB."""
    spec = find_spec("pyroute2")
    if spec is not None and "pyroute2" not in sys.modules:
        sys.modules["pyroute2"] = module_from_spec(spec)
