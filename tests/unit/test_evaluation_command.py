"""`tidegate backtest --forecast` on small traces: what it prints, and how it ends."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.backtest.command import backtest
from agent.backtest.commands import trace
from agent.backtest.contestants import AUTOETS, MIX, NAIVE, RULE
from agent.backtest.evaluation import Request, prepared, shortness
from agent.tenant import Resource
from forecast.panel import PANEL

QUICK = ("--autoets", "0", "--jobs", "1", "--expert", "last")
HORIZONS = ["5m", "10m", "15m"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trace of 6 tenants over 20 hours, in steps of 5 minutes."""
    made = tmp_path_factory.mktemp("traces") / "small.parquet"
    arguments = ["make", str(made), "--tenants", "6", "--hours", "20"]
    assert CliRunner().invoke(trace, arguments).exit_code == 0
    return made


def ran(*arguments: str | Path) -> Result:
    return CliRunner().invoke(backtest, ["--forecast", *map(str, arguments)])


def found(*arguments: str | Path) -> dict[str, Any]:
    result = ran(*arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what differs from run to run."""
    del answer["elapsed_s"]
    for group in (answer["everyone"], answer["sampled"]):
        for row in group["forecasters"]:
            del row["cpu_s_per_series_step"]
    return answer


def test_each_group_has_a_table_of_coverage_and_one_of_losses(path: Path) -> None:
    result = ran(path, "--autoets", "2", "--expert", "last")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "small.parquet: bounds on the maximum of cpu over the next 15m, said after each step"
    )
    assert lines[1] == "6 tenants, 10h after 10h of warm-up, steps of 5m"
    assert [line for line in lines if "judged alone" in line] == [
        "all tenants: 708 windows; 6 tenants judged alone, 0 of them steady",
        "AutoETS's 2 tenants: 236 windows; 2 tenants judged alone, 0 of them steady",
    ]
    names = [line.split()[0] for line in lines if line.startswith(("mix  ", "rule ", "naive* "))]
    assert names == [*["mix", "rule", "naive*"] * 4, "mix", "naive*"]  # the last of the legend
    assert sum(line.startswith("last ") for line in lines) == 4
    assert sum(line.startswith("autoets ") for line in lines) == 2 + 1
    assert max(map(len, lines)) <= 100
    verdicts = [line for line in lines if line.startswith("mix by ") and " %: " in line]
    assert [line.split()[2] for line in verdicts] == ["best", "best", *["best", "autoets,"] * 2]
    costs = [line for line in lines if line.startswith("cost, us a series and step: mix ")]
    assert ["autoets" in line for line in costs] == [False, True]


def test_json_has_the_figures_of_every_horizon_and_level(path: Path) -> None:
    answer = found(path, *QUICK)
    assert answer["sampled"] is None
    setup, group = answer["setup"], answer["everyone"]
    assert (setup["warm_up_steps"], setup["scored_steps"]) == (120, 120)
    assert (setup["history_steps"], setup["refit_s"]) == (240, 3600.0)
    assert group["horizons_s"] == [300.0, 600.0, 900.0]
    rows = {row["forecaster"]: row for row in group["forecasters"]}
    assert list(rows) == ["mix", "last", "rule", "naive"]
    for row in rows.values():
        assert list(row["horizons"]) == HORIZONS
        for horizon in row["horizons"].values():
            assert list(horizon) == ["80", "95", "99"]
    mix = [rows["mix"]["horizons"][horizon]["95"] for horizon in HORIZONS]
    assert [one["mean_bound"] for one in mix] == sorted(one["mean_bound"] for one in mix)
    naive = rows["naive"]["horizons"]["15m"]["99"]
    ours = rows["mix"]["horizons"]["15m"]["99"]
    assert ours["skill"] == pytest.approx(1 - ours["pinball_loss"] / naive["pinball_loss"])
    assert (naive["skill"], rows["naive"]["cpu_s_per_series_step"]) == (0.0, None)
    assert 0 < rows["mix"]["cpu_s_per_series_step"] < 1
    (at_95, at_99) = group["comparisons"]
    assert (at_95["level_pct"], at_99["loss_to_autoets"]) == (95, None)


def test_two_processes_find_what_one_does(path: Path) -> None:
    options = ("--autoets", "3", "--tenants", "4", "--seed", "5", "--expert", "level")
    runs = [without_times(found(path, *options, "--jobs", jobs)) for jobs in ("1", "2")]
    assert runs[0] == runs[1]
    group, sampled = runs[0]["everyone"], runs[0]["sampled"]
    assert (group["tenants"], sampled["tenants"]) == (4, 3)
    at_99 = sampled["comparisons"][1]
    losses = {
        row["forecaster"]: row["horizons"]["15m"]["99"]["pinball_loss"]
        for row in sampled["forecasters"]
    }
    assert at_99["loss_to_autoets"] == pytest.approx(losses["mix"] / losses["autoets"])


def test_the_share_that_counts_can_be_chosen(path: Path) -> None:
    setup = found(path, *QUICK, "--scored", "25")["setup"]
    assert (setup["warm_up_steps"], setup["scored_steps"]) == (180, 60)


def test_tenants_without_a_value_are_left_out(tmp_path: Path) -> None:
    rows = [f"{name},{300 * step},{1 + step % 3}" for name in "ab" for step in range(40)]
    rows += [f"none,{300 * step}," for step in range(40)]
    sparse = tmp_path / "sparse.csv"
    sparse.write_text("\n".join(["tenant,t,cpu_cores", *rows]))
    assert found(sparse, *QUICK)["everyone"]["tenants"] == 2


def test_a_trace_too_short_for_what_it_judges_says_so_in_a_line(path: Path) -> None:
    result = ran(path, "--autoets", "0", "--jobs", "1", "--expert", "last", "--expert", "yesterday")
    assert (result.exit_code, "short trace" in result.stdout) == (0, False)
    (line,) = [one for one in result.stderr.splitlines() if one.startswith("Warning: ")]
    assert line == (
        "Warning: a short trace: of the 118 windows of a tenant yesterday can be asked in 0 "
        "(it looks back 1d); 2d1h of steps would do for all"
    )


@pytest.mark.parametrize("step_s", [60, 300, 3600])
@pytest.mark.parametrize("scored_fraction", [0.1, 0.5, 0.9])
def test_a_trace_as_long_as_is_said_would_do(
    tmp_path: Path, step_s: int, scored_fraction: float
) -> None:
    def said(steps: int, *experts: str) -> str:
        rows = [f"a,{step_s * step},{1 + step % 3}" for step in range(steps)]
        (tmp_path / "one.csv").write_text("\n".join(["tenant,t,cpu_cores", *rows]))
        request = Request(
            path=tmp_path / "one.csv",
            resource=Resource.CPU,
            experts=experts or ("last", "yesterday"),
            scored_fraction=scored_fraction,
        )
        return shortness(prepared(request))

    days, hours = re.findall(r" (\d+)d(\d+)h of steps would do", said(40))[0]
    needed = (24 * int(days) + int(hours)) * 3600 // step_s
    assert said(needed) == ""
    assert said(round(0.97 * needed) - 2 - 3600 // step_s) != ""
    least = round(99 / scored_fraction)
    assert "windows of a tenant to judge it alone takes 100; " in said(least, "last")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--forecast", "x.csv", "--capacity", "1"], 2, "--capacity: not together with --forecast"),
        (["--forecast", "x.csv", "--html", "y"], 2, "--html: not together with --forecast"),
        (["x.csv", "--autoets", "3", "--seed", "1"], 2, "--seed, --autoets: only together with"),
        (["--forecast"], 2, "expected either TRACE or --since, got neither"),
        (["--forecast", "--since", "1h"], 2, "--forecast: not together with --since"),
        (["--forecast", "no-such.csv"], 1, "no-such.csv"),
        (["--forecast", "SMALL", "--expert", "wise"], 2, "--expert: expected level, "),
        (["--forecast", "SMALL", "--expert", "lst"], 2, "got lst (did you mean 'last'?)"),
        (["SMALL", "--policy", "oracel"], 2, "'oracle' (did you mean 'oracle'?)"),
        (["--forecast", "SMALL", "--tenants", "7"], 1, "a host of 7 tenants, and the trace has 6"),
        (["--forecast", "SMALL", "--resource", "memory", "--scored", "100"], 2, "--scored"),
    ],
)
def test_what_cannot_be_done_is_said(
    path: Path, arguments: list[str], code: int, word: str
) -> None:
    arguments = [str(path) if one == "SMALL" else one for one in arguments]
    result = CliRunner().invoke(backtest, arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert word in result.stderr


def test_the_command_itself_loads_no_forecasting_library(path: Path) -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\n"
        "from agent.backtest.command import backtest\n"
        "done = CliRunner().invoke(backtest, ['--forecast', sys.argv[1], '--autoets', '1', "
        "'--tenants', '1', '--jobs', '1'])\n"
        "assert done.exit_code == 0, done.output\n"
        "print(sorted({'pandas', 'scipy', 'statsforecast'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-I", "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "[]\n"


def test_every_expert_is_judged_alone_and_the_best_is_named(path: Path) -> None:
    group = found(path, "--autoets", "0", "--tenants", "3")["everyone"]
    rows = {row["forecaster"]: row["horizons"]["15m"] for row in group["forecasters"]}
    assert list(rows) == ["mix", *PANEL, "rule", "naive"]
    assert len({rows[name]["95"]["pinball_loss"] for name in ("mix", *PANEL)}) > 1
    for found_at in group["comparisons"]:
        level = str(found_at["level_pct"])
        losses = {name: rows[name][level]["pinball_loss"] for name in PANEL}
        best = found_at["best_expert"]
        assert losses[best] == min(losses.values())
        ratio = rows["mix"][level]["pinball_loss"] / losses[best]
        assert found_at["loss_to_best_expert"] == pytest.approx(ratio)


def test_no_expert_has_the_name_of_another_forecaster() -> None:
    assert not {MIX, RULE, NAIVE, AUTOETS} & set(PANEL)
