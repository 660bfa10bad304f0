"""enforce.links.reader: the kernel keeps a reading of uplinks waiting, and ticks go on."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from worlds import DISK, NETWORK, UPLINK, Ready, World, config_of

from agent.policy import loop_settings, policy_of, thrift_of
from agent.ports import Kernel
from agent.record import TickRecord
from agent.tenant import Resource, Roster
from agent.tick import ControlLoop
from enforce.columns import Changes, ClassControl, HostSample, Ints, NetColumns, Outcomes, Restored
from enforce.links.reader import _WAIT_S, LATE, UplinkReader
from forecast.fallback import fallback_profile

TENANTS = 3
BYTES_PER_S = np.array([1e6, 2e6, 0.0])
OUT, IN = NETWORK
LIMIT_S = 20.0  # a test that waits for ever fails


class HeldUplink:
    """An uplink whose counters follow the test's clock, and whose kernel can be held up."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.world, self.now_s, self.patch = world, 100.0, patch
        self.is_let_through, self.is_held = threading.Event(), threading.Event()
        self.restored: tuple[Restored, ...] = ()
        self.fault: Exception | None = None
        self.writes: list[float] = []
        self.is_closed = False

    def hold(self) -> None:
        """Keep readings waiting from now on; ticks wait for them as they would."""
        self.is_let_through.clear()
        self._have_ticks_wait(_WAIT_S)

    def let_through(self) -> None:
        """Let readings end; ticks wait for them, on a busy machine too."""
        self._have_ticks_wait(LIMIT_S)
        self.is_let_through.set()

    def _have_ticks_wait(self, for_s: float) -> None:
        for name in ("_WAIT_S", "_FIRST_WAIT_S"):
            self.patch.setattr(f"enforce.links.reader.{name}", for_s)

    def clock(self) -> float:
        return self.now_s

    def unknown(self) -> NetColumns:
        return NetColumns.unknown((UPLINK,), TENANTS)

    def read(self, _: Ints) -> NetColumns:
        """Count bytes out before the kernel's lock is had, and bytes in after."""
        if self.fault is not None:
            raise self.fault
        restored, self.restored = self.restored, ()
        out = (BYTES_PER_S * self.now_s)[None]
        if not self.is_let_through.is_set():
            self.is_held.set()
            assert self.is_let_through.wait(LIMIT_S)
        columns = replace(self.world.network(), out_bytes=out, out_offered_bytes=out)
        return replace(columns, in_bytes=(BYTES_PER_S * self.now_s)[None], restored=restored)

    def apply(self, changes: Changes) -> Outcomes:
        assert self.is_let_through.is_set()
        self.writes.append(self.now_s)
        return World.apply(self.world, changes)

    def stop(self) -> None:
        """Have nothing to leave out."""

    def close(self) -> None:
        self.is_closed = True


class Host(World):
    """A host whose uplink is read beside the ticks."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__(TENANTS, has_rates=True)
        self.uplink = HeldUplink(self, patch)
        self.uplink.let_through()
        self.reader = UplinkReader(self.uplink, self.uplink.clock)  # type: ignore[arg-type]

    def read(self, taken_at_s: float) -> HostSample:
        sample = super().read(taken_at_s)
        return replace(sample, network=self.reader.read(sample.cgroup_id))

    def apply(self, changes: Changes) -> Outcomes:
        if isinstance(changes.control, ClassControl):
            return self.reader.apply(changes)
        return super().apply(changes)

    def close(self) -> None:
        self.uplink.let_through()
        self.reader.close()


class Ticks:
    """The control loop on that host, a second a tick."""

    def __init__(self, host: Host) -> None:
        config = config_of(TENANTS, DISK)
        self.host = host
        self.loop = ControlLoop(
            Roster.of(config.tenants, config.resources),
            policy_of(config),
            replace(loop_settings(config, thrift_of(config)), step_s=1e9),
            kernel=Kernel(host, host),
            forecaster=Ready(fallback_profile(host.usage()[None], step=0)),  # type: ignore[arg-type]
            ledgers={},
        )

    def tick(self) -> TickRecord:
        self.host.uplink.now_s += 1.0
        record = self.loop.tick(self.host.uplink.now_s, late_ticks=0)
        self.host.obey(record)
        return record

    def ticked(self, count: int) -> list[TickRecord]:
        """Run so many ticks."""
        return [self.tick() for _ in range(count)]

    def held_up(self, count: int) -> list[TickRecord]:
        """Run so many ticks, the first of which asks for a reading that is held up."""
        self.host.uplink.hold()
        first = self.tick()
        assert self.host.uplink.is_held.wait(LIMIT_S)
        return [first, *self.ticked(count - 1)]

    def drifts(self, count: int) -> list[int]:
        """Run so many ticks; return how many changes of somebody else's each has counted so far."""
        return drifts(self.ticked(count))

    def let_through(self) -> None:
        """Let the reading that is held up end, and wait until it has."""
        uplink, reader = self.host.uplink, self.host.reader
        uplink.let_through()
        with reader._changed:
            assert reader._changed.wait_for(lambda: reader._answer is not None, LIMIT_S)

    def spent(self, resource: Resource) -> np.ndarray:
        return self.loop.ledgers[resource].spent


