"""Where tenants live that are not below tidegate's own cgroup, as configured."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import tenant_places
from agent.config import ConfigError, load_config
from agent.homes import elsewhere_of
from agent.release import enforced_names
from agent.tenant import Roster
from agent.tenant_places import TenantPlaces
from enforce.elsewhere import Elsewhere, slice_path
from enforce.originals import Original, Originals
from enforce.places import Places, unit_of


def problems(folder: Path, **places: str) -> list[str]:
    (folder / "tenants.d").mkdir()
    (folder / "tidegate.toml").write_text("")
    for name, place in places.items():
        (folder / "tenants.d" / f"{name}.toml").write_text('qos = "gold"\n' + place)
    try:
        load_config(folder / "tidegate.toml", folder / "tenants.d", cores=4, memory_bytes=1 << 34)
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    "place",
    [
        'unit = "acme.service"',
        'unit = "a-b.slice"',
        'unit = "x@1:2.service"',
        'cgroup = "machine.slice/vm.scope"',
        'cgroup = "/sys/fs/cgroup/docker/0123"',
        r"cgroup = 'machine.slice/machine-qemu\x2d*\x2dweb.scope'",
        r"unit = 'machine-qemu\x2d1\x2dweb.scope'",
    ],
)
def test_a_place_elsewhere_is_taken(tmp_path: Path, place: str) -> None:
    assert problems(tmp_path, a=place) == []


@pytest.mark.parametrize(
    "place",
    [
        'unit = "acme"',
        'unit = "../acme.service"',
        'unit = "a/b.service"',
        'unit = "-.slice"',
        'unit = "tidegate.service"',
        'unit = "acme.service; reboot"',
        "unit = 1",
        'cgroup = ""',
        'cgroup = "/"',
        'cgroup = "a/../b"',
        'cgroup = "a//b"',
        'cgroup = "*/b"',
        'cgroup = "a\\nb"',
        'cgroup = "init.scope"',
        'cgroup = "-.slice"',
        'cgroup = "tidegate.service"',
        'cgroup = "/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service"',
        'cgroup = "tidegate.slice/x"',
        'cgroup = "system.slice/tidegate.service"',
        'unit = "acme.service"\ncgroup = "b"',
    ],
)
def test_what_is_no_place_is_refused(tmp_path: Path, place: str) -> None:
    assert len(problems(tmp_path, a=place)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('unit = "a.service"', 'unit = "a.service"'),
        ('unit = "a.slice"', 'unit = "a-b.slice"'),
        ('unit = "a-b.slice"', 'cgroup = "a.slice"'),
        ('cgroup = "x/y"', 'cgroup = "x/y/z"'),
        ('cgroup = "a.slice/b"', 'unit = "a.slice"'),
    ],
)
def test_tenants_in_one_another_are_refused(tmp_path: Path, one: str, other: str) -> None:
    (found,) = problems(tmp_path, a=one, b=other)
    assert "one with, in, or around that of tenant a" in found


def test_tenants_beside_one_another_are_not(tmp_path: Path) -> None:
    assert problems(tmp_path, a='cgroup = "x/y"', b='cgroup = "x/yz"', c='unit = "x.slice"') == []


def test_a_slice_is_in_the_slices_that_its_name_says() -> None:
    assert slice_path("a.slice") == "a.slice"
    assert slice_path("a-b-c.slice") == "a.slice/a-b.slice/a-b-c.slice"


def test_a_unit_is_told_by_its_suffix_and_has_a_name() -> None:
    assert unit_of("/m/a.slice/b.c.service") == "b.c.service"
    assert [unit_of(f"/m/a.slice/{name}") for name in ("box", ".service", "b.service.d")] == [
        None
    ] * 3


def test_places_are_found_when_they_come_and_lost_when_they_go(tmp_path: Path) -> None:
    root = tmp_path / "tidegate.slice"
    (root / "own").mkdir(parents=True)
    elsewhere = {"acme": Elsewhere(unit="acme.service"), "box": Elsewhere(cgroup="pods/box")}
    places = Places(root, ["acme", "box", "own"], elsewhere, mount=tmp_path)
    assert [places.path(at) for at in range(3)] == [None, None, root / "own"]
    assert "no such cgroup now" in places.problems[0]
    unit = tmp_path / "cust.slice/cust-a.slice/acme.service"
    unit.mkdir(parents=True)
    found = [places.path(0) for _ in range(10)]  # it is not looked for each time
    assert found[0] is None
    assert found[-1] == unit
    assert (places.position_of(unit), places.key(str(unit))) == (0, str(unit))
    assert (places.position_of(root / "own"), places.key(str(root / "own"))) == (2, "own")
    unit.rmdir()
    assert [places.path(0) for _ in range(13)] == [None] * 13
    unit.mkdir()
    assert places.path(0) == unit, "what comes back is looked for where it was"


def test_a_place_may_say_any_text_for_a_number_that_changes_with_each_start(tmp_path: Path) -> None:
    """libvirt numbers a machine anew; two that are meant are as good as none."""
    machines, root = tmp_path / "machine.slice", tmp_path / "tidegate.slice"
    like = Elsewhere(cgroup=r"machine.slice/machine-qemu\x2d*\x2dweb.scope")
    ours = Elsewhere(cgroup="tidegate.slice/*")
    places = Places(root, ["web", "ours"], {"web": like, "ours": ours}, mount=tmp_path)
    (root / "tidegate.service").mkdir(parents=True)
    (machines / r"machine-qemu\x2d7\x2dwebshop.scope").mkdir(parents=True)
    assert [places.path(0), places.path(1)] == [None, None]
    first, second = (machines / rf"machine-qemu\x2d{number}\x2dweb.scope" for number in (1, 2))
    first.mkdir()
    assert places.path(0) == first
    second.mkdir()
    assert places.path(0) == first, "as long as it is there"
    first.rmdir()
    assert places.path(0) == second
    first.mkdir()
    second.rmdir()
    second.mkdir()
    again = Places(root, ["web"], {"web": like}, mount=tmp_path)
    assert again.path(0) is None
    assert again.problems[0].endswith(f"more than one is meant: {first} and {second}")


@pytest.mark.parametrize("maker", ["libpod", "crio"])
def test_no_text_stands_for_the_watcher_that_an_engine_starts_beside_each_container(
    tmp_path: Path, maker: str
) -> None:
    """Two would be meant else, and the container not be limited."""
    machines = tmp_path / "machine.slice"
    watcher, container = (machines / f"{maker}-{of}.scope" for of in ("conmon-1", "1"))
    for scope in (watcher, container):
        scope.mkdir(parents=True)
    elsewhere = {
        "web": Elsewhere(cgroup=f"machine.slice/{maker}-*.scope"),
        "watcher": Elsewhere(cgroup=f"machine.slice/{maker}-conmon-1.scope"),
    }
    places = Places(tmp_path / "root", list(elsewhere), elsewhere, mount=tmp_path)
    assert [places.path(0), places.path(1)] == [container, watcher]


def test_many_units_that_are_absent_take_one_walk_and_that_not_each_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever of them comes is found by the next, each where it is."""
    names, slices = [f"u{number}" for number in range(30)], [f"s{number}" for number in range(5)]
    for name in slices:
        (tmp_path / f"{name}.slice").mkdir()
    elsewhere = {name: Elsewhere(unit=f"{name}.service") for name in names}
    places = Places(tmp_path / "root", names, elsewhere, mount=tmp_path)
    scan, scanned = os.scandir, []

    def counted(folder: Path) -> Any:
        scanned.append(folder)
        return scan(folder)

    monkeypatch.setattr("enforce.places.os.scandir", counted)
    for _ in range(12):
        assert [places.path(at) for at in range(30)] == [None] * 30
    assert len(scanned) == 2 * (1 + len(slices))
    units = [tmp_path / f"{slices[at % 5]}.slice" / f"u{at}.service" for at in range(30)]
    for unit in units:
        unit.mkdir()
    found = [[places.path(at) for at in range(30)] for _ in range(2)]
    assert found == [units, units]


