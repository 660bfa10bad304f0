"""`tidegate trace make` and `show`, on real files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.backtest.columns import NUMBER_COLUMNS
from agent.backtest.commands import trace
from agent.backtest.kinds import MEANING_OF, Kind

DOCS = Path(__file__).parents[2] / "docs" / "backtest.md"


def ran(*arguments: str | Path) -> Result:
    return CliRunner().invoke(trace, [str(argument) for argument in arguments])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_made_is_shown(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    made = ran("make", path, "--tenants", "4", "--hours", "2", "--step", "1m", "--kind", "idle")
    assert (made.exit_code, made.output) == (0, f"{path}: 480 rows of 4 tenants over 2h\n")
    shown = ran("show", path)
    assert shown.output.startswith(f"x{suffix}: 4 tenants, 120 steps of 1m (2h)\n\nCOLUMN ")
    answer = json.loads(ran("show", path, "--json").output)
    assert (answer["tenants"], answer["steps"], answer["step_s"]) == (4, 120, 60.0)
    columns = {column["column"]: column for column in answer["columns"]}
    assert columns["cpu_cores"]["limit"] >= columns["cpu_cores"]["peak"]
    assert columns["net_tx_bytes_per_s"]["limit"] is None


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        ran("make", tmp_path / f"{name}.csv", "--days", "1", "--tenants", "9", "--seed", seed)
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_a_file_is_replaced_only_when_forced(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    refused = ran("make", path, "--tenants", "1")
    assert (refused.exit_code, path.read_text()) == (1, "mine")
    assert "there is such a file already\n  --force replaces it\n" in refused.stderr
    assert ran("make", path, "--tenants", "1", "--force").exit_code == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--hours", "1", "--days", "1"], "exclude each other"),
        (["--step", "0.5s"], "shorter than 1s"),
        (["--step", "often"], "not a number with a unit"),
        (["--hours", "0.1"], "two steps or more"),
        (["--days", "nan"], "two steps or more"),
        (["--days", "inf"], "3660 days or less"),
        (["--days", "1e300", "--step", "99999999999999d"], "3660 days or less"),
        (["--days", "365", "--step", "1s"], "31,536,000 steps a tenant, and at most 10,000,000"),
        (["--days", "90", "--step", "1s", "--tenants", "9"], "at most 8,388,608 can be read back"),
        (["--days", "365", "--step", "1s", "--tenants", "2"], "at most"),
        (["--kind", "angry"], "'angry' is not one of"),
        (["--seed", "-1"], "seed"),
        (["--tenants", "0"], "tenants"),
    ],
)
def test_what_cannot_be_made_is_wrong_usage(tmp_path: Path, options: list[str], word: str) -> None:
    result = ran("make", tmp_path / "x.csv", *options)
    assert result.exit_code == 2
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_may_have_more_rows_than_csv(tmp_path: Path) -> None:
    much = ("--days", "99", "--step", "1s", "--tenants", "99")
    assert (
        "at most 33,554,432 can be read back" in ran("make", tmp_path / "x.parquet", *much).stderr
    )


def test_a_row_of_the_longest_kind_is_as_long_as_is_reckoned(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    ran("make", path, "--tenants", "30", "--days", "3660", "--step", "7d", "--kind", "diurnal")
    assert max(map(len, path.read_bytes().splitlines()[1:])) < 128


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("/dev/full"), "is not a regular file"),
    ],
)
def test_only_a_file_is_replaced_by_force(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    path = tmp_path / "x.csv"
    make(path)
    result = ran("make", path, "--tenants", "1", "--force")
    assert (result.exit_code, result.stderr) == (1, f"Error: {path}: {why}\n")


@pytest.mark.parametrize("leads_to", ["nowhere", "x.csv"])
def test_a_link_that_leads_nowhere_is_there_all_the_same(tmp_path: Path, leads_to: str) -> None:
    path = tmp_path / "x.csv"
    path.symlink_to(leads_to)
    assert "there is such a file already" in ran("make", path, "--tenants", "1").stderr
    assert path.is_symlink()


@pytest.mark.parametrize(("command", "status"), [("make", 5), ("show", 1)])
def test_a_place_that_is_no_file_is_an_error(tmp_path: Path, command: str, status: int) -> None:
    result = ran(command, tmp_path / "nowhere" / "x.csv")
    assert (result.exit_code, result.stdout) == (status, "")
    assert "no such file" in result.stderr


def test_a_file_without_any_usable_value_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("tenant,t,cpu_cores\na,0,-1\na,1,-1\n")
    assert "no usable value in any column" in ran("show", path).stderr


def test_a_file_without_rows_of_any_known_column_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("tenant,t,speed\na,0,1\na,1,1\n")
    assert "no usable value in any column" in ran("show", path).stderr


def test_help_tells_every_column_and_every_kind() -> None:
    assert all(name in ran("--help").output for name in NUMBER_COLUMNS)
    assert all(f"  {kind} " in ran("make", "--help").output for kind in Kind)


def test_the_documentation_tells_every_column_and_every_kind() -> None:
    text = DOCS.read_text()
    assert all(f"`{name}`" in text for name in NUMBER_COLUMNS)
    assert all(f"| `{kind}`" in text and f"| {told} |" in text for kind, told in MEANING_OF.items())


def test_loading_the_commands_loads_nothing_heavy() -> None:
    program = (
        "import sys\nimport agent.backtest.commands\n"
        "print(sorted({'numpy', 'pyarrow', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
