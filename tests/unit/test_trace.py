"""agent.backtest.trace: files become even grids, and files that are no traces are refused."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from agent.backtest.archive import LARGEST_BYTES, read_rows, write_rows
from agent.backtest.columns import QUANTITY_OF, TenantRows
from agent.backtest.faults import TraceError
from agent.backtest.trace import Trace, read_trace
from agent.tenant import BASIC, Kind, Resource

HUGE_BYTES = 10 << 30
NAN = float("nan")

Row = tuple[Any, Any, Any, Any]  # tenant, t, cpu_cores, cpu_limit_cores
REGULAR: tuple[Row, ...] = (
    ("b", 0, 0.5, 2.0),
    ("b", 60, 0.6, 4.0),
    ("b", 120, 0.7, 2.0),
    ("a", 0, 1.5, 8.0),
    ("a", 120, 1.7, 8.0),
)


def table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as Arrow sees them."""
    names = ("tenant", "t", "cpu_cores", "cpu_limit_cores")
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})


@pytest.fixture(params=[".parquet", ".csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where a trace may be put, of both kinds in turn."""
    return tmp_path / f"web{request.param}"


def put(path: Path, rows: Sequence[Row] | pa.Table) -> Path:
    """Write rows as someone else's program would."""
    made = rows if isinstance(rows, pa.Table) else table(rows)
    write = pyarrow.csv.write_csv if path.suffix == ".csv" else pyarrow.parquet.write_table
    write(made, path)
    return path


def read(path: Path, rows: Sequence[Row] | pa.Table) -> Trace:
    return read_trace(put(path, rows), Resource.CPU)


def refusal(path: Path, resource: Resource = Resource.CPU) -> str:
    """Return why a file is refused, and the hint."""
    with pytest.raises(TraceError) as caught:
        read_trace(path, resource)
    assert str(caught.value).startswith(f"{path}: ")
    return f"{str(caught.value).removeprefix(f'{path}: ')}; {caught.value.hint}"


def refused(path: Path, rows: Sequence[Row] | pa.Table) -> str:
    return refusal(put(path, rows))


def test_rows_become_a_grid_in_name_order_with_gaps_where_there_is_none(path: Path) -> None:
    trace = read(path, REGULAR)
    assert (trace.name, trace.resource, trace.step_s) == ("web", Resource.CPU, 60.0)
    assert trace.tenants == ("a", "b")
    np.testing.assert_array_equal(trace.demand, [[1.5, 0.5], [NAN, 0.6], [1.7, 0.7]])
    np.testing.assert_array_equal(trace.ceiling, [8.0, 4.0])


def test_rows_between_steps_go_to_the_nearest(path: Path) -> None:
    rows = [("a", t, float(t), None) for t in (1000, 1300, 1590, 1920, 2200, 2500)]
    trace = read(path, rows)
    assert trace.step_s == 300.0
    np.testing.assert_array_equal(trace.demand[:, 0], [1000, 1300, 1590, 1920, 2200, 2500])


def test_of_rows_in_one_place_the_largest_counts(path: Path) -> None:
    rows = [
        *REGULAR,
        ("b", 180, 0.8, 1.0),
        ("b", 60, 0.1, 1.0),
        ("b", 60, 0.9, 1.0),
        ("b", 61, NAN, None),
    ]
    assert read(path, rows).demand[1, 1] == 0.9


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("-inf"), 1e300, NAN, None])
def test_what_cannot_be_demand_is_a_gap(path: Path, value: float | None) -> None:
    trace = read(path, [*REGULAR, ("a", 60, value, value)])
    np.testing.assert_array_equal(trace.demand[:, 0], [1.5, NAN, 1.7])
    assert trace.ceiling[0] == 8.0


@pytest.mark.parametrize("limit", [None, 0.0, -1.0, NAN, 1e300])
def test_a_tenant_without_a_usable_limit_has_no_ceiling(path: Path, limit: float | None) -> None:
    trace = read(path, [(*row[:3], limit) for row in REGULAR])
    np.testing.assert_array_equal(trace.ceiling, [np.inf, np.inf])