def drifts(records: list[TickRecord]) -> list[int]:
    """Return how many changes of somebody else's each has counted so far."""
    return [one.drift.total for one in records if one.drift is not None]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with closing(Host(monkeypatch)) as host:
        yield host


@pytest.fixture
def ticks(host: Host) -> Ticks:
    return Ticks(host)


def test_ticks_go_on_while_a_reading_is_held_up_and_nothing_is_lost_or_counted_twice(
    ticks: Ticks, host: Host
) -> None:
    before = ticks.ticked(3)[-1]
    assert before.usage.network.out_bytes[0] == pytest.approx(BYTES_PER_S)
    assert LATE not in before.problems
    began_s, spent = host.uplink.now_s, {way: ticks.spent(way).copy() for way in NETWORK}
    for record in ticks.held_up(5):
        assert LATE in record.problems
        assert np.isfinite(record.usage.cpu_cores).all()
        assert np.isnan(record.usage.network.out_bytes).all()
        assert np.isnan(record.usage.net_out_bytes_per_s).all()
        assert np.isnan(record.sample.limit(ClassControl(UPLINK, "out", "ceil"))).all()
    assert all(written_s <= began_s for written_s in host.uplink.writes)
    ticks.let_through()
    for record in ticks.ticked(3):
        assert LATE not in record.problems
        for rate in (record.usage.network.out_bytes, record.usage.network.in_bytes):
            assert rate[0] == pytest.approx(BYTES_PER_S)
    for way in NETWORK:
        used = ticks.spent(way) - spent[way]
        assert used == pytest.approx(BYTES_PER_S * (host.uplink.now_s - began_s))
    assert ticks.drifts(1) == [0]  # what was written before is nobody else's


def test_what_was_put_back_by_a_late_reading_is_told_once(ticks: Ticks, host: Host) -> None:
    ticks.tick()
    host.uplink.restored = (Restored("qdisc", "removed"),)
    assert drifts(ticks.held_up(2)) == [0, 0]
    ticks.let_through()
    assert ticks.drifts(3) == [1, 1, 1]


def test_a_cgroup_made_again_meanwhile_has_no_part_in_what_was_read_before(host: Host) -> None:
    ids = np.arange(1, TENANTS + 1)
    host.reader.read(ids)
    host.uplink.hold()
    columns = host.reader.read(np.array([1, 9, 3]))
    assert np.isnan(columns.out_bytes[0]).tolist() == [False, True, False]


def test_nothing_is_written_before_the_reading_under_way_is_taken(ticks: Ticks, host: Host) -> None:
    ticks.tick()
    ticks.held_up(1)
    control = ClassControl(UPLINK, "out", "ceil")
    changes = Changes(control, np.arange(1), np.zeros(1), np.ones(1))
    before = len(host.uplink.writes)
    assert "reading" in host.reader.apply(changes).why[0]
    ticks.let_through()
    assert "reading" in host.reader.apply(changes).why[0]
    ticks.tick()
    assert not host.reader.apply(changes).why
    assert len(host.uplink.writes) > before


def test_a_fault_in_a_reading_fails_the_tick_that_takes_it_and_no_other(host: Host) -> None:
    ids = np.arange(1, TENANTS + 1)
    host.uplink.fault = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError, match="ours"):
        host.reader.read(ids)
    host.uplink.fault = None
    assert np.isfinite(host.reader.read(ids).out_bytes).all()


def test_a_reading_that_is_held_up_at_the_end_is_left_alone_and_closes_what_it_read(
    host: Host,
) -> None:
    host.uplink.hold()
    host.reader.read(np.arange(1, TENANTS + 1))
    thread = host.reader._thread
    assert thread is not None
    host.reader.close()
    assert not host.uplink.is_closed  # it is in use
    host.uplink.let_through()
    thread.join(LIMIT_S)
    assert host.uplink.is_closed


def test_what_was_never_read_is_closed_at_once(host: Host) -> None:
    host.reader.close()
    assert host.uplink.is_closed
