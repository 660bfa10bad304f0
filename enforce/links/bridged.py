"""Tenants' veths that are ports of a bridge: whose packets come in there is noted in each of them.

By the time that they leave, the kernel knows of them that they came from the bridge.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from enforce.columns import Restored
from enforce.links.netlink import ClassSocket
from enforce.links.programs import MARK_BRIDGED, Programs
from enforce.links.route import opened, put_clsact, put_filter
from enforce.links.saved import SavedUplinks
from enforce.links.uplink import (
    INGRESS,
    UplinkError,
    amiss_of,
    are_others,
    hidden_text,
    ifindex_of,
    master_of,
)


class Bridged:
    """Which tenants' veths are ports, by position; at each, a filter notes whose packets are."""

    def __init__(self, netlink: ClassSocket, saved: SavedUplinks) -> None:
        self._netlink, self._saved = netlink, saved
        self.masters: dict[int, str] = {}  # of each veth that is a port, by position
        self._names: dict[int, str] = {}
        self._others: dict[str, bool] = {}  # whether somebody else has filters at a master
        self._marked: dict[int, int] = {}  # for which interface, by position

    def look(self, veths: Iterable[tuple[int, str]]) -> None:
        """See which of these veths, by position and name, are ports of what.

        Raises:
            OSError: The kernel refused to tell.

        """
        self._names = dict(veths)
        found = {position: master_of(name) for position, name in self._names.items()}
        self.masters = {position: master for position, master in found.items() if master}
        self._others = {
            master: are_others(self._netlink.filters(ifindex_of(master), INGRESS))
            for master in set(self.masters.values())
        }

    def note(self, position: int, programs: Programs) -> list[Restored]:
        """See to it that packets from one veth are noted; return what had to be put back for that.

        Raises:
            UplinkError: It would tell nothing: somebody else's filters are in the way.
            OSError: The kernel refused, or the disk did not take what was there before.

        """
        name, ifindex = self._names[position], ifindex_of(self._names[position])
        was_marked = self._marked.pop(position, 0) == ifindex
        filters, master = self._netlink.filters(ifindex, INGRESS), self.masters[position]
        for where, is_hidden in ((name, are_others(filters)), (master, self._others[master])):
            if is_hidden:
                raise UplinkError(hidden_text(name, master, where))
        missing = amiss_of(filters, INGRESS, programs.id_of(MARK_BRIDGED))
        if missing:
            self._saved.record(self._netlink, name)
            with opened() as route, ExitStack() as undo:
                put_clsact(self._netlink, route, undo, ifindex)
                program = programs.program(MARK_BRIDGED)
                put_filter(self._netlink, route, undo, ifindex, INGRESS, program)
                undo.pop_all()
        self._marked[position] = ifindex
        if not was_marked:
            return []
        return [replace(one, what=f"{one.what} of {name}", tenant=position) for one in missing]

    @property
    def hidden(self) -> list[int]:
        """Return the tenants of whom it cannot be told what they send, by position."""
        return sorted(self.masters.keys() - self._marked.keys())