def test_a_file_need_not_have_limits(path: Path) -> None:
    trace = read(path, table(REGULAR).drop_columns(["cpu_limit_cores"]))
    np.testing.assert_array_equal(trace.ceiling, [np.inf, np.inf])


def test_one_tenant_with_two_rows_is_a_trace(path: Path) -> None:
    assert read(path, REGULAR[:2]).demand.shape == (2, 1)


def test_tenants_may_be_numbered(path: Path) -> None:
    assert read(path, [(10, 0, 1, 1), (10, 1, 1, 1), (9, 0, 1, 1)]).tenants == ("10", "9")


@pytest.mark.parametrize("kind", [pa.int32(), pa.float32(), pa.decimal128(9, 2)])
def test_any_number_is_a_number(tmp_path: Path, kind: pa.DataType) -> None:
    made = table([(*row[:2], Decimal(2), Decimal(4)) for row in REGULAR])
    cast = made.set_column(2, "cpu_cores", made["cpu_cores"].cast(kind))
    assert np.nanmax(read(tmp_path / "x.parquet", cast).demand) == 2.0


def test_a_name_that_repeats_may_be_stored_as_a_dictionary(tmp_path: Path) -> None:
    made = table(REGULAR)
    encoded = made.set_column(0, "tenant", made["tenant"].dictionary_encode())
    assert read(tmp_path / "x.parquet", encoded).tenants == ("a", "b")


@pytest.mark.parametrize("missing", ["tenant", "t", "cpu_cores"])
def test_a_missing_column_is_named_and_what_there_is(path: Path, missing: str) -> None:
    told = refused(path, table(REGULAR).drop_columns([missing]))
    assert f"has no column {missing}; it has " in told
    assert "cpu_limit_cores" in told


def test_a_resource_without_any_value_is_no_trace_of_it(path: Path) -> None:
    assert "no usable value in column cpu_cores" in refused(
        path, [("a", 0, -1, 1), ("a", 1, -1, 1)]
    )
    empty = table(REGULAR).append_column("mem_bytes", pa.nulls(len(REGULAR)))
    assert "no usable value in column mem_bytes" in refusal(put(path, empty), Resource.MEMORY)


def test_words_are_no_numbers(path: Path) -> None:
    told = refused(path, [(*row[:2], "much", 1.0) for row in REGULAR])
    assert "cpu_cores holds string" in told or "expected a number, got 'much'" in told


def test_truth_values_and_dates_are_no_numbers(tmp_path: Path) -> None:
    flags = [(*row[:2], True, 1.0) for row in REGULAR]
    assert "holds bool, expected numbers" in refused(tmp_path / "x.parquet", flags)
    dates = table(REGULAR).set_column(1, "t", pa.array(range(len(REGULAR))).cast(pa.timestamp("s")))
    assert "expected numbers; seconds, counted" in refused(tmp_path / "x.parquet", dates)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 256, None])
def test_names_that_no_one_can_print_are_refused(path: Path, name: str | None) -> None:
    assert "name" in refused(path, [*REGULAR, (name, 0, 1.0, 1.0)])


@pytest.mark.parametrize("name", [1.5, [1], b"\xff"])
def test_names_are_text(tmp_path: Path, name: Any) -> None:
    rows = [(name, 0, 1.0, 1.0), (name, 60, 1.0, 1.0)]
    assert "column tenant holds" in refused(tmp_path / "x.parquet", rows)


@pytest.mark.parametrize("t", [None, NAN, float("inf"), 1.7e18])
def test_a_row_without_a_time_is_refused(path: Path, t: float | None) -> None:
    assert "column t holds no time" in refused(path, [*REGULAR, ("a", t, 1.0, 1.0)])


