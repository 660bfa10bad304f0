"""What outlives a kill: whole, of the last tick, of the same boot, and never half of it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import sample

from agent.checkpoint import Checkpoint
from agent.settings import DEFAULT_QOS
from agent.tenant import BASIC, Resource, Roster, Tenant
from agent.tokens import Ledger
from enforce.columns import HostSample


def roster(*names: str) -> Roster:
    return Roster.of(Tenant(name, DEFAULT_QOS[0], {}) for name in names)


def ledger(*balances: float) -> Ledger:
    columns = [np.array(balances) * scale for scale in (1.0, 10.0, 20.0, 30.0)]
    return Ledger(*[*columns, np.full(len(balances), 0.5)])


def seen(taken_at_s: float, *used_us: float) -> HostSample:
    ids = list(range(11, 11 + len(used_us)))
    return sample(taken_at_s, cgroup_id=ids, cpu_usage_us=list(used_us))


def opened(folder: Path, *names: str) -> tuple[list[float], HostSample | None]:
    checkpoint, who = Checkpoint(folder), roster(*names)
    before = {resource: Ledger.opened(len(who)) for resource in BASIC}
    found = checkpoint.ledgers(who, before)[Resource.CPU]
    return found.balance.tolist(), checkpoint.sample(who, ())


def test_the_last_tick_is_what_is_found(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    for number in range(5):
        ledgers = {Resource.CPU: ledger(float(number), -1.0)}
        checkpoint.save(roster("a", "b"), ledgers, seen(100.0 + number, number, 7.0))
    balances, found = opened(tmp_path, "a", "b")
    assert balances == [4.0, -1.0]
    assert found is not None
    assert (found.taken_at_s, found.cgroup_id.tolist()) == (104.0, [11, 12])
    assert found.cpu_usage_us.tolist() == [4.0, 7.0]


def test_tenants_are_found_by_name_and_newcomers_know_nothing(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(
        roster("a", "c"), {Resource.CPU: ledger(1.0, 3.0)}, seen(1.0, 10.0, 30.0)
    )
    balances, found = opened(tmp_path, "b", "c")
    assert balances == [0.0, 3.0]
    assert found is not None
    assert found.cgroup_id.tolist() == [0, 12]
    assert np.isnan(found.cpu_usage_us[0])


def test_fewer_tenants_than_before_leave_no_rest_of_the_last_in_the_way(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    for number in range(4):
        balances = (float(number), 9.0, 9.0) if number < 2 else (float(number),)
        who = roster(*"abc"[: len(balances)])
        checkpoint.save(who, {Resource.CPU: ledger(*balances)}, seen(1.0 + number, *balances))
    balance, found = opened(tmp_path, "a")
    assert balance == [3.0]
    assert found is not None
    assert found.taken_at_s == 4.0


def test_another_boot_knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoint(tmp_path).save(roster("a"), {Resource.CPU: ledger(1.0)}, seen(1.0, 10.0))
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr("enforce.boot_record.BOOT_ID", tmp_path / "boot_id")
    assert opened(tmp_path, "a") == ([0.0], None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(("cut", "flipped", "longer")))
def test_a_write_that_a_kill_tore_leaves_the_one_before(place: int, how: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = Checkpoint(folder)
        for number in (1.0, 2.0):
            checkpoint.save(roster("a"), {Resource.CPU: ledger(number)}, seen(number, number))
        newest = folder / "tick.0"
        content = bytearray(newest.read_bytes())
        place %= len(content)
        if how == "cut":
            content = content[:place]
        elif how == "flipped":
            content[place] ^= 0x40
        else:
            content = content[:place] + os.urandom(8) + content[place:]
        newest.write_bytes(content)
        balances, found = opened(folder, "a")
        assert found is not None
        assert (balances, found.taken_at_s) in (([1.0], 1.0), ([2.0], 2.0))
        assert (balances[0] == 1.0) == (found.cpu_usage_us[0] == 1.0)


def test_where_nothing_can_be_kept_nothing_old_is_left(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(roster("a"), {Resource.CPU: ledger(1.0)}, seen(1.0, 10.0))
    (tmp_path / "tick.0").mkdir()
    checkpoint.save(roster("a"), {Resource.CPU: ledger(2.0)}, seen(2.0, 20.0))
    assert checkpoint.problem is not None
    assert not (tmp_path / "tick.1").exists()
    assert opened(tmp_path, "a") == ([0.0], None)
