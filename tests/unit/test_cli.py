"""The command line, against a real control server and real files."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from records import record

from agent.cli import main
from agent.control import ControlServer
from agent.options import duration
from agent.pinboard import PinBoard
from agent.pushed import PushedMetrics
from agent.render import POOL_COLUMNS, TENANT_COLUMNS
from agent.sole import RootLock, sole_agent
from agent.status import AgentFacts
from agent.tenant import Resource


def ran(*arguments: str | Path, columns: int = 140) -> Result:
    """Run the command line on a screen of `columns`."""
    runner = CliRunner(env={"COLUMNS": str(columns), "LINES": "50"})
    return runner.invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve the standard record, taken just now."""
    path = tmp_path_factory.mktemp("cli") / "control.sock"
    facts = AgentFacts(tick_s=1.0, tick_cost_s=0.0031)
    # Seen from before it was taken, the record is always 0.0 s old.
    with ControlServer(path, lambda: replace(record(), taken_at_s=1e12), lambda: facts):
        yield path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a host's file whose folders are all below `tmp_path`; there are no tenants."""
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "root").mkdir()
    path = tmp_path / "tidegate.toml"
    path.write_text(
        f'[host]\ncgroup_root = "{tmp_path}/root"\nstate_dir = "{tmp_path}/state"\n'
        f'runtime_dir = "{tmp_path}/run"\n'
    )
    return path


def test_status_shows_one_resource_where_asked(served: Path) -> None:
    result = ran("status", "--socket", served, "--resource", "disk_read")
    assert result.exit_code == 0
    assert result.output.splitlines()[2].split() == ["TENANT", "QOS", "USED/S"]
    wrong = ran("status", "--socket", served, "--resource", "dsk")
    assert wrong.exit_code == 1
    assert "no resource 'dsk' (known: disk_read, " in wrong.stderr


@pytest.mark.parametrize("columns", [80, 140])
def test_status_reads_as_reviewed(
    served: Path, columns: int, assert_golden: Callable[[str, str], None]
) -> None:
    result = ran("status", "--socket", served, columns=columns)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= columns
    assert_golden(f"status-{columns}.txt", result.output)


def test_status_as_json_is_what_the_agent_said(served: Path) -> None:
    answer = json.loads(ran("status", "--json", "--socket", served).output)
    assert answer["tenants"][3]["cpu"]["balance_tokens"] == -31.5
    assert answer["host"]["tick_cost_s"] == 0.0031


def test_explain_shows_the_chain_or_its_json(served: Path) -> None:
    text = ran("explain", "hog", "--socket", served)
    assert "31.5 core-seconds in debt" in text.output
    answer = json.loads(ran("explain", "hog", "--json", "--socket", served).output)
    assert [chain["resource"] for chain in answer["chains"]] == ["cpu", "memory"]


@pytest.mark.parametrize("name", ["nobody", "../status", "a b", "%2e", "é"])
def test_an_unknown_tenant_is_an_error_with_its_name(served: Path, name: str) -> None:
    result = ran("explain", name, "--socket", served)
    assert result.exit_code == 1
    assert result.stderr == f"Error: there is no tenant {name!r}\n"


def test_without_an_agent_the_answer_is_exit_3_and_what_to_do(tmp_path: Path) -> None:
    result = ran("status", "--socket", tmp_path / "none.sock")
    assert result.exit_code == 3
    assert "the agent is not running" in result.stderr
    assert "systemctl start tidegate" in result.stderr
    assert result.stdout == ""


def test_a_valid_configuration_is_summed_up(config: Path) -> None:
    result = ran("check-config", "--config", config)
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "0 tenant(s), no faults")
    assert "copy NAME.toml.example to web.toml" in result.output


def test_every_fault_is_told_and_the_exit_is_1(config: Path) -> None:
    (config.parent / "tenants.d" / "web.toml").write_text("qos = 'glod'")
    config.write_text("[hots]")
    result = ran("check-config", "--config", config)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: 2 faults in the configuration",
        f"  {config}: hots: unknown section (did you mean 'host'?)",
        f"  {config.parent}/tenants.d/web.toml: qos: expected a QoS class, "
        '"platinum" or "gold" or "silver", got \'glod\' (did you mean \'gold\'?)',
    ]


