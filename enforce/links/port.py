"""One uplink's qdiscs, ifb and filters: what is missing of them, and how they are put there.

A qdisc that someone set is replaced only where configuration says so.
"""

import os
from contextlib import ExitStack
from typing import Any

import numpy as np

from enforce.columns import Restored
from enforce.limits import MIN_RATE_BYTES_PER_S
from enforce.links.classes import INNER, OTHERS, Classes, Update, difference
from enforce.links.messages import Qdisc
from enforce.links.netlink import ClassSocket
from enforce.links.programs import CLASSIFY_IN, FORWARDED_OUT, Programs
from enforce.links.route import (
    opened,
    put_back,
    put_clsact,
    put_filter,
    put_root,
    redirect,
    remove_ifb,
    remove_root,
)
from enforce.links.uplink import (
    EGRESS,
    INGRESS,
    INGRESS_ONLY,
    PARENTS,
    Direction,
    Uplink,
    UplinkError,
    amiss_of,
    are_preceded,
    foreign_root,
    has_ingress_only,
    ifb_name,
    ifindex_of,
    is_below,
)

_OWN = {INNER: "class of all tenants", OTHERS: "class of all that is no tenant's"}


class Port:
    """The kernel state of one uplink in the network namespace that this process is in."""

    def __init__(self, uplink: Uplink, netlink: ClassSocket) -> None:
        self.uplink, self._netlink = uplink, netlink
        self.preceded: set[Direction] = set()  # ways where others' filters were asked before ours

    @property
    def ifindex(self) -> int:
        """Return the uplink's number now, 0 where it is gone."""
        return ifindex_of(self.uplink.name)

    @property
    def ifb(self) -> int:
        """Return the number of its ifb now, 0 where there is none."""
        return ifindex_of(ifb_name(self.ifindex)) if self.ifindex else 0

    def ifindex_of(self, way: Direction) -> int:
        """Return the number of the interface whose HTB divides one direction."""
        return self.ifindex if way == "out" else self.ifb

    def check(self, way: Direction) -> None:
        """See to it that one direction of the uplink is free to be used.

        Raises:
            UplinkError: It is not.
            OSError: The kernel refused to tell.

        """
        name = self.uplink.name
        foreign = foreign_root(self._netlink, name)
        if way == "out" and has_ingress_only(self._netlink, self.ifindex):
            raise UplinkError(f"{name} {INGRESS_ONLY}")
        if foreign is None or not self.uplink.out_bytes_per_s:
            return
        if not self.uplink.may_replace_qdisc:
            raise UplinkError(
                f"{name} has a qdisc {foreign.kind} that is not tidegate's: nothing is limited "
                f"until it is removed, or [network.{name}] replace_qdisc = true"
            )
        below = [one.kind for one in self._netlink.qdiscs(self.ifindex) if is_below(one)]
        if below or self._netlink.filters(self.ifindex, foreign.handle):
            raise UplinkError(
                f"{name} has a qdisc {foreign.kind} with qdiscs or filters below it, which could "
                "not be put back as they are: remove it by hand"
            )

    def missing(self, programs: Programs, way: Direction) -> list[Restored]:
        """Return what of all that `make` makes for one direction is not there, or is another's.

        Raises:
            OSError: The kernel refused to tell.

        """
        ifindex = self.ifindex
        filters = self._netlink.filters(ifindex, PARENTS[way])
        self.preceded = self.preceded - {way} | ({way} if are_preceded(filters) else set())
        if way == "out":
            found = amiss_of(filters, EGRESS, programs.id_of(FORWARDED_OUT))
            is_there = {"HTB out": self._has_root(ifindex)}
        else:
            ifb = self.ifb
            found = amiss_of(filters, INGRESS, programs.id_of(CLASSIFY_IN))
            is_there = {"ifb": bool(ifb) and self._netlink.is_up(ifb)}
            is_there["HTB in"] = self._has_root(ifb) or not is_there["ifb"]
        return found + [Restored(what, "removed") for what, is_it in is_there.items() if not is_it]

    def is_ours(self, way: Direction) -> bool:
        """Say whether one direction is set up, or was by an earlier agent.

        Raises:
            OSError: The kernel refused to tell.

        """
        return self._has_root(self.ifindex) if way == "out" else bool(self.ifb)

    def make(self, programs: Programs, way: Direction) -> None:
        """Put what one direction needs there where it is missing: all of it, or nothing.

        Raises:
            OSError: The kernel refused; what had been put there before is gone again.

        """
        with opened() as route, ExitStack() as undo:
            ifindex = self.ifindex
            if way == "out":
                # Before the HTB, which without the rest would hold all tenants in one class.
                put_clsact(self._netlink, route, undo, ifindex)
                program = programs.program(FORWARDED_OUT)
                put_filter(self._netlink, route, undo, ifindex, EGRESS, program)
                self._make_tree(route, undo, ifindex, "out")
            else:
                ifb = self._made_ifb(route, undo)
                self._make_tree(route, undo, ifb, "in")
                put_clsact(self._netlink, route, undo, ifindex)
                # Last: from here on tenants' packets in take the way through the ifb.
                redirect(route, ifindex, programs.program(CLASSIFY_IN), to=ifb)
            undo.pop_all()

    def keep_own_classes(self, found: Classes, way: Direction) -> list[Restored]:
        """Set the class that all tenants share, and the one of all that is nobody's, where amiss.

        Returns:
            What was amiss, which `make` had set.

        Raises:
            OSError: The kernel refused.

        """
        step = difference(self._own_classes(way), found)
        amiss = [
            *(Restored(f"{way} {_OWN[minor]}", "removed") for minor in step.created.minor.tolist()),
            *(Restored(f"{way} {_OWN[minor]}", "changed") for minor in step.changed.minor.tolist()),
        ]
        if amiss:
            self._set_own_classes(self.ifindex_of(way), way)
        return amiss

    def _own_classes(self, way: Direction) -> Update:
        uplink, is_out = self.uplink, way == "out"
        capacity = uplink.out_bytes_per_s if is_out else uplink.in_bytes_per_s
        reserve = uplink.out_reserve_bytes_per_s if is_out else 0.0
        least = max(reserve, MIN_RATE_BYTES_PER_S)
        most = max(capacity * uplink.others_fraction, least)
        rates, ceils = np.array([capacity, least]), np.array([capacity, most])
        return Update(np.array([INNER, OTHERS]), np.floor(rates), np.floor(ceils))

    def _set_own_classes(self, ifindex: int, way: Direction) -> None:
        own = self._own_classes(way)
        for place, parent in enumerate((0, INNER)):
            one = slice(place, place + 1)
            update = Update(own.minor[one], own.rate[one], own.ceil[one])
            for code in self._netlink.set_classes(ifindex, update, parent=parent).values():
                raise OSError(code, f"classes of {self.uplink.name}: {os.strerror(code)}")

    def _make_tree(self, route: Any, undo: ExitStack, ifindex: int, way: Direction) -> None:
        """Put our HTB there, and the classes that its packets need."""
        root = self._netlink.root(ifindex)
        if root is None or not root.is_ours:
            put_root(route, ifindex, default=OTHERS)
            undo.callback(self._put_back_root, route, ifindex, root)
        self._set_own_classes(ifindex, way)

    def _put_back_root(self, route: Any, ifindex: int, before: Qdisc | None) -> None:
        remove_root(self._netlink, route, ifindex)
        if before is not None and not before.is_default:
            put_back(self._netlink, before)

    def _made_ifb(self, route: Any, undo: ExitStack) -> int:
        ifindex = self.ifindex
        if not self.ifb:
            route.link("add", ifname=ifb_name(ifindex), kind="ifb", txqlen=1000)
            undo.callback(remove_ifb, ifindex)
        ifb = self.ifb
        route.link("set", index=ifb, state="up")
        return ifb

    def _has_root(self, ifindex: int) -> bool:
        root = self._netlink.root(ifindex)
        return root is not None and root.is_ours
