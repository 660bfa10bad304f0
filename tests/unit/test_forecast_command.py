"""`tidegate forecast` on a recorded history, with and without an agent that answers."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import unstyle
from click.testing import CliRunner, Result
from records import CPU, MIB, NAMES, record, with_quality
from samples import NAN

from agent.cli import main
from agent.control import ControlServer
from agent.history import HISTORY_NAME, SeriesNames
from agent.record import TickRecord
from agent.recorder import Recorder
from agent.status import AgentFacts
from agent.steps import ClosedStep
from forecast.quality import Verdict

STEP_S = 60.0
STEPS = 120
HORIZONS_S = (300.0, 600.0, 900.0)
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a host's files, whose history has web's bound broken once, and a gap."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "tidegate.toml").write_text(f'[host]\nstate_dir = "{folder}"\n')
    recorder = Recorder(folder / HISTORY_NAME, most_waiting=STEPS)
    now_s = datetime.now(UTC).timestamp()
    for number in range(STEPS):
        cpu = 2.0 if number == 60 else 0.5
        demand = np.array([cpu, 300 * MIB])
        if number in (30, 31):
            demand[:] = NAN
        step = ClosedStep(
            demand,
            demand,
            demand,
            np.full(2, np.inf),
            np.array([0.5, 310 * MIB]) if number >= 10 else None,
            np.array([1.0, 350 * MIB]) if number >= 10 else None,
        )
        recorder.add(
            step,
            SeriesNames(("web",), ("cpu", "memory")),
            machine=np.full(2, 1e18),
            ended_at_s=now_s - STEP_S * (STEPS - 1 - number),
            step_s=STEP_S,
        )
    recorder.close()
    return folder


def answered(**figures: Any) -> TickRecord:
    return replace(with_quality(record(), **figures), taken_at_s=time.monotonic())


@pytest.fixture(scope="module")
def socket(folder: Path) -> Iterator[Path]:
    """Serve the standard record, its forecasts scored."""
    path = folder / "control.sock"
    with ControlServer(path, answered, lambda: AgentFacts(horizons_s=HORIZONS_S)):
        yield path


@pytest.fixture
def shown(folder: Path, socket: Path) -> Run:
    """Return the command on that host."""
    return runner(folder, socket)


def runner(folder: Path, socket: Path) -> Run:
    def run(*arguments: str, columns: int = 80) -> Result:
        config = [] if "--quality" in arguments else ["--config", str(folder / "tidegate.toml")]
        words = ["forecast", *arguments, *config, "--socket", str(socket)]
        return CliRunner().invoke(main, words, env={"COLUMNS": str(columns)})

    return run


@pytest.mark.parametrize("columns", [80, 120])
def test_a_tenant_is_plotted_within_the_terminal_with_its_bounds_below(
    shown: Run, columns: int
) -> None:
    said = shown("web", "--since", "2h", columns=columns)
    assert said.exit_code == 0, said.output
    lines = unstyle(said.output).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0] == "web: cpu in cores"
    plotted = [line for line in lines if "┤" in line or "│" in line]
    assert len(plotted) == 16
    text = "\n".join(lines)
    assert "0.00 └" in text
    for part in ("5m      1.05  1.05  1.05", "expected  0.70 cores in the next step"):
        assert part in text
    for part in ("source    live", "made      at ", "experts   short 75 %, long 25 %"):
        assert part in text
    assert "accuracy  bounds for 80, 95 and 99 % held 81, 95 and 99 % of the time" in text


def test_bounds_that_are_shown_are_counted_once_their_horizon_has_ended(shown: Run) -> None:
    # 120 steps: of the windows of 15 that a bound stood before, those with a gap are unknown.
    windows = [n for n in range(10, 120 - 14) if not any(g in range(n, n + 15) for g in (30, 31))]
    broken = [n for n in windows if 60 in range(n, n + 15)]
    answer = json.loads(shown("web", "--since", "3h", "--json").output)
    assert (answer["windows"], answer["held"]) == (len(windows), len(windows) - len(broken))


def test_json_has_every_step_and_the_forecast(shown: Run) -> None:
    answer = json.loads(shown("web", "--since", "3h", "--json").output)
    assert (answer["tenant"], answer["resource"], answer["unit"]) == ("web", "cpu", "cores")
    assert (answer["step_s"], answer["forecaster"]) == (STEP_S, "live")
    assert len(answer["history"]) == STEPS
    assert answer["history"][30]["demand"] is None
    assert answer["history"][5]["bound_95"] is None
    newest = answer["history"][-1]
    assert (newest["demand"], newest["expected"], newest["bound_95"]) == (0.5, 0.5, 1.0)
    assert answer["forecast"]["horizons"][2]["horizon_s"] == 900.0
    assert answer["forecast"]["experts"] == {"short": 75, "long": 25}
    made_at = datetime.fromisoformat(answer["made_at"])
    assert 10 < (datetime.now(UTC) - made_at).total_seconds() < 60


def test_another_resource_is_in_its_own_unit(shown: Run) -> None:
    said = unstyle(shown("web", "--resource", "memory").output)
    assert said.startswith("web: memory in bytes")
    assert "15m     350M  350M  350M" in said
    assert "expected  310M in the next step" in said


def test_without_an_agent_the_history_is_shown_all_the_same(folder: Path) -> None:
    said = runner(folder, folder / "nobody.sock")("web", "--since", "2h")
    assert said.exit_code == 0
    assert "Note: no forecast of now: the agent is not running" in said.stderr
    assert "┤" in said.stdout
    assert "WITHIN" not in said.stdout


def test_without_a_history_the_forecast_is_shown_all_the_same(tmp_path: Path, socket: Path) -> None:
    (tmp_path / "tidegate.toml").write_text(f'[host]\nstate_dir = "{tmp_path}"\n')
    said = runner(tmp_path, socket)("web")
    assert said.exit_code == 0
    assert "Note: no history: " in said.stderr
    assert "expected  0.70 cores" in said.stdout
    answer = json.loads(runner(tmp_path, socket)("web", "--json").stdout)
    assert (answer["step_s"], answer["history"]) == (None, [])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "expected either TENANT or --quality, got neither"),
        (("web", "--quality"), 2, "got both"),
        (("--quality", "--since", "1h"), 2, "--since: only together with TENANT"),
        (("web", "--worst", "3"), 2, "--worst: only together with --quality"),
        (("web", "--resource", "gpu"), 2, "'gpu' is none of cpu, memory"),
        (("web", "--resource", "disk_read:sda"), 1, "there are: cpu, memory"),
        (("--quality", "--resource", "net_out"), 1, "no forecast of 'net_out'"),
        (("nobody",), 1, "there is no tenant 'nobody'"),
        (("x" * 5000,), 1, f"there is no tenant '{'x' * 56}..."),
        (("x" * 5000, "--resource", "disk_read:" + "y" * 5000), 1, "there is no tenant 'xxx"),
        (("web", "--resource", "y" * 5000), 2, f"'{'y' * 56}... is none of cpu"),
        (("web", "--resource", "disk_read:" + "y" * 5000), 1, "there are: cpu, memory"),
        (("web", "--since", "y" * 5000), 2, "is not a number with a unit"),
        (("web", "--output", "y" * 200 + ".jpg"), 2, "expected a name in .png or .svg"),
        (("web", "--output", "plot.jpg"), 2, "expected a name in .png or .svg"),
        (("web", "--output", "/nowhere/plot.png"), 5, "No such file or directory"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    shown: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    answer = shown(*arguments)
    assert answer.exit_code == code, answer.output
    assert said in answer.output
    assert max(map(len, answer.output.splitlines())) < 250


def test_with_neither_agent_nor_history_the_agent_is_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tidegate.toml").write_text(f'[host]\nstate_dir = "{tmp_path}"\n')
    said = runner(tmp_path, tmp_path / "nobody.sock")("web")
    assert said.exit_code == 3
    assert "the agent is not running" in said.stderr
    assert "no such file" in said.stderr


@pytest.mark.parametrize(
    ("name", "magic"), [("plot.png", b"\x89PNG\r\n\x1a\n"), ("plot.svg", b"<?xml"), ("P.SVG", b"<")]
)
def test_the_plot_is_written_as_a_picture(
    shown: Run, tmp_path: Path, name: str, magic: bytes
) -> None:
    pytest.importorskip("matplotlib")
    said = shown("web", "--output", str(tmp_path / name))
    assert said.exit_code == 0, said.output
    picture = (tmp_path / name).read_bytes()
    assert picture.startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.lower().endswith("svg"):
        assert b"above its bound" in picture
        assert b"bounds at 95 % held" in picture


def test_without_matplotlib_one_is_told_how_to_install_it(
    shown: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("agent.options.find_spec", lambda name: None)
    said = shown("web", "--output", str(tmp_path / "plot.png"))
    assert said.exit_code == 1
    assert "--output needs matplotlib, which is not installed" in said.stderr
    assert "-m pip install matplotlib" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_slow_is_loaded_where_no_picture_is_drawn(folder: Path, socket: Path) -> None:
    program = (
        "import sys\nfrom agent.cli import main\n"
        "main(['forecast', 'web', '--config', sys.argv[1], '--socket', sys.argv[2]],"
        " standalone_mode=False)\n"
        "slow = {'matplotlib', 'pandas', 'scipy', 'statsforecast', 'cheroot', 'psutil'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    arguments = (str(folder / "tidegate.toml"), str(socket))
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_where_the_terminal_has_no_dots_the_numbers_are_shown(folder: Path, socket: Path) -> None:
    program = "import sys\nfrom agent.cli import main\nmain(sys.argv[1:])\n"
    arguments = ("--config", str(folder / "tidegate.toml"), "--socket", str(socket))
    done = subprocess.run(
        [sys.executable, "-c", program, "forecast", "web", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONIOENCODING": "latin-1"},
    )
    assert "WITHIN" in done.stdout
    assert "\\u" not in done.stdout


def test_tenants_are_ranked_the_worst_first(folder: Path, tmp_path: Path) -> None:
    one = answered()
    found = one.resources[CPU].quality
    assert found is not None
    coverage, skill, verdict = found.coverage.copy(), found.skill.copy(), found.verdict.copy()
    # batch is all right, eater's bound fails, ghost is unknown, hog is poor, web replaced.
    coverage[1] = [0.95, 0.9, NAN, 0.84, 0.99]
    skill[:] = [0.3, 0.3, NAN, 0.2, -0.2]
    verdict[2:] = [Verdict.UNJUDGED, Verdict.POOR, Verdict.REPLACED]
    scored = replace(found, coverage=coverage, skill=skill, verdict=verdict)
    cpu = replace(one.resources[CPU], quality=scored)
    ranked = replace(one, resources={**one.resources, CPU: cpu})
    path = tmp_path / "control.sock"
    with ControlServer(path, lambda: ranked):
        run = runner(folder, path)
        said = run("--quality", columns=120)
        worst = json.loads(run("--quality", "--worst", "2", "--json").stdout)
    assert said.exit_code == 0, said.output
    lines = unstyle(said.output).splitlines()
    assert lines[0] == "cpu: forecasts, the worst first"
    assert lines[3].split()[0] == "TENANT"
    names = [line.split()[0] for line in lines[4:9]]
    assert names == ["web", "hog", "eater", "batch", "ghost"]
    assert lines[4].split()[-3:] == ["500", "live", "replaced"]
    assert "-20%" in lines[4]
    assert [(row["tenant"], row["quality"]["verdict"]) for row in worst] == [
        ("web", "replaced"),
        ("hog", "poor"),
    ]
    assert set(names) == set(NAMES)


@pytest.mark.parametrize("columns", [80, 100])
def test_the_ranking_fits_the_terminal(shown: Run, columns: int) -> None:
    lines = unstyle(shown("--quality", columns=columns).output).splitlines()
    assert max(map(len, lines)) <= columns


def test_before_anything_has_kept_score_that_is_said(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with ControlServer(path, record):
        said = runner(folder, path)("--quality")
    assert said.exit_code == 1
    assert "nothing has kept score yet" in said.stderr
