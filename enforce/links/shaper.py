"""All tenants on all uplinks: makes what is missing, reads what is counted, writes limits.

A tenant's class is made with all of the uplink as its ceil, as a new cgroup has no limit: what it
is then set to is decided elsewhere.  One that was lost comes back as it was.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from enforce.columns import (
    NET_QUANTITIES,
    Changes,
    ClassControl,
    Ints,
    NetColumns,
    Outcomes,
    Restored,
)
from enforce.links.adoption import adopted
from enforce.links.attempts import Attempts
from enforce.links.bridged import Bridged
from enforce.links.classes import MAJOR
from enforce.links.discovery import AUTO, Discovery
from enforce.links.netlink import ClassSocket
from enforce.links.passed import Passed
from enforce.links.port import Port
from enforce.links.programs import BY_MARK, Counters, Programs, depth_of
from enforce.links.route import take_off
from enforce.links.saved import SavedUplinks
from enforce.links.tree import Tree
from enforce.links.uplink import (
    WAYS,
    Direction,
    Uplink,
    UplinkError,
    directions,
    few,
    ifindex_of,
    passing,
    preceded_text,
)
from enforce.links.veths import Veths


class Shaper:
    """Classes of the cgroups `names` directly below `root`; positions as in `names`.

    Those that are not `is_limited` are only counted: their class limits nothing, and where nobody
    is limited there is none, and uplinks are left or put back as they were.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        uplinks: Sequence[Uplink],
        *,
        is_limited: Sequence[bool],
        record: Path,
        veths: Mapping[int, str | None] = MappingProxyType({}),
    ) -> None:
        """Open nothing yet: the kernel is changed by the first `read`, which says what fails.

        Those of `veths` are reached there only; of who has None nothing is known, and whose name is
        AUTO is sought.
        """
        self._root, self._count, self._tenants = root, len(names), tuple(names)
        self._veth_names = {at: name for at, name in veths.items() if name not in (None, AUTO)}
        sought = [at for at, name in veths.items() if name == AUTO]
        unreached = sorted(veths.keys() - self._veth_names.keys() - set(sought))
        self._unreached = np.array(unreached, dtype=np.int64)
        self._is_limited = np.array(is_limited, dtype=np.bool_)
        reached = np.setdiff1d(np.arange(len(names)), self._unreached)
        # Where nobody is limited nobody needs a class, and uplinks are left as they are.
        self._classed = reached if self._is_limited[reached].any() else reached[:0]
        self._netlink, self._saved = ClassSocket(), SavedUplinks(record)
        self.discovery = Discovery(self._netlink, sought, self._veth_names.values())
        self._ports = [Port(uplink, self._netlink) for uplink in uplinks]
        self._names = tuple(uplink.name for uplink in uplinks)
        self._trees: dict[tuple[str, str], Tree] = {}  # by uplink and direction
        self._passed = [(Passed(), Passed()) for _ in uplinks]  # out and in
        self._veths: Veths | None = None
        self._apart = np.array(sorted({*self._veth_names, *sought}), dtype=np.int64)
        self._there: dict[int, int] = {}  # number of each veth that is there, by position
        self._lost: dict[int, str] = {}  # the veth of who is there without it, by position
        divided = [uplink.name for uplink in uplinks if "out" in directions(uplink)]
        self._bridged = Bridged(self._netlink, self._saved, divided)
        self._programs: Programs | None = None
        self._minors: Ints | None = None
        self._untold, self._untold_veths = 0, 0  # tenants and veths
        self._made: dict[tuple[str, str], int] = {}  # for which interface, by uplink and direction
        self._remade: set[tuple[str, str]] = set()  # by this read: what was below went with it
        self._restored: list[Restored] = []  # by this read
        self._attempts = Attempts()

    def stop(self) -> None:
        """Do nothing more of a reading that is under way in another thread."""
        self._attempts.end()

    def close(self) -> None:
        """Let go of everything; classes, programs and limits stay."""
        self._netlink.close()
        if self._programs is not None:
            self._programs.close()

    def unknown(self) -> NetColumns:
        """Return what is known before the first reading."""
        return NetColumns.unknown(self._names, self._count)

    def read(self, cgroup_id: Ints) -> NetColumns:
        """Make what is missing for the tenants with these cgroups (0: none), and read all."""
        self._attempts.begin()
        self._restored, self._remade = [], set()
        columns, is_done = self.unknown(), self._attempts.is_done
        if not is_done("programs", lambda: self._settle_programs(cgroup_id)):
            return replace(columns, problems=self._problems())
        if is_done("veths that files do not name", partial(self._seek_veths, cgroup_id)):
            is_done("other uplinks", self._leave_others)
        is_done("veths", partial(self._watch_veths, cgroup_id))
        self._note_bridged(cgroup_id)
        is_done("addresses", self._watch_addresses)
        counters = self._counted(cgroup_id)
        for place, port in enumerate(self._ports):
            self._fill_counted(columns, place, counters, cgroup_id)
            received = columns.in_bytes[place].copy()
            columns.in_bytes[place] = np.nan
            self._fill_unlimited(columns, place, cgroup_id)
            for way in directions(port.uplink) if len(self._classed) else ():
                what = f"{port.uplink.name} {way}"
                if is_done(f"{what} set up", partial(self._settle, port, way)):
                    fill = partial(self._fill_classes, columns, place, way, cgroup_id)
                    is_done(what, fill)
            if port is self._receiving:
                self._read_veths(columns, place, cgroup_id)
            self._forget_bridged(columns, place)
            self._forget_without_veth(columns, place)
            out, in_ = self._passed[place]
            offered, sent = columns.out_offered_bytes[place], columns.out_bytes[place]
            columns.out_bytes[place] = out.after(sent.copy(), offered.copy())
            columns.in_bytes[place] = in_.after(columns.in_bytes[place].copy(), received)
        restored = (*self._restored, *(self._programs.restored() if self._programs else ()))
        return replace(columns, problems=self._problems(), restored=restored)

    def apply(self, changes: Changes) -> Outcomes:
        """Write changes of one number of one tree, in their order, and read each back."""
        control, why = changes.control, "not set up"
        if not isinstance(control, ClassControl):
            raise TypeError(f"{control} is no number of a class")
        tree = self._trees.get((control.uplink, control.direction))
        if tree is not None and len(changes):
            try:
                port = self._ports[self._names.index(control.uplink)]
                return self._written(port, tree, control, changes)
            except OSError as error:
                why = str(error)
        return Outcomes.refused(changes, f"{control}: {why}")

    def _settle_programs(self, cgroup_id: Ints) -> None:
        """Load, attach, and tell the kernel whose cgroups are whose."""
        if self._programs is None:
            self._programs = Programs(depth_of(self._root) + 1)
            self.discovery.owners = self._programs.owners()
        programs = self._programs
        programs.attach(self._root)
        if self._minors is None:
            self._minors = self._adopted_minors(programs, cgroup_id)
            self._veths = self._made_veths(self._minors)
            self._trees = {
                (port.uplink.name, way): Tree(
                    self._netlink, capacity, self._minors, is_limited=self._is_limited
                )
                for port in self._ports
                for way, capacity in directions(port.uplink).items()
            }
        classids = np.where(self._minors > 0, self._minors | MAJOR << 16, 0)
        self._untold = programs.tell(
            cgroup_id, classids, np.isin(np.arange(self._count), self._apart)
        )
        programs.watch("uplinks", passing(self._names))

    def _adopted_minors(self, programs: Programs, cgroup_id: Ints) -> Ints:
        """Return each tenant's class, as an earlier agent left it; 0 where there is to be none."""
        minors = np.zeros(self._count, dtype=np.int64)
        if not len(self._classed):
            return minors
        known = programs.classids()
        ids = cgroup_id[self._classed].tolist()
        before = [known[one] & 0xFFFF if one in known else None for one in ids]
        links = {port.ifindex_of(way) for port in self._ports for way in directions(port.uplink)}
        minors[self._classed] = adopted(self._netlink, links - {0}, before)
        if self._receiving is not None:
            newcomers = self._classed[[minor is None for minor in before]]
            names = [self._veth_names[one] for one in newcomers.tolist() if one in self._veth_names]
            take_off(self._netlink, [one for one in map(ifindex_of, names) if one])
        return minors

    def _made_veths(self, minors: Ints) -> Veths | None:
        port = self._receiving
        if port is None or not len(self._apart):
            return None
        names, capacity = self._veth_names, port.uplink.in_bytes_per_s
        trees = {
            position: Tree(
                self._netlink,
                capacity,
                minors[[position]],
                is_limited=self._is_limited[[position]],
            )
            for position in self._apart.tolist()
        }
        return Veths(self._netlink, self._saved, names, trees, capacity=capacity)

    def _leave_others(self) -> None:
        """Put uplinks back that are not to be limited any more, or not that way."""
        for port in self._ports:
            for way in WAYS:
                if way not in directions(port.uplink) and port.is_ours(way):
                    self._saved.put_back_way(self._netlink, port.uplink.name, way)
        limited = [name for one, name in self._veth_names.items() if one in self._classed]
        wanted = (*self._names, *limited) if len(self._classed) else ()
        if set(self._saved.names) <= set(wanted):
            return
        failed = [one for one in self._saved.put_back(self._netlink, keep=wanted) if one.why]
        if failed:
            raise UplinkError(f"{failed[0].uplink} cannot be put back: {failed[0].why}")

    def _settle(self, port: Port, way: Direction) -> None:
        """See to it that one direction has qdiscs and filters: all at first, then what lacks."""
        name, programs, ifindex = port.uplink.name, self._programs, port.ifindex
        was_made = self._made.get((name, way)) == ifindex
        if programs is None:
            return
        missing = port.missing(programs, way) if was_made else []
        if was_made and not missing:
            return
        self._made.pop((name, way), None)
        self._remade.add((name, way))
        port.check(way)
        self._saved.record(self._netlink, name, is_root_replaced=way == "out")
        try:
            port.make(programs, way)
        except Exception as error:  # pyroute2 raises what it likes
            raise UplinkError(f"{name} {way} cannot be set up: {error}") from error
        self._made[name, way] = ifindex
        self._note(name, missing)

    def _note(self, where: str, restored: Iterable[Restored]) -> None:
        self._restored += [replace(one, where=where) for one in restored]

    def _fill_classes(
        self, columns: NetColumns, place: int, way: Direction, cgroup_id: Ints
    ) -> None:
        """Make the classes that are missing in one tree, and read them all."""
        port, at = self._ports[place], self._classed
        tree, ifindex = self._trees[port.uplink.name, way], port.ifindex_of(way)
        found = self._netlink.classes(ifindex)
        own = port.keep_own_classes(found, way)
        mine = tree.complete(ifindex, found, cgroup_id != 0)
        if (port.uplink.name, way) not in self._remade:
            self._note(port.uplink.name, own)
            self._note(f"{port.uplink.name} {way}", tree.restored)
        getattr(columns, f"{way}_rate")[place, at] = mine.rate[at]
        getattr(columns, f"{way}_ceil")[place, at] = tree.shown_ceil(mine.ceil)[at]
        getattr(columns, f"{way}_dropped_packets")[place, at] = mine.drops[at]
        getattr(columns, f"{way}_backlog_bytes")[place, at] = mine.backlog_bytes[at]
        getattr(columns, f"{way}_bytes")[place, at] = mine.bytes[at]
        columns.in_bytes[place, self._apart] = np.nan  # theirs do not pass the ifb

    def _written(self, port: Port, tree: Tree, control: ClassControl, changes: Changes) -> Outcomes:
        done = tree.write(port.ifindex_of(control.direction), control, changes)
        if port is self._receiving and control.direction == "in":
            self._write_veths(control, changes, done)
        return done

    @property
    def _receiving(self) -> Port | None:
        """Return the uplink whose share of bytes in holds at tenants' veths: the first such."""
        return next((port for port in self._ports if "in" in directions(port.uplink)), None)

    def _seek_veths(self, cgroup_id: Ints) -> None:
        """See which veths tenants have whose files name none; none is then put back as nobody's."""
        try:
            self.discovery.look(cgroup_id)
        finally:  # where the kernel does not tell of others, what was found stays
            for position in self.discovery.positions:
                self._veth_names.pop(position, None)
            self._veth_names.update(self.discovery.names)

    def _watch_veths(self, cgroup_id: Ints) -> None:
        """See which veths are there, and tell the kernel whose they are."""
        found = {position: ifindex_of(name) for position, name in self._veth_names.items()}
        self._there = {position: ifindex for position, ifindex in found.items() if ifindex}
        self._lost = {
            at: name for at, name in self._veth_names.items() if not found[at] and cgroup_id[at]
        }
        self._bridged.look((at, self._veth_names[at]) for at in self._there)
        if self._programs is not None:
            owners = dict.fromkeys(map(ifindex_of, self._bridged.all_above), BY_MARK)
            owners |= {ifindex: int(cgroup_id[at]) for at, ifindex in self._there.items()}
            self._untold_veths = self._programs.watch("veths", owners)

    def _note_bridged(self, cgroup_id: Ints) -> None:
        """See to it that packets from bridges are told apart, where bytes out are divided."""
        if self._programs is None or not any("out" in directions(p.uplink) for p in self._ports):
            return
        for at in sorted(self._bridged.above.keys() & set(self._classed.tolist())):
            if cgroup_id[at]:
                self._try_veth("bridged", at, partial(self._note_port, at))

    def _note_port(self, position: int) -> None:
        assert self._programs is not None  # noqa: S101 - its caller has looked
        self._restored += self._bridged.note(position, self._programs)

    def _watch_addresses(self) -> None:
        """Tell the kernel whose packets in are this host's at all."""
        if self._programs is not None and self._receiving is not None:
            self._programs.watch_addresses(self._netlink.addresses())

    def _read_veths(self, columns: NetColumns, place: int, cgroup_id: Ints) -> None:
        """Make what is missing on the veths of limited tenants, and read their classes there."""
        if self._veths is None:
            return
        for position in set(self._apart.tolist()) & set(self._classed.tolist()):
            for name in ("in_rate", "in_ceil", "in_dropped_packets", "in_backlog_bytes"):
                getattr(columns, name)[place, position] = np.nan
            if position in self._there and cgroup_id[position]:
                fill = partial(self._fill_veth, columns, place, position, self._there[position])
                self._try_veth("veth", position, fill)

    def _forget_bridged(self, columns: NetColumns, place: int) -> None:
        """Know nothing of bytes out that come from a bridge, and do not tell whose they are."""
        for name in NET_QUANTITIES:
            if name.startswith("out_"):
                hidden = self._bridged.hidden(self._names[place])
                getattr(columns, name)[place, hidden] = np.nan

    def _forget_without_veth(self, columns: NetColumns, place: int) -> None:
        """Know nothing of who has no veth now: its class has none of its packets."""
        gone = [at for at in self._apart.tolist() if at not in self._there]
        for name in NET_QUANTITIES:
            getattr(columns, name)[place, gone] = np.nan

    def _fill_veth(self, columns: NetColumns, place: int, position: int, ifindex: int) -> None:
        assert self._veths is not None  # noqa: S101 - its caller has looked
        mine = self._veths.read(position, ifindex)
        self._note(f"{self._names[place]} in", self._veths.restored)
        tree = self._trees[self._names[place], "in"]
        columns.in_rate[place, position] = mine.rate[0]
        columns.in_ceil[place, position] = tree.shown_ceil(mine.ceil)[0]
        columns.in_dropped_packets[place, position] = mine.drops[0]
        columns.in_backlog_bytes[place, position] = mine.backlog_bytes[0]
        columns.in_bytes[place, position] = mine.bytes[0]

    def _write_veths(self, control: ClassControl, changes: Changes, done: Outcomes) -> None:
        """Write what concerns tenants behind a veth there, which is where it holds."""
        for place in np.flatnonzero(np.isin(changes.tenant, self._apart)).tolist():
            position = int(changes.tenant[place])
            if self._veths is None:
                continue
            one = self._veths.write(position, control, float(changes.after[place]))
            done.kept[place], done.result[place] = one.kept[0], one.result[0]
            done.why.pop(position, None)
            for why in one.why.values():
                done.why[position] = why

    def _fill_unlimited(self, columns: NetColumns, place: int, cgroup_id: Ints) -> None:
        """Say where there are no classes that nothing limits anyone."""
        is_free = cgroup_id != 0
        is_free[self._classed] = False
        is_free[self._unreached] = False
        for way in directions(self._ports[place].uplink):
            getattr(columns, f"{way}_rate")[place, is_free] = 0.0
            getattr(columns, f"{way}_ceil")[place, is_free] = np.inf

    def _counted(self, cgroup_id: Ints) -> Counters | None:
        """Return what programs have counted, and let them forget who is gone."""
        if self._programs is None:
            return None
        try:
            counters = self._programs.counters()
            self._programs.forget(counters, {one for one in cgroup_id.tolist() if one})
        except OSError as error:
            self._attempts.failed("counters", error)
            return None
        self._attempts.forget("counters")
        return counters

    def _fill_counted(
        self, columns: NetColumns, place: int, counters: Counters | None, cgroup_id: Ints
    ) -> None:
        ifindex = self._ports[place].ifindex
        if counters is None or not ifindex:
            return
        for name, field in (("out_offered_bytes", "out_bytes"), ("in_bytes", "in_bytes")):
            count = counters.of(field, cgroup_id, ifindex)
            getattr(columns, name)[place] = np.where(cgroup_id != 0, count, np.nan)
            for blind in (self._apart, self._unreached):  # whose packets programs cannot tell
                getattr(columns, name)[place, blind] = np.nan

    def _try_veth(self, what: str, position: int, act: Callable[[], None]) -> None:
        """Do something about a veth that is there, and may be gone by now: then nothing failed."""
        ifindex = self._there[position]
        key = f"{what} {ifindex}"
        if (
            not self._attempts.is_done(key, act)
            and ifindex_of(self._veth_names[position]) != ifindex
        ):
            self._attempts.forget(key)

    def _problems(self) -> tuple[str, ...]:
        """Return what is amiss."""
        found = [f"network: {why}" for why in self._attempts.problems()]
        if self._saved.problem is not None:
            found.append(f"network: {self._saved.problem}")
        for (uplink, way), tree in self._trees.items():
            found += [f"network: {uplink} {way}: {why}" for why in self._refused(tree)]
        if names := [self._tenants[one] for one in self._unreached.tolist()]:
            found.append(
                f"network: {len(names)} tenant(s) elsewhere without a veth are neither limited nor "
                f"counted: {few(names)}"
            )
        found += [f"network: {one}" for one in (*self._preceded(), *self._bridged.problems())]
        unfound: dict[str, list[str]] = {}
        lost = {at: f"{name} is not there" for at, name in self._lost.items()}
        for at, why in (self.discovery.problems | lost).items():
            unfound.setdefault(why, []).append(self._tenants[at])
        found += [f"network: veth of {few(names)}: {why}" for why, names in unfound.items()]
        if self._untold:
            found.append(f"network: the kernel is not told of {self._untold} tenant(s) yet")
        if self._untold_veths:
            found.append(f"network: the kernel is not told of {self._untold_veths} veth(s) yet")
        if not all(tree.has_leaves for tree in self._trees.values()):
            found.append("network: no fq_codel here: the packets of a tenant share one queue")
        return tuple(dict.fromkeys(found))

    def _preceded(self) -> Iterator[str]:
        """Yield where others' filters come before ours; on what leaves they concern veths alone."""
        for port in self._ports:
            for way in directions(port.uplink):
                if way in port.preceded and (way == "in" or self._there):
                    yield preceded_text(port.uplink.name, way)

    def _refused(self, tree: Tree) -> Iterator[str]:
        """Yield each reason for which the kernel refused classes, and whose."""
        for code in sorted(set(tree.refused.values())):
            names = [self._tenants[at] for at, why in tree.refused.items() if why == code]
            yield f"{len(names)} class(es) refused ({os.strerror(code)}): {few(names)}"