def test_a_row_far_from_all_others_is_refused_before_the_grid_is_made(path: Path) -> None:
    told = refused(path, [*REGULAR, ("a", 1e14, 1.0, 1.0)])
    assert "its times span 1.67e+12 steps of 60 s" in told


def test_more_steps_than_rows_that_could_fill_them_are_refused(path: Path) -> None:
    rows = [("a", at_s, 1.0, 1.0) for at_s in (0.0, 0.001, 0.002, 50_000.0)]
    assert "its times span 5e+07 steps of 0.001 s" in refused(path, rows)


@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_one_moment_have_no_step(path: Path, count: int) -> None:
    rows = [(f"t{at}", 0, 1.0, 1.0) for at in range(count)]
    assert "there is no step" in refused(path, rows * 2)


def test_a_file_without_rows_is_refused(path: Path) -> None:
    assert "has no rows" in refused(path, table(REGULAR).slice(0, 0).cast(table(REGULAR).schema))


@pytest.mark.parametrize("name", ["tenant", "cpu_cores"])
def test_two_columns_of_one_name_are_refused(path: Path, name: str) -> None:
    twice = table(REGULAR).append_column(name, table(REGULAR)[name])
    assert f"two columns {name}" in refused(path, twice)


def test_an_error_quotes_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("tenant,t,cpu_cores\na,\x1b[2J\n")
    assert "got 2: a,?[2J" in refusal(path)
    path.write_text("tenant,\x1b[2J\na,1\n")
    assert "it has tenant, ?[2J" in refusal(path)


def test_what_is_not_a_file_of_its_kind_is_refused(path: Path) -> None:
    assert "no such file" in refusal(path)
    path.touch()
    assert "is empty" in refusal(path)
    path.write_bytes(os.urandom(5000))
    assert refusal(path)
    path.unlink()
    path.mkdir()
    assert "not a regular file" in refusal(path)
    path.rmdir()
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)


def test_a_name_without_a_known_suffix_is_refused(tmp_path: Path) -> None:
    assert "ends in .parquet or .csv" in refusal(tmp_path / "x.json")


def test_a_huge_file_is_refused_by_its_size(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE_BYTES)
    told = refusal(path)
    assert "10.0G, more than the 1.00G" in told or "Parquet" in told


def test_a_file_of_too_many_rows_is_refused(path: Path) -> None:
    put(path, [("a", t, 1.0, 1.0) for t in range(2000)])
    assert path.stat().st_size < 32_000 < LARGEST_BYTES
    with pytest.raises(TraceError, match="at most 1,000 fit") as caught:
        read_trace(path, Resource.CPU, largest_bytes=32_000)
    assert "keep fewer tenants" in caught.value.hint


