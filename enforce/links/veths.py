"""Tenants in a network namespace of their own: what they receive passes the host's end of a veth.

Everything that goes that way is one tenant's, so each such end has an HTB with that one class.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from enforce.columns import Changes, ClassControl, Outcomes, Restored
from enforce.links.classes import Classes
from enforce.links.netlink import ClassSocket
from enforce.links.route import make_single, take_off
from enforce.links.saved import SavedUplinks
from enforce.links.tree import Tree
from enforce.links.uplink import UplinkError, foreign_root, ifindex_of

_ONE = np.ones(1, dtype=np.bool_)
_FIRST = np.zeros(1, dtype=np.int64)


class Veths:
    """The veths of some tenants, by position, and the one class of each; capacity as received."""

    def __init__(
        self,
        netlink: ClassSocket,
        saved: SavedUplinks,
        names: Mapping[int, str],
        trees: Mapping[int, Tree],
        *,
        capacity: float,
    ) -> None:
        # Names of veths that are sought come and go: they are the caller's, as of the last `read`.
        self._netlink, self._saved, self._names, self._capacity = netlink, saved, names, capacity
        self._trees = trees
        self._made: dict[int, int] = {}  # for which interface, by position
        self.restored: list[Restored] = []  # by the last `read`

    def read(self, position: int, ifindex: int) -> Classes:
        """Make what is missing on one veth, and return the tenant's class there.

        Raises:
            UplinkError: Someone else has set a qdisc on it.
            OSError: The kernel refused.

        """
        name, self.restored = self._names[position], []
        root = self._netlink.root(ifindex)
        found = self._netlink.classes(ifindex)
        is_known, tree = self._made.get(position) == ifindex, self._trees[position]
        if not is_known and root is not None and root.is_ours and tree.minor not in found.minor:
            # Of another tenant, or from before: what has no class there is not limited.
            take_off(self._netlink, [ifindex])
            root = None
        if root is None or not root.is_ours or len(found.minor) == 0:
            foreign = foreign_root(self._netlink, name)
            if foreign is not None:
                raise UplinkError(f"{name} has a qdisc {foreign.kind} that is not tidegate's")
            self._saved.record(self._netlink, name)
            make_single(self._netlink, ifindex, tree.minor, self._capacity)
            found = self._netlink.classes(ifindex)
            self.restored = [Restored(f"HTB of {name}", "removed", position)] if is_known else []
            is_known = False
        mine = tree.complete(ifindex, found, _ONE)
        if is_known:
            self.restored = [
                replace(one, what=f"{one.what} on {name}", tenant=position) for one in tree.restored
            ]
        self._made[position] = ifindex
        return mine

    def write(self, position: int, control: ClassControl, value: float) -> Outcomes:
        """Set one number of a tenant's class on its veth, and read it back; or say what failed."""
        ifindex = ifindex_of(self._names.get(position, ""))
        changes = Changes(control, _FIRST, np.full(1, np.nan), np.full(1, value))
        try:
            return self._trees[position].write(ifindex, control, changes)
        except OSError as error:
            return Outcomes.refused(changes, f"{control}: {error}")