def test_no_machine_passes_for_another_whose_name_ends_its_own(tmp_path: Path) -> None:
    """Whoever names a machine x-web would have web's limits, or keep them from web."""
    machines = tmp_path / "machine.slice"
    like = Elsewhere(cgroup=r"machine.slice/machine-qemu\x2d*\x2dweb.scope")
    places = Places(tmp_path / "root", ["web"], {"web": like}, mount=tmp_path)
    (machines / r"machine-qemu\x2d1\x2dx\x2dweb.scope").mkdir(parents=True)
    assert places.path(0) is None
    own = machines / r"machine-qemu\x2d2\x2dweb.scope"
    own.mkdir()
    assert places.path(0) == own


def test_many_machines_that_are_off_take_one_look_together_and_each_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that run are found at once as the agent starts, and each soon after it has come."""
    count, rounds = 200, 10
    machines = tmp_path / "machine.slice"
    scopes = [machines / rf"machine-qemu\x2d{at}\x2dvm{at}.scope" for at in range(count)]
    for scope in scopes[::2]:
        scope.mkdir(parents=True)
    elsewhere = {
        f"vm{at}": Elsewhere(cgroup=rf"machine.slice/machine-qemu\x2d*\x2dvm{at}.scope")
        for at in range(count)
    }
    places = Places(tmp_path / "root", list(elsewhere), elsewhere, mount=tmp_path)
    scan, scanned, compiled, patterns = os.scandir, [], re.compile, list[str]()

    def counted(folder: Path) -> Any:
        scanned.append(folder)
        return scan(folder)

    def noted(pattern: str) -> Any:
        patterns.append(pattern)
        return compiled(pattern)

    monkeypatch.setattr("enforce.places.os.scandir", counted)
    monkeypatch.setattr("enforce.places.re.compile", noted)
    assert [places.path(at) for at in range(count)][::2] == scopes[::2]
    scanned.clear()
    patterns.clear()
    for _ in range(rounds):
        assert [places.path(at) for at in range(1, count, 2)] == [None] * (count // 2)
    assert len(scanned) <= rounds + 1
    assert len(patterns) <= 2 * count
    for scope in scopes[1::2]:
        scope.mkdir()
    found = [[places.path(at) for at in range(1, count, 2)] for _ in range(rounds)]
    assert found[-1] == scopes[1::2]


def test_who_does_not_run_now_keeps_what_is_recorded_of_it(tmp_path: Path) -> None:
    """Ticks write a unit's limits again once it is started, and would record their own."""
    assert problems(tmp_path, acme='unit = "acme.service"', box='cgroup = "pods/box"') == []
    files = tmp_path / "tidegate.toml", tmp_path / "tenants.d"
    config = load_config(*files, cores=4, memory_bytes=1 << 34)
    roster = Roster.of(config.tenants, config.resources)
    places = Places(tmp_path / "root", roster.names, elsewhere_of(config.tenants), mount=tmp_path)
    kept = [str(tmp_path / "cust.slice/acme.service"), str(tmp_path / "pods/box")]
    former = [str(tmp_path / "cust.slice/other.service"), "former"]
    originals = Originals(tmp_path / "originals.json")
    originals.record(Original(key, 0, "cpu.max", "max 100000") for key in (*kept, *former))
    assert [places.path(at) for at in range(2)] == [None, None]
    enforced = enforced_names(roster, places, originals)
    assert {*kept} <= enforced
    assert enforced.isdisjoint(former)