def test_a_damaged_file_is_refused_or_read_but_never_ends_otherwise(tmp_path: Path) -> None:
    rows = [(f"t{at % 5}", 300 * (at // 5), 1.0, 2.0) for at in range(60)]
    path = tmp_path / "x.parquet"
    # Without compression a damaged byte comes through: into indices, lengths and numbers.
    pyarrow.parquet.write_table(
        table(rows), path, compression="none", store_schema=False, write_statistics=False
    )
    whole = path.read_bytes()
    outcomes = set()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_trace(path, Resource.CPU, largest_bytes=1 << 20)
            outcomes.add("read")
        except TraceError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    whole = put(path, REGULAR).read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_file_is_replaced_only_on_request_and_never_half(path: Path) -> None:
    rows = [TenantRows("a", np.arange(3.0), {"cpu_cores": np.ones(3)})]
    assert write_rows(path, rows) == 3
    with pytest.raises(TraceError, match="already"):
        write_rows(path, [])
    before = path.read_bytes()
    broken = [rows[0], TenantRows("\ud800", np.arange(3.0), {})]
    with pytest.raises(TraceError):
        write_rows(path, broken, may_replace=True)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert write_rows(path, rows * 2, may_replace=True) == 6


def test_two_who_write_the_same_file_do_not_write_into_each_other(path: Path) -> None:
    one, other = (
        [TenantRows(name, np.arange(3.0), {"cpu_cores": np.ones(3)})] * 2 for name in "ab"
    )

    def interrupted() -> Iterator[TenantRows]:
        yield one[0]
        assert write_rows(path, other) == 6
        yield one[1]

    assert write_rows(path, interrupted(), may_replace=True) == 6
    assert read_rows(path, ["cpu_cores"], largest_bytes=1 << 20).names == ("a",)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tenant,t,cpu_cores," + ",".join(f"c{at}" for at in range(5000)), "has 5,003 columns"),
        ("t" * 100_000, "its first line does not end within 64 KiB"),
        ("tenant,t,cpu_cores\n" + "a" * (3 << 20) + ",0,1\n", "a line is longer than 1 MiB"),
        ('tenant,t,cpu_cores\n"' + "a\n" * (1 << 20) + '",0,1\n', "in quotes goes over several"),
        ("tenant,t,cpu_cores", "has no rows"),
        (
            "tenant,note,cpu_cores,t\na,x,1,2026-01-01 00:00\n",
            "column t: expected seconds, such as 1767225600, got '2026-01-01 00:00'",
        ),
        ("tenant,cpu_cores,t\na,much,0\n", "column cpu_cores: expected a number, got 'much'"),
    ],
)
def test_csv_of_an_odd_shape_is_refused_in_plain_words(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert why in refusal(path)


@pytest.mark.parametrize("contents", [b"x", b"tenant,t,cpu_cores\n" * 10])
def test_what_is_no_parquet_is_refused_in_plain_words(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(contents)
    assert "is no Parquet file, or was cut off" in refusal(path)


def test_parquet_with_too_many_columns_is_refused(tmp_path: Path) -> None:
    columns = {f"c{at}": [1.0] for at in range(1000)}
    wide = pa.table({"tenant": ["a"], "t": [0.0], "cpu_cores": [1.0], **columns})
    assert "has 1,003 columns, and at most 1,000 are read" in refused(tmp_path / "x.parquet", wide)


def test_names_that_swell_when_unpacked_are_refused_by_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    name = "x" * (10 << 20)
    bomb = pa.table({"tenant": [name] * 30, "t": np.arange(30.0), "cpu_cores": np.ones(30)})
    pyarrow.parquet.write_table(bomb, path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 1 << 20
    assert "has 300M in 30 rows" in refusal(path)


def test_a_name_that_is_too_long_is_refused_in_a_word(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="too long"):
        write_rows(tmp_path / ("x" * 300 + ".csv"), [])


def test_every_resource_has_its_columns() -> None:
    assert set(BASIC) < set(QUANTITY_OF)
    assert QUANTITY_OF[Resource(Kind.NET_OUT)].demand == "net_tx_bytes_per_s"


def test_reading_a_trace_loads_no_data_frames(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom agent.backtest.trace import read_trace\n"
        "from agent.tenant import Resource\n"
        "read_trace(Path(sys.argv[1]), Resource.CPU)\nprint('pandas' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(put(path, REGULAR))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "steps", "tenants", "peak_cores"),
    [
        ("azure", 8004, 50, 42.4),
        ("bitbrains", 4032, 216, 180.8),
        ("google", 288, 800, 382.6),
        ("planetlab", 288, 1052, 286.5),
    ],
)
def test_recorded_traces_are_read_whole(
    name: str, steps: int, tenants: int, peak_cores: float
) -> None:
    folder = os.environ.get("TIDEGATE_TRACES")
    if not folder:
        pytest.skip("no recorded traces: TIDEGATE_TRACES names no folder")
    trace = read_trace(Path(folder) / f"{name}.parquet", Resource.CPU)
    assert trace.demand.shape == (steps, tenants)
    assert trace.step_s == 300.0
    assert np.nansum(trace.demand, axis=1).max() == pytest.approx(peak_cores, abs=0.1)
