"""The configuration as an operator writes it: defaults, units, and every fault with its place."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.allocation import Mode
from agent.config import ConfigError, check_reload, load_config, load_host
from agent.controls import control_of
from agent.policy import uplinks_of
from agent.promises import summary, warnings
from agent.settings import Config, HostSettings
from agent.tenant import Entitlement, Kind, Resource
from enforce.links.uplink import Uplink

MIB = 1 << 20
Loader = Callable[..., Config]


def test_an_empty_file_is_a_whole_configuration(load: Loader) -> None:
    config = load()
    assert config.host == HostSettings()
    assert config.modes == {Resource.CPU: Mode.ELASTIC, Resource.MEMORY: Mode.STRICT}
    assert config.total == {Resource.CPU: 2.0, Resource.MEMORY: 2048 * MIB}
    assert config.capacity == {Resource.CPU: 1.9, Resource.MEMORY: (2048 - 512) * MIB}
    assert [qos.name for qos in config.qos] == ["platinum", "gold", "silver"]


def test_quantities_may_carry_units(load: Loader) -> None:
    config = load(
        """
        [host]
        memory_capacity_bytes = "1G"
        cpu_capacity_cores = 1.5
        [periods]
        tick_s = 0.25
        step_s = "500ms"
        horizon_s = "2s"
        refit_s = "1m"
        [emergency]
        grant_s = 5
        """
    )
    assert config.total == {Resource.CPU: 1.5, Resource.MEMORY: 1024 * MIB}
    assert config.periods.horizon_steps == 4
    assert (config.periods.step_s, config.periods.refit_s) == (0.5, 60.0)
    assert config.emergency.grant_s == 5.0


def test_a_tenant_is_named_by_its_file_and_ordered_by_name(load: Loader) -> None:
    config = load(
        web='qos = "platinum"\n[cpu]\nfloor_cores = 0.5\nceiling_cores = 2\n',
        batch='qos = "gold"\nobserve = true\n[memory]\nfloor_bytes = "64M"\nweight = 2\n',
    )
    assert [tenant.name for tenant in config.tenants] == ["batch", "web"]
    batch, web = config.tenants
    assert web.entitlements[Resource.CPU] == Entitlement(0.5, 2.0, 1.0)
    assert web.entitlements[Resource.MEMORY] == Entitlement()
    assert batch.is_observed_only
    assert batch.entitlements[Resource.MEMORY] == Entitlement(64 * MIB, float("inf"), 2.0)


def test_no_limit_of_a_tenants_goes_beyond_where_the_kernel_kills(load: Loader) -> None:
    config = load("", web='qos = "gold"\nmemory_max_bytes = "1G"\n', batch='qos = "gold"\n')
    batch, web = config.tenants
    assert web.memory_max_bytes == web.entitlements[Resource.MEMORY].ceiling == 1 << 30
    assert batch.memory_max_bytes == batch.entitlements[Resource.MEMORY].ceiling == float("inf")


DISKS = """
[disk.sda]
read_capacity_bytes_per_s = "100M"
read_reserve_bytes_per_s = "20M"
write_capacity_ops_per_s = 500
[disk.sdb]
read_capacity_bytes_per_s = "50M"
[network]
in_capacity_bytes_per_s = "10M"
[requests]
capacity_per_s = 100
[modes]
net_in = "elastic"
"""
SDA, SDB = Resource(Kind.DISK_READ, "sda"), Resource(Kind.DISK_READ, "sdb")
SDA_OPS, NET_IN = Resource(Kind.DISK_WRITE_OPS, "sda"), Resource(Kind.NET_IN)


def test_what_has_a_capacity_is_divided_each_disk_by_itself(load: Loader) -> None:
    config = load(DISKS)
    requests = Resource(Kind.REQUESTS)
    assert config.resources[2:] == (SDA, SDA_OPS, SDB, NET_IN, requests)
    assert (config.total[SDA], config.capacity[SDA]) == (100 * MIB, 80 * MIB)
    assert (config.capacity[SDB], config.machine[requests]) == (50 * MIB, 100.0)
    assert (config.modes[NET_IN], config.modes[SDA]) == (Mode.ELASTIC, Mode.STRICT)
    assert config.disks == ("sda", "sdb")


def test_each_uplink_is_divided_by_itself_and_set_up_as_said(load: Loader) -> None:
    text = """
        [network]
        in_capacity_bytes_per_s = "1M"
        [network.eth0]
        out_capacity_bytes_per_s = "100M"
        out_reserve_bytes_per_s = "10M"
        in_capacity_bytes_per_s = "50M"
        replace_qdisc = true
        [network."bond0.7"]
        out_capacity_bytes_per_s = "5G"
        others_fraction = 0.1
    """
    config = load(text, web="qos = 'gold'\n[network]\nout_floor_bytes_per_s = '2M'")
    eth0, bond = (Resource(Kind.NET_OUT, name) for name in ("eth0", "bond0.7"))
    assert config.resources[2:] == (NET_IN, eth0, Resource(Kind.NET_IN, "eth0"), bond)
    (web,) = config.tenants
    assert [web.entitlements[one].floor for one in (eth0, bond)] == [2 * MIB, 2 * MIB]
    assert config.disks == ()
    assert uplinks_of(config) == [
        Uplink("eth0", 100 * MIB, 50 * MIB, 10 * MIB, 0.5, may_replace_qdisc=True),
        Uplink("bond0.7", 5 * 1024 * MIB, others_fraction=0.1),
    ]
    assert [control_of(one) is None for one in (NET_IN, eth0)] == [True, False]


def test_a_promise_holds_on_each_disk_unless_said_otherwise_of_one(load: Loader) -> None:
    text = """
        qos = "gold"
        [disk]
        read_floor_bytes_per_s = "10M"
        write_ceiling_ops_per_s = 50
        weight = 2
        [disk.sdb]
        read_floor_bytes_per_s = 0
        read_ceiling_bytes_per_s = "20M"
    """
    promised = load(DISKS, a=text).tenants[0].entitlements
    assert promised[SDA] == Entitlement(10 * MIB, float("inf"), 2.0)
    assert promised[SDB] == Entitlement(0.0, 20 * MIB, 2.0)
    assert promised[SDA_OPS] == Entitlement(0.0, 50.0, 2.0)
    assert promised[NET_IN] == Entitlement()


def test_floors_on_one_disk_that_do_not_fit_are_refused(faults: Callable[..., list[str]]) -> None:
    assert faults(DISKS, a="qos = 'gold'\n[disk]\nread_floor_bytes_per_s = '60M'") == [
        "tenants.d: sum of disk.sdb.read_floor_bytes_per_s: "
        "expected at most 50.0M/s (52428800 bytes/s) "
        "(50.0M/s (52428800 bytes/s) less a reserve of 0B/s (0 bytes/s)), "
        "got 60.0M/s (62914560 bytes/s) from 1 tenant(s), "
        "the largest being a 60.0M/s (62914560 bytes/s)"
    ]


def test_a_promise_on_a_disk_that_has_no_such_capacity_is_refused(
    faults: Callable[..., list[str]],
) -> None:
    (found,) = faults(DISKS, a="qos = 'gold'\n[disk.sdb]\nwrite_floor_ops_per_s = 1")
    assert "disk.sdb.write_floor_ops_per_s: expected [disk.NAME] write_capacity_ops_per_s" in found


def test_a_tenants_metrics_may_be_in_a_file(load: Loader) -> None:
    table = "qos = 'gold'\n[metrics]\nfile = '/run/a/metrics'"
    inline = "qos = 'gold'\nmetrics = { file = '/run/b/metrics' }"
    tenants = load(a=table, b=inline, c="qos = 'gold'\n[metrics]").tenants
    assert [one.metrics_file for one in tenants] == ["/run/a/metrics", "/run/b/metrics", None]


def test_a_class_is_changed_in_part_and_a_new_one_is_given_in_full(load: Loader) -> None:
    config = load(
        """
        [qos.gold]
        weight = 5
        [qos.diamond]
        weight = 20
        risk_aversion = 1
        emergency_rank = 0
        burst_s = "10m"
        """,
        a='qos = "diamond"',
    )
    by_name = {qos.name: qos for qos in config.qos}
    assert (by_name["gold"].weight, by_name["gold"].burst_s) == (5.0, 120.0)
    assert config.tenants[0].qos.burst_s == 600.0


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("[hots]", "hots: unknown section (did you mean 'host'?)"),
        (
            "x = 1",
            "x: unknown section (known: host, periods, emergency, pace, forecast, calendar, ",
        ),
        ("[host]\ncgroup_rot = '/x'", "host.cgroup_rot: unknown setting (did you mean"),
        ("host = 3", "host: expected a table ([host]), got 3"),
        ("[[host]]", "host: expected a table ([host]), got a list"),
        ("[host]\nobserve = 1", "host.observe: expected true or false, got 1"),
        ("[host]\ncgroup_root = 'x'", "host.cgroup_root: expected an absolute path, got 'x'"),
        ("[host]\ncgroup_root = '/a/../b'", "host.cgroup_root: expected an absolute path"),
        ("[host]\ncpu_reserve_cores = true", "host.cpu_reserve_cores: expected cores of at least"),
        ("[host]\ncpu_reserve_cores = -1", "host.cpu_reserve_cores: expected cores of at least 0"),
        ("[host]\ncpu_reserve_cores = nan", "host.cpu_reserve_cores: expected cores of at least"),
        ("[host]\ncpu_reserve_cores = '1'", "host.cpu_reserve_cores: expected cores of at least"),
        ("[host]\nmemory_margin_bytes = 1.5", "host.memory_margin_bytes: expected bytes of at"),
        ("[host]\nmemory_margin_bytes = '1Q'", "host.memory_margin_bytes: expected bytes of at"),
        ("[periods]\ntick_s = inf", "periods.tick_s: expected seconds of at least 0.05, such as"),
        ("[periods]\ntick_s = 0", "periods.tick_s: expected seconds of at least 0.05, such as 60"),
        ("[periods]\nstep_s = '1min'", "got '1min' (units: ms, s, m, h, d)"),
        ("[host]\nmemory_margin_bytes = '1Q'", "got '1Q' (units: B, K, M, G, T, P, powers of 1024"),
        (
            "[host]\nobserve = true\nobserve = false\n",
            "tidegate.toml: line 3: this key is set twice",
        ),
        ("[host]\nobserve = true\nobserve = false", "the last line: this key is set twice"),
        ("[host]\n[log]\n[host]\n", "tidegate.toml: line 3: this table is there twice"),
        ("host = {observe = true, observe = true}\n", "line 1: this key is set twice"),
        ("host = [1]\n[[host]]\n", "line 2: this table is there already, and closed"),
        ("[host]\nobserve = yes", "tidegate.toml: not valid TOML: Invalid value (at line 2"),
        ("[modes]\ncpu = 'elstic'", "got 'elstic' (did you mean 'elastic'?)"),
        ("[log]\nlevel = []", 'log.level: expected "debug" or "info" or "warning" or "error", got'),
        ("[forecast]\nhistory_steps = 1e3", "forecast.history_steps: expected a whole number"),
        ("[pace]\nramp_down_fraction_per_s = 0", "expected a fraction per second above 0, at most"),
        ("[emergency]\ngrant_s = 0", "emergency.grant_s: expected seconds above 0, such as"),
        ("[emergency]\nfraction = 0.9", "emergency.fraction: expected a fraction from 0 to 0.5"),
        ("[qos.gold]\nweight = 0", "qos.gold.weight: expected a weight from 0.001 to 10000"),
        ("qos = 1", "qos: expected a table of classes, got 1"),
        ("[qos]\ngold = 1", "qos.gold: expected a table ([qos.gold]), got 1"),
        (
            "[qos.'Big One']\nweight = 1\nrisk_aversion = 0\nemergency_rank = 0\nburst_s = 1",
            "qos.'Big One': expected a class name of a-z",
        ),
        (
            "[periods]\nstep_s = 0.5\nhorizon_s = 10",
            "periods.step_s: expected at least periods.tick_s (1s), got",
        ),
        ("[periods]\nhorizon_s = 100", "expected 1 to 1000 times periods.step_s (1m), got 100s"),
        ("[periods]\nhorizon_s = 1e8", "expected 1 to 1000 times periods.step_s (1m), got"),
        ("[periods]\nrefit_s = 30", "periods.refit_s: expected at least periods.step_s (1m), got"),
        ("[host]\ncpu_capacity_cores = 3", "expected at most the 2 cores that this host has, got"),
        ("[host]\ncpu_reserve_cores = 2", "host.cpu_reserve_cores: expected less than the capac"),
        ("[host]\nmemory_reserve_bytes = '2G'", "host.memory_reserve_bytes: expected less than"),
        ("[disk]\nsda = 5", "disk.sda: expected a table for each disk ([disk.sda]), got 5"),
        ("disk = 5", "disk: expected a table for each disk ([disk.sda]), got 5"),
        ("[disk.'a/b']\nread_capacity_ops_per_s = 5", "disk.'a/b': expected a disk's name in"),
        ("[disk.sda]\nread_capacity = 5", "disk.sda.read_capacity: unknown setting (did you mean"),
        (
            "[disk.sda]\nread_reserve_bytes_per_s = 5",
            "disk.sda.read_capacity_bytes_per_s: expected bytes per second of at least 1, such as "
            '1048576 or "100M", got nothing but a reserve',
        ),
        (
            "[network]\nout_capacity_bytes_per_s = '1M'\nout_reserve_bytes_per_s = '1M'",
            "network.out_reserve_bytes_per_s: expected less than the capacity of 1.00M/s, got",
        ),
        (
            "[network.'an interface']\nin_capacity_bytes_per_s = 1",
            "network.'an interface': expected an interface's name, such as eth0 or enp1s0",
        ),
        ("[network.eth0]\nreplace_qdisc = 1", "network.eth0.replace_qdisc: expected true or"),
        ("[network.eth0]\nreplace_qdisk = true", "network.eth0.replace_qdisk: unknown setting"),
        ("[network]\nreplace_qdisc = true", "network.replace_qdisc: unknown setting"),
        ("network = 5", "network: expected a table ([network]), got 5"),
        ("[requests]\ncapacity_per_s = 0", "requests.capacity_per_s: expected requests per second"),
        ("a = [", "not valid TOML: "),
        ("a = 1\na = 2", "the last line: this key is set twice"),
        ("a = " + "[" * 20_000, "not valid TOML: nested too deeply"),
        ("a = " + "9" * 5000, "not valid TOML: a number of thousands of digits"),
        (
            ".".join("a" * 20_000) + " = 1",
            "expected at most 100 dots on a line, got more on line 1",
        ),
        ("\n[" + ".".join("a" * 200) + "]", "at most 100 dots on a line, got more on line 2"),
        ("\ufeff[host]", "begins with a byte order mark: save it as UTF-8 without one"),
        ("a" * 1000 + " = 1", "tidegate.toml: '" + "a" * 56 + "...: unknown section"),
        ("[periods]\nrefit_s = '99999d'", "got '99999d' (too large)"),
        ("[host]\nmemory_margin_bytes = '8192P'", "got '8192P' (too large)"),
        (
            "[host]\nmemory_margin_bytes = 4611686018427387905",
            "got 4611686018427387905 (too large)",
        ),
        ("[host]\ncpu_reserve_cores = 1" + "0" * 400, "host.cpu_reserve_cores: expected cores"),
        ("#" * ((64 << 10) + 1), "cannot be read: larger than 64 KiB"),
    ],
)
def test_a_fault_names_its_place_what_was_expected_and_what_was_found(
    faults: Callable[..., list[str]], host: str, fault: str
) -> None:
    found = faults(host)
    assert len(found) == 1
    assert found[0].startswith("tidegate.toml: ")
    assert fault in found[0]


def test_a_new_class_lacks_nothing(faults: Callable[..., list[str]]) -> None:
    assert faults("[qos.diamond]\nweight = 9") == [
        "tidegate.toml: qos.diamond.risk_aversion: expected a fraction from 0 to 1, got nothing",
        "tidegate.toml: qos.diamond.emergency_rank: "
        "expected a whole number from 0 to 1000, got nothing",
        "tidegate.toml: qos.diamond.burst_s: "
        'expected seconds of at least 0, such as 60, "60s" or "5m", got nothing',
    ]


@pytest.mark.parametrize(
    ("tenant", "fault"),
    [
        ("", 'qos: expected a QoS class, "platinum" or "gold" or "silver", got nothing'),
        ("qos = 'glod'", "got 'glod' (did you mean 'gold'?)"),
        ("qos = 7", 'qos: expected a QoS class, "platinum" or "gold" or "silver", got 7'),
        ("qos = 'gold'\ncup = 1", "cup: unknown setting (did you mean 'cpu'?)"),
        ("qos = 'gold'\nmetric = 1", "metric: unknown setting (did you mean 'metrics'?)"),
        ("qos = 'gold'\nmetrics = '/x'", "metrics: expected a table ([metrics]), got '/x'"),
        (
            "qos = 'gold'\n[metrics]\nfiel = '/x'",
            "metrics.fiel: unknown setting (did you mean 'file'",
        ),
        ("qos = 'gold'\n[metrics]\nfile = 'x'", "metrics.file: expected an absolute path, got 'x'"),
        ("qos = 'gold'\n[metrics]\nfile = '/a/../b'", "metrics.file: expected an absolute path"),
        ("qos = 'gold'\nmemory = 1", "memory: expected a table ([memory]), got 1"),
        (
            "qos = 'gold'\n[cpu]\nfloor = 1",
            "cpu.floor: unknown setting (did you mean 'floor_cores'",
        ),
        (
            "qos = 'gold'\nmemory_max_bytes = '4K'",
            "memory_max_bytes: expected bytes of at least 1048576, such as",
        ),
        (
            "qos = 'gold'\nunit = 'acme.service'\nmemory_max_bytes = '1G'",
            "memory_max_bytes: is its owner's to set",
        ),
        (
            "qos = 'gold'\nmemory_max_bytes = '1G'\n[memory]\nfloor_bytes = '2G'",
            "memory_max_bytes: expected at least memory.floor_bytes (2.00G (2147483648 bytes)), "
            "got 1.00G",
        ),
        (
            "qos = 'gold'\n[memory]\nfloor_bytes = '2G'\nceiling_bytes = '1G'",
            "memory.floor_bytes: expected at most memory.ceiling_bytes (1.00G (1073741824 bytes)), "
            "got 2.00G (2147483648 bytes)",
        ),
        (
            "qos = 'gold'\n[disk]\nread_floor_bytes_per_s = 1",
            "disk.read_floor_bytes_per_s: expected [disk.NAME] read_capacity_bytes_per_s in the "
            "host's file, which divides none of it",
        ),
        (
            "qos = 'gold'\n[network]\nweight = 2",
            "network.weight: expected [network.NAME] out_capacity_bytes_per_s in the host's file",
        ),
        ("qos = 'gold'\n[disk.sda]\nweight = 2", "disk.sda: unknown setting"),
    ],
)
def test_a_tenants_fault_names_its_file(
    faults: Callable[..., list[str]], tenant: str, fault: str
) -> None:
    (found,) = faults(web=tenant)
    assert found.startswith("tenants.d/web.toml: ")
    assert fault in found


def test_a_floor_of_an_interface_is_refused_to_whom_it_could_not_be_kept(
    faults: Callable[..., list[str]], load: Callable[..., Config]
) -> None:
    host = "[network.eth0]\nout_capacity_bytes_per_s = '9M'\n"
    tenant = "qos = 'gold'\ncgroup = 'machine.slice/vm.scope'\n"
    floor = "[network]\nout_floor_bytes_per_s = '1M'\n"
    (found,) = faults(host, web=tenant + floor)
    assert found.startswith("tenants.d/web.toml: network.out_floor_bytes_per_s: expected none (of")
    assert load(host, web=f"{tenant}veth = 've-web'\n{floor}").tenants[0].has_network
    assert not load(host, web=tenant).tenants[0].has_network


def test_every_fault_of_every_file_is_told_at_once(faults: Callable[..., list[str]]) -> None:
    found = faults("[periods]\ntick_s = 0\nstep_s = -1", a="qos = 1\n[cpu]\nweight = 0", b="x = [")
    assert [problem.split(": ")[:2] for problem in found] == [
        ["tidegate.toml", "periods.tick_s"],
        ["tidegate.toml", "periods.step_s"],
        ["tenants.d/a.toml", "qos"],
        ["tenants.d/a.toml", "cpu.weight"],
        ["tenants.d/b.toml", "not valid TOML"],
    ]


def test_dots_in_a_comment_are_no_keys(load: Loader) -> None:
    load("# " + "." * 200 + "\n\t#" + "." * 200)


def test_the_text_of_an_error_names_the_first_faults_and_counts_the_others(load: Loader) -> None:
    with pytest.raises(ConfigError) as caught:
        load("".join(f"k{number} = 1\n" for number in range(5000)))
    assert len(caught.value.problems) == 5000
    assert str(caught.value).endswith("; and 4997 more (`tidegate check-config` names all)")
    assert len(str(caught.value)) < 2000


def test_floors_that_cannot_all_be_kept_are_refused_with_numbers(
    faults: Callable[..., list[str]],
) -> None:
    one, two = (f"qos = 'gold'\n[cpu]\nfloor_cores = {cores}" for cores in (1.5, 0.5))
    assert faults(a=one, b=two) == [
        "tenants.d: sum of cpu.floor_cores: expected at most 1.9 cores (2 cores less a reserve of "
        "0.1 cores), got 2 cores from 2 tenant(s), the largest being a 1.5 cores, b 0.5 cores"
    ]


def test_floors_up_to_the_whole_capacity_are_accepted(load: Loader) -> None:
    ninth = "qos = 'gold'\n[cpu]\nfloor_cores = 0.1"
    config = load(**{f"t{number}": ninth for number in range(19)})
    assert len(config.tenants) == 19


def test_hidden_and_backup_files_are_no_tenants(load: Loader, tmp_path: Path) -> None:
    load()
    for name in (".hidden.toml", "web.toml~", ".web.toml.swp", "README", "web.toml.rpmsave"):
        (tmp_path / "tenants.d" / name).write_text("not = [ toml")
    config = load()
    assert config.tenants == ()
    suffix = "does not end in .toml"
    assert config.left_alone == (
        ".hidden.toml (hidden)",
        ".web.toml.swp (hidden)",
        f"README ({suffix})",
        f"web.toml.rpmsave ({suffix})",
        f"web.toml~ ({suffix})",
    )
    assert summary(config)[-1] == f"left alone: {', '.join(config.left_alone)}"


def test_files_left_alone_take_one_line_that_controls_no_terminal(
    load: Loader, tmp_path: Path
) -> None:
    load()
    assert summary(load())[-1].startswith("memory: ")
    for name in ("\x1b[31m", "\n", *(f"x{number}" for number in range(9))):
        (tmp_path / "tenants.d" / name).touch()
    (line,) = (line for line in summary(load()) if line.startswith("left alone: "))
    assert line.startswith(r"left alone: \n (does not end in .toml), \x1b[31m (does not")
    assert line.endswith("), and 6 more")


@pytest.mark.parametrize("name", ["Web", "-web", "_web", "web.shop", "w" * 64, "wéb", "a b"])
def test_a_name_that_is_no_plain_word_is_refused(
    faults: Callable[..., list[str]], name: str
) -> None:
    (found,) = faults(**{name: "qos = 'gold'"})
    assert "expected a file name of a-z" in found


def test_a_name_that_is_no_text_is_refused_and_can_be_printed(
    faults: Callable[..., list[str]], load: Loader, tmp_path: Path
) -> None:
    load()
    (tmp_path / "tenants.d" / os.fsdecode(b"\xff\x1b[31m.toml")).write_text("qos = 'gold'")
    (found,) = faults()
    assert found.startswith(r"tenants.d/\xff\x1b[31m.toml: expected a file name")


def test_what_is_no_readable_file_is_a_fault_of_its_own(
    faults: Callable[..., list[str]], load: Loader, tmp_path: Path
) -> None:
    load()
    folder = tmp_path / "tenants.d"
    (folder / "folder.toml").mkdir()
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "nowhere.toml").symlink_to("missing")
    os.mkfifo(folder / "pipe.toml")
    (folder / "text.toml").write_bytes(b"qos = '\xff'")
    assert faults() == [
        "tenants.d/folder.toml: cannot be read: Is a directory",
        "tenants.d/loop.toml: cannot be read: Too many levels of symbolic links",
        "tenants.d/nowhere.toml: cannot be read: No such file or directory",
        "tenants.d/pipe.toml: cannot be read: not a regular file",
        "tenants.d/text.toml: not UTF-8: invalid start byte at byte 7",
    ]


def test_a_missing_file_and_a_missing_folder_are_both_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.toml", tmp_path / "b.d", cores=1.0, memory_bytes=1e9)
    assert caught.value.problems == (
        f"{tmp_path}/a.toml: cannot be read: No such file or directory",
        f"{tmp_path}/b.d: the tenants' directory cannot be read: No such file or directory",
    )


def test_where_things_are_is_known_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.toml"
    path.write_text("[host]\nstate_dir = '/s'\n[periods]\ntick_s = -1\n")
    assert load_host(path).state_dir == Path("/s")
    path.write_text("[host]\nstate_dir = 's'\n")
    with pytest.raises(ConfigError, match=r"host\.state_dir"):
        load_host(path)


def test_a_valid_configuration_is_summed_up(load: Loader) -> None:
    assert summary(load(a="qos = 'gold'\n[memory]\nfloor_bytes = '960M'")) == [
        "1 tenant(s), no faults",
        "cpu: floors sum to 0 cores of 1.9 cores, elastic",
        "memory: floors sum to 960M (1006632960 bytes) of 1.50G (1610612736 bytes), strict",
    ]


def test_a_ceiling_above_all_that_there_is_is_a_warning_and_no_fault(load: Loader) -> None:
    config = load(
        a="qos = 'gold'\n[cpu]\nceiling_cores = 200\n[memory]\nceiling_bytes = '3G'",
        b="qos = 'gold'\n[cpu]\nceiling_cores = 2.5",
        c="qos = 'gold'\n[cpu]\nceiling_cores = 2\n[memory]\nceiling_bytes = '2G'",
        d="qos = 'gold'",
    )
    assert summary(config)[-2:] == [
        "warning: cpu.ceiling_cores: 2 tenant(s) with more than the 2 cores that there are, which "
        "limits nothing: a 200 cores, b 2.5 cores",
        "warning: memory.ceiling_bytes: 1 tenant(s) with more than the 2.00G (2147483648 bytes) "
        "that there are, which limits nothing: a 3.00G (3221225472 bytes)",
    ]


def test_a_reload_does_not_move_what_is_in_place(load: Loader) -> None:
    before = load("[host]\nstate_dir = '/a'\ncgroup_root = '/r'")
    check_reload(before, load("[host]\nstate_dir = '/a'\ncgroup_root = '/r'\nobserve = true"))
    with pytest.raises(ConfigError) as caught:
        check_reload(before, load("[host]\nstate_dir = '/b'\ncgroup_root = '/c'"))
    assert caught.value.problems == (
        "host.cgroup_root: expected /r until the agent is restarted, got /c",
        "host.state_dir: expected /a until the agent is restarted, got /b",
    )


@pytest.mark.parametrize(
    ("machine_mib", "kept_mib"), [(65_536, 3276.8), (2048, 512), (1024, 512), (256, 128)]
)
def test_by_default_the_system_and_the_agent_keep_enough_to_live(
    tmp_path: Path, machine_mib: int, kept_mib: float
) -> None:
    (tmp_path / "host").touch()
    (tmp_path / "tenants.d").mkdir()
    memory_bytes = float(machine_mib * MIB)
    config = load_config(
        tmp_path / "host", tmp_path / "tenants.d", cores=2, memory_bytes=memory_bytes
    )
    left_bytes = memory_bytes - config.capacity[Resource.MEMORY]
    assert left_bytes == pytest.approx(kept_mib * MIB)
    assert bool(warnings(config)) == (kept_mib < 256)


def test_a_reserve_below_what_the_agent_itself_needs_is_a_warning_and_no_fault(
    load: Loader,
) -> None:
    config = load("[host]\nmemory_reserve_bytes = '128M'")
    assert summary(config)[-1] == (
        "warning: host.memory_reserve_bytes leaves 128M (134217728 bytes) to all but tenants, "
        "and tidegate itself needs about 256M (268435456 bytes)"
    )
    roomy = "[host]\nmemory_capacity_bytes = '1G'\nmemory_reserve_bytes = 0"
    assert warnings(load(roomy)) == ()