def test_a_path_and_a_slice_are_found_as_soon_as_they_come(tmp_path: Path) -> None:
    elsewhere = {"a": Elsewhere(cgroup="pods/box"), "b": Elsewhere(unit="cust-b.slice")}
    places = Places(tmp_path / "root", ["a", "b"], elsewhere, mount=tmp_path)
    for _ in range(2):
        assert [places.path(0), places.path(1)] == [None, None]
        paths = [tmp_path / "pods/box", tmp_path / "cust.slice/cust-b.slice"]
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        assert [places.path(0), places.path(1)] == paths
        for path in paths:
            path.rmdir()


def test_a_symbolic_link_is_no_place_and_one_inside_the_root_neither(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "web").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    elsewhere = {"a": Elsewhere(cgroup="link"), "b": Elsewhere(cgroup="root/web")}
    places = Places(root, ["a", "b"], elsewhere, mount=tmp_path)
    assert [places.path(0), places.path(1)] == [None, None]
    assert "one with, in, or around" in places.problems[1]


def test_who_has_been_started_since_is_not_named_as_lost_until_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are looked at every tenth tick: a container would be limited and said to be absent."""
    assert problems(tmp_path, shop='cgroup = "machine.slice/shop.scope"') == []
    config = load_config(
        tmp_path / "tidegate.toml", tmp_path / "tenants.d", cores=4, memory_bytes=1 << 34
    )
    mount = tmp_path / "cgroup"
    monkeypatch.setattr(tenant_places, "Places", partial(Places, mount=mount))
    seen = TenantPlaces(config, Roster.of(config.tenants))
    seen.capped()
    assert seen.problem == "shop: machine.slice/shop.scope: there is no such cgroup now"
    scope = mount / "machine.slice/shop.scope"
    scope.mkdir(parents=True)
    assert seen.places.path(0) == scope, "as the sampler's look in each tick"
    assert seen.problem is None
