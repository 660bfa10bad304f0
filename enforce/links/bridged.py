"""Tenants' veths that interfaces lie above, as a bridge does: whose packets come in is noted there.

By the time that they leave, the kernel knows of them that they came from what lies above.
"""

from collections.abc import Iterable, Sequence
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
    all_above,
    amiss_of,
    few,
    filtered_text,
    ifindex_of,
    passed_by_text,
    why_hidden,
)


class Bridged:
    """Which tenants' veths lie below something, by position; at each, a filter notes whose it is.

    `uplinks` are those whose bytes out are divided.
    """

    def __init__(
        self, netlink: ClassSocket, saved: SavedUplinks, uplinks: Sequence[str] = ()
    ) -> None:
        self._netlink, self._saved, self._uplinks = netlink, saved, uplinks
        self.above: dict[int, frozenset[str]] = {}  # what lies above each veth, if anything does
        self._names: dict[int, str] = {}
        self._hiding: dict[str, str] = {}  # why nothing can be told behind it, by interface above
        self._marked: dict[int, int] = {}  # for which interface, by position
        self._hidden: dict[str, set[str]] = {}  # veths of which nothing can be told, by reason

    def look(self, veths: Iterable[tuple[int, str]]) -> None:
        """See what lies above these veths, by position and name.

        Raises:
            OSError: The kernel refused to tell.

        """
        self._names, self._hidden = dict(veths), {}
        known: dict[str, frozenset[str]] = {}
        found = {at: all_above(name, known) for at, name in self._names.items()}
        self.above = {at: above for at, above in found.items() if above}
        why = {name: why_hidden(self._netlink, name) for name in self.all_above}
        self._hiding = {name: text for name, text in why.items() if text}

    @property
    def all_above(self) -> frozenset[str]:
        """Return what lies above any of them."""
        return frozenset[str]().union(*self.above.values())

    def note(self, position: int, programs: Programs) -> list[Restored]:
        """See to it that packets from one veth are noted; return what had to be put back for that.

        Where that would tell nothing, `problems` says why.

        Raises:
            UplinkError: The kernel refused.
            OSError: It did not tell, or the disk did not take what was there before.

        """
        name, ifindex = self._names[position], ifindex_of(self._names[position])
        was_marked = self._marked.pop(position, 0) == ifindex
        if not ifindex:  # it has gone since `look`
            return []
        above, filters = self.above[position], self._netlink.filters(ifindex, INGRESS)
        for uplink in sorted(above.intersection(self._uplinks)):
            self._hidden.setdefault(passed_by_text(uplink), set()).add(name)
        hiding = [self._hiding[one] for one in sorted(above & self._hiding.keys())]
        if why := filtered_text(name, filters) or next(iter(hiding), ""):
            self._hidden.setdefault(why, set()).add(name)
            return []
        missing = amiss_of(filters, INGRESS, programs.id_of(MARK_BRIDGED))
        if missing:
            self._saved.record(self._netlink, name)
            try:
                self._put_filter(ifindex, programs.program(MARK_BRIDGED))
            except Exception as error:  # pyroute2 raises what it likes
                raise UplinkError(f"veth {name}: packets cannot be noted: {error}") from error
        self._marked[position] = ifindex
        if not was_marked:
            return []
        return [replace(one, what=f"{one.what} of {name}", tenant=position) for one in missing]

    def _put_filter(self, ifindex: int, program: int) -> None:
        with opened() as route, ExitStack() as undo:
            put_clsact(self._netlink, route, undo, ifindex)
            put_filter(self._netlink, route, undo, ifindex, INGRESS, program)
            undo.pop_all()

    def hidden(self, uplink: str) -> list[int]:
        """Return the tenants of whom it cannot be told what they send by an uplink, by position."""
        return [at for at, above in self.above.items() if at not in self._marked or uplink in above]

    def problems(self) -> list[str]:
        """Return why it cannot be told what some veths send, and which."""
        return [
            f"{why}: bytes out of {len(veths)} veth(s) are neither limited nor counted there: "
            f"{few(sorted(veths))}"
            for why, veths in self._hidden.items()
        ]