def test_where_no_file_is_it_is_told_how_to_get_one(tmp_path: Path) -> None:
    result = ran("check-config", "--config", tmp_path / "none.toml")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("  scripts/install.sh makes the host's file")


def test_faults_as_json_are_a_list(config: Path) -> None:
    config.write_text("x = [")
    result = ran("check-config", "--json", "--config", config)
    assert result.exit_code == 1
    answer = json.loads(result.output)
    assert answer["is_valid"] is False
    assert len(answer["problems"]) == 1


def test_files_that_are_left_alone_are_named_and_no_fault(config: Path) -> None:
    (config.parent / "tenants.d" / ".x.toml").write_text("qos = 'gold'")
    result = ran("check-config", "--config", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.splitlines()[-1] == "left alone: .x.toml (hidden)"
    answer = json.loads(ran("check-config", "--json", "--config", config).output)
    assert answer == {
        "is_valid": True,
        "problems": [],
        "left_alone": [".x.toml (hidden)"],
        "warnings": [],
    }


def test_the_environment_says_where_files_are(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "web.toml").write_text("qos = 'gold'")
    monkeypatch.setenv("TIDEGATE_CONFIG", str(config))
    monkeypatch.setenv("TIDEGATE_TENANTS_DIR", str(tmp_path / "elsewhere"))
    assert ran("check-config").output.startswith("1 tenant(s)")


def test_doctor_finds_what_is_missing_and_exits_1(config: Path, tmp_path: Path) -> None:
    result = ran("doctor", "--config", config, "--socket", tmp_path / "none.sock", "--json")
    found = {finding["name"]: finding for finding in json.loads(result.output)}
    assert result.exit_code == 1
    assert found["configuration"]["state"] == "ok"
    assert found["agent"]["state"] == "degraded"
    assert found["cgroup v2"]["state"] == "missing"
    assert str(tmp_path / "root") in found["cgroup v2"]["meaning"]


def test_doctor_names_what_is_configured_and_cannot_be_limited(
    config: Path, tmp_path: Path
) -> None:
    with config.open("a") as file:
        file.write(
            "\n[disk.no-such-disk]\nread_capacity_ops_per_s = 5\n[requests]\ncapacity_per_s = 9\n"
        )
    result = ran("doctor", "--config", config, "--socket", tmp_path / "none.sock", "--json")
    found = {finding["name"]: finding for finding in json.loads(result.output)}
    assert result.exit_code == 1
    assert found["requests limits"]["state"] == "missing"
    assert "configured but not enforceable" in found["requests limits"]["meaning"]
    assert found["disk no-such-disk"]["state"] == "missing"
    assert "no such disk" in found["disk no-such-disk"]["meaning"]
    assert "network limits" not in found


def test_doctor_names_the_tenants_without_a_process(config: Path, tmp_path: Path) -> None:
    def examined(*populated: float) -> dict[str, Any]:
        one = record()
        sample = replace(one.sample, populated=np.array(populated))
        cpu = replace(one.resources[Resource.CPU], usage=np.zeros(5))
        seen = replace(one, sample=sample, resources={**one.resources, Resource.CPU: cpu})
        socket = tmp_path / "control.sock"
        with ControlServer(socket, lambda: replace(seen, taken_at_s=1e12), AgentFacts):
            result = ran("doctor", "--config", config, "--socket", socket, "--json")
        findings = {finding["name"]: finding for finding in json.loads(result.output)}
        processes: dict[str, Any] = findings["processes"]
        return processes

    assert examined(1, 1, np.nan, 1, 1)["state"] == "ok"
    found = examined(0, 1, np.nan, 0, 1)
    assert found["state"] == "degraded"
    assert found["meaning"] == "2 of 5 tenant(s) without a process: batch, hog"
    assert f"{tmp_path / 'root'}/batch/cgroup.procs" in found["remedy"]


def test_doctor_names_the_files_that_the_agent_has_not_taken_on(
    config: Path, tmp_path: Path
) -> None:
    """Without a reload an edit is without effect, and nothing else says so."""
    folder, one = tmp_path / "tenants.d", record()

    def examined() -> dict[str, Any]:
        socket = tmp_path / "control.sock"
        with ControlServer(socket, lambda: replace(one, taken_at_s=1e12), AgentFacts):
            result = ran("doctor", "--config", config, "--socket", socket, "--json")
        return {finding["name"]: finding for finding in json.loads(result.output)}

    for path in folder.glob("*.toml"):
        path.unlink()
    for name, qos in zip(one.roster.names, one.roster.qos_names, strict=True):
        (folder / f"{name}.toml").write_text(f"qos = '{qos}'\n")
    assert "files" not in examined()
    (folder / "web.toml").rename(folder / "shop.toml")
    (folder / "hog.toml").write_text("observe = true\nqos = 'silver'\n")
    found = examined()["files"]
    assert found["state"] == "degraded"
    assert found["meaning"].endswith(
        "yet: new: shop; without a file: web; of another class or `observe`: hog"
    )
    assert found["remedy"] == "systemctl reload tidegate"


def test_doctor_goes_on_where_the_configuration_is_broken(config: Path, served: Path) -> None:
    config.write_text("x = [")
    result = ran("doctor", "--config", config, "--socket", served)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("missing   configuration ")
    assert any(line.startswith("ok        agent ") for line in lines)


def test_release_without_limits_says_so(config: Path) -> None:
    result = ran("release", "--config", config)
    assert result.exit_code == 0
    assert result.output == "nothing to release: tidegate holds no limits here\n"


def test_release_tells_of_a_damaged_record_and_keeps_it(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "originals.json").write_text("{")
    result = ran("release", "--config", config)
    assert "Warning: " in result.stderr
    assert (tmp_path / "state" / "originals.json.damaged-1").read_text() == "{"


@pytest.mark.parametrize("command", ["release", "run"])
def test_an_agent_with_other_folders_is_left_alone_too(
    config: Path, tmp_path: Path, command: str
) -> None:
    with closing(RootLock(tmp_path / "root")):
        result = ran(command, "--config", config)
    assert result.exit_code == 1
    assert f"which sets the limits below {tmp_path / 'root'}" in result.stderr


@pytest.mark.parametrize("command", ["release", "run"])
def test_a_running_agent_is_left_alone_and_named(
    config: Path, tmp_path: Path, command: str
) -> None:
    with sole_agent(tmp_path / "run"):
        result = ran(command, "--config", config)
    assert result.exit_code == 1
    assert "the agent is running already (process " in result.stderr


def test_run_refuses_a_faulty_configuration(config: Path) -> None:
    config.write_text("[periods]\ntick_s = 0")
    result = ran("run", "--config", config)
    assert result.exit_code == 1
    assert "periods.tick_s: expected seconds" in result.stderr


@pytest.mark.parametrize("command", ["", *sorted(main.commands), "trace make", "trace show"])
def test_every_command_documents_the_exit_codes_that_it_can_return_and_no_other(
    command: str,
) -> None:
    """Who asks the agent may not reach it; but `doctor` then finds something degraded."""
    result = ran(*command.split(), "--help")
    assert result.exit_code == 0
    _, _, documented = result.output.partition("Exit codes:\n")
    codes = {int(code) for code in re.findall(r"^  +(\d)  ", documented, flags=re.MULTILINE)}
    asks = command in main.commands and any(
        option.name == "socket_path" for option in main.commands[command].params
    )
    is_doctor = command == "doctor"
    also = {3, 4} if not command else {4} if is_doctor else {3} if asks else set()
    assert codes == {0, 1, 2, 5} | also


@pytest.mark.parametrize("command", ["", *sorted(main.commands), "trace make", "trace show"])
def test_help_fits_80_columns(command: str) -> None:
    result = ran(*command.split(), "--help", columns=80)
    assert [line for line in result.output.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    "word",
    [
        *("tenant", "tick", "step", "horizon", "limit", "guaranteed", "lent", "emergency"),
        *("floor", "ceiling", "token", "bank", "debt", "observed"),
    ],
)
def test_the_words_that_are_used_everywhere_are_told(word: str) -> None:
    _, _, words = ran("--help", columns=80).output.partition("Words:\n")
    assert re.search(rf"\b{word}", words.partition("Exit codes:")[0])


def test_the_help_of_explain_tells_of_each_line_that_it_can_print() -> None:
    text = " ".join(ran("explain", "--help").output.split())
    source = "".join(
        (Path(__file__).parents[2] / "agent" / f"{name}.py").read_text()
        for name in ("explain", "event_words", "pin_words")
    )
    stages = set(re.findall(r'Sentence\(\s*"(\w+)"', source))
    assert len(stages) == 14
    assert [stage for stage in stages if not re.search(rf"\b{stage}\b,? ", text)] == []


def test_the_help_of_status_tells_of_each_state_and_column() -> None:
    text = ran("status", "--help", columns=80).output
    source = (Path(__file__).parents[2] / "agent" / "status.py").read_text()
    states = re.findall(r'^        "(\w+)": ', source, flags=re.MULTILINE)
    assert len(states) == 12
    columns = [column.title for column in POOL_COLUMNS]
    columns += [column.title for column in TENANT_COLUMNS]
    ignored = {"HOST", "TENANT", "QOS", "USED%"}  # they say what they are
    missing = [word for word in (*states, "live", *columns) if not re.search(rf"\b{word}\b", text)]
    assert set(missing) <= ignored


@pytest.mark.parametrize("command", sorted(main.commands))
def test_an_option_that_takes_a_time_says_so(command: str) -> None:
    times = [option for option in main.commands[command].params if option.callback is duration]
    assert [option.name for option in times if option.metavar != "TIME"] == []


def piped(path: Path | None, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program with its output going to a file, or to a pipe that nobody reads."""
    if path is None:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(path, os.O_WRONLY)
    try:
        return subprocess.run(
            [sys.executable, "-m", "agent", *map(str, arguments)],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)


def before_a_pager(*arguments: str | Path, columns: int) -> tuple[list[str], list[str]]:
    """Run the program with its output going to a pipe, and errors to a terminal of that width."""
    terminal, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "agent", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
            check=False,
            env=environment,
        )
        os.set_blocking(terminal, False)
        said = b""
        with suppress(BlockingIOError):  # which ends it
            while True:  # the kernel hands on in pieces
                said += os.read(terminal, 4096)
        return done.stdout.splitlines(), said.decode().splitlines()
    finally:
        os.close(slave)
        os.close(terminal)


@pytest.mark.parametrize("columns", [60, 80])
def test_what_goes_to_a_pager_and_to_a_terminal_is_cut_between_words(
    served: Path, columns: int
) -> None:
    told, _ = before_a_pager("explain", "web", "--socket", served, columns=columns)
    assert columns - 12 < max(map(len, told)) <= columns
    told, said = before_a_pager("explain", "nobody" * 4, "--socket", served, columns=columns)
    assert told == []
    assert " ".join(line.strip() for line in said) == f"Error: there is no tenant {'nobody' * 4!r}"
    _, said = before_a_pager("pin", "web", "x" * 20, "--socket", served, columns=columns)
    assert max(map(len, said)) <= columns
    words = " ".join(line.strip() for line in said)
    assert f"got {'x' * 20!r} such as: tidegate pin TENANT cpu=0.5 memory=512M --for 2h" in words


@pytest.mark.parametrize("command", ["--help", "trace --help", "status", "status --json"])
def test_output_that_finds_no_room_is_an_error_of_one_line(served: Path, command: str) -> None:
    socket = () if "--help" in command else ("--socket", served)
    done = piped(Path("/dev/full"), *command.split(), *socket)
    assert done.returncode == 5
    assert done.stderr == "Error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", ["--help", "status"])
def test_a_reader_who_has_left_is_not_told_of(served: Path, command: str) -> None:
    socket = () if "--help" in command else ("--socket", served)
    done = piped(None, command, *socket)
    assert (done.returncode, done.stderr) == (5, "")


def test_a_fault_that_is_none_of_the_output_stays_a_traceback() -> None:
    program = "import click\nfrom agent.exits import Program\n@click.group(cls=Program)\n"
    program += "def main(): pass\n@main.command()\ndef it(): open('/nowhere')\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", program, "it"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in done.stderr
    assert "/nowhere" in done.stderr


def test_a_name_that_is_no_text_is_a_tenant_that_does_not_exist(served: Path) -> None:
    result = ran("explain", os.fsdecode(b"\xff"), "--socket", served)
    assert (result.exit_code, result.stderr) == (1, "Error: there is no tenant '\ufffd'\n")


def test_status_never_loads_what_is_slow_to_load(served: Path) -> None:
    program = (
        "import sys\nfrom agent.cli import main\n"
        "main(['status', '--socket', sys.argv[1]], standalone_mode=False)\n"
        "slow = {'numpy', 'plotille', 'pandas', 'scipy', 'statsforecast', 'structlog',"
        " 'cheroot', 'psutil'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(served)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_reporting_a_metric_never_loads_numpy() -> None:
    program = "import sys, agent.cli, agent.metrics\nprint('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_metrics_are_reported_on_the_command_line(tmp_path: Path) -> None:
    path, metrics = tmp_path / "control.sock", PushedMetrics()
    with ControlServer(path, record, push=metrics.push):
        quiet = ran("metric", "web", "queue_depth=42", "rps=-1.5", "--socket", path)
        assert (quiet.exit_code, quiet.output) == (0, "")
        told = ran("metric", "web", "rps=2", "--socket", path, "--json")
        held = {"queue_depth": 42.0, "rps": 2.0}
        assert json.loads(told.output) == {"tenant": "web", "metrics": held}
        metrics.ask()
        assert metrics.found() == {"web": held}
        unknown = ran("metric", "nobody", "rps=2", "--socket", path)
        assert (unknown.exit_code, unknown.stderr) == (1, "Error: there is no tenant 'nobody'\n")


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("rps", "expected NAME=VALUE, got 'rps'"),
        ("rps=many", "expected a number between -1e15 and 1e15, got 'many'"),
        ("RPS=1", "expected a name of a-z"),
    ],
)
def test_what_is_no_metric_is_refused_before_anybody_is_asked(
    tmp_path: Path, word: str, why: str
) -> None:
    result = ran("metric", "web", word, "--socket", tmp_path / "nothing")
    assert result.exit_code == 1
    assert why in result.stderr


def test_a_limit_is_pinned_and_unpinned_on_the_command_line(tmp_path: Path) -> None:
    path, board = tmp_path / "control.sock", PinBoard(tmp_path / "pins.db", unix_now_s=lambda: 1e9)
    with ControlServer(path, record, pins=board):
        told = ran("pin", "web", "cpu=1.5", "memory=512M", "--for", "30m", "--socket", path)
        assert told.output.splitlines() == [
            "web: cpu.max pinned to 1.50 cores for 30m, by an operator",
            "web: memory.high pinned to 512M for 30m, by an operator",
        ]
        told = ran("unpin", "web", "cpu", "--socket", path, "--json")
        assert [one["control"] for one in json.loads(told.output)["pins"]] == ["memory.high"]
        assert ran("unpin", "web", "--socket", path).output == "web: unpinned, no pin is left\n"
        again = ran("unpin", "web", "--socket", path)
        assert (again.exit_code, "nothing of web is pinned" in again.stderr) == (1, True)
        low = ran("pin", "web", "cpu=0.001", "--socket", path)
        assert (low.exit_code, "its floor" in low.stderr) == (1, True)
        assert low.stderr.splitlines()[-1] == "  such as: tidegate pin web cpu=0.5"
        both = ran("pin", "web", "cpu=0.001", "memory=1", "--socket", path)
        assert ("cpu: expected" in both.stderr, "memory: expected" in both.stderr) == (True, True)
        assert " web cpu=0.5 memory=" in both.stderr.splitlines()[-1]
    board.close()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cpu", "expected cpu=CORES or memory=BYTES, got 'cpu'"),
        ("disk=5M", "expected cpu=CORES or memory=BYTES, got 'disk=5M'"),
        ("=1", "expected cpu=CORES or memory=BYTES, got '=1'"),
        ("cpu=", "cpu: expected cores, such as 0.5, got ''"),
        ("cpu=150000 100000", "cpu: expected cores, such as 0.5, got '150000 100000'"),
        ("cpu=nan", "cpu: expected cores, such as 0.5, got 'nan'"),
        ("memory=x", "memory: expected bytes, such as 512M or 2G, got 'x'"),
    ],
)
def test_what_is_no_pin_is_refused_before_anybody_is_asked(
    tmp_path: Path, word: str, said: str
) -> None:
    result = ran("pin", "web", word, "--socket", tmp_path / "nothing")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, f"Error: {said}")
    assert "such as: tidegate pin TENANT cpu=0.5 memory=512M" in result.stderr
