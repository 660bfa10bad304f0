"""Trace files, Parquet or CSV: rows in and out as columns; what cannot be a trace is refused.

Files come from strangers.  Rows are read in batches and counted, so that a file that is too large,
or claims to be small, ends in a word and not in the memory.  Arrays cross over by their buffers,
since Arrow's own conversions to and from Python would load pandas.
"""

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from agent.backtest.columns import NUMBER_COLUMNS, TENANT, TIME, TenantRows
from agent.backtest.faults import (
    TraceError,
    UnwritableError,
    check_header,
    check_n_columns,
    check_target,
    faults_told,
    suffix_of,
    unfit_told,
)
from agent.output import partial_of
from agent.tenant import Floats, Ints
from agent.units import approximate_bytes

LARGEST_BYTES = 1 << 30  # of numbers in memory; some 30 million rows of one resource
BYTES_PER_NUMBER = 8
_LARGE_GROUP_BYTES = 1 << 28
_LARGE_VALUE_BYTES = 1 << 10
_CSV_ROW_BYTES = 128  # no row that is made is longer
_LATEST_S = 1e15  # nanoseconds since 1970 are no seconds
_LONGEST_NAME = 255
_ROW_GROUP_ROWS = 1 << 17
_SPLIT = "keep fewer tenants or a shorter time"
_EXPECTED = {TIME: "seconds, such as 1767225600", TENANT: "a name"}
_NULLS = ["", "null", "NULL", "NaN", "nan", "NA"]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's rows, in order of tenant, then time."""

    names: tuple[str, ...]  # in name order
    tenant: Ints  # position in `names`
    at_s: Floats
    values: dict[str, Floats]  # by column; NaN is null


@dataclass(frozen=True, slots=True)
class _Source:
    """An opened file: the types of its columns, and how to read some of them in batches."""

    schema: pa.Schema
    claimed_rows: int  # 0 where the file does not say
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]]


def read_rows(
    path: Path, needed: Sequence[str], wanted: Sequence[str] = (), *, largest_bytes: int
) -> Rows:
    """Return a file's rows with the columns that are `needed`, and those `wanted` that it has.

    Raises:
        TraceError: The file cannot be read, is no trace, or is larger than `largest_bytes`.

    """
    with faults_told(path):
        source = _opened(path, largest_bytes)
        columns = _checked_columns(path, source.schema, needed, wanted)
        largest_rows = most_rows(len(columns), largest_bytes)
        _check_rows(path, source.claimed_rows, largest_rows)
        return _collected(path, source.batches(columns), columns, largest_rows)


def most_rows(n_columns: int = 4, largest_bytes: int = LARGEST_BYTES) -> int:
    """Return how many rows may be read: of each column a number, tenants' names counted too."""
    return largest_bytes // (n_columns * BYTES_PER_NUMBER)


def most_rows_made(path: Path) -> int:
    """Return how many rows a file that we make may have, so that it can be read again."""
    return LARGEST_BYTES // _CSV_ROW_BYTES if suffix_of(path) == ".csv" else most_rows()


def write_rows(path: Path, tenants: Iterable[TenantRows], *, may_replace: bool = False) -> int:
    """Write all tenants' rows, a few tenants in memory at a time, and return how many rows.

    The file appears under its name only when it is complete.

    Raises:
        UnwritableError: It cannot be written there.
        TraceError: The file exists and may not be replaced, or its name is no trace's.

    """
    suffix = suffix_of(path)
    partial = partial_of(path)
    with faults_told(path):
        check_target(path, may_replace=may_replace)
        try:
            with partial.open("xb") as stream:
                n_rows = _written(stream, suffix, tenants)
            partial.replace(path)
        except OSError as error:
            raise UnwritableError(path, (error.strerror or str(error)).lower()) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return n_rows


def _opened(path: Path, largest_bytes: int) -> _Source:
    suffix = suffix_of(path)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise TraceError(path, "is not a regular file")
    if found.st_size == 0:
        raise TraceError(path, "is empty")
    if suffix == ".csv" and found.st_size > largest_bytes:
        size, most = approximate_bytes(found.st_size), approximate_bytes(largest_bytes)
        raise TraceError(path, f"has {size}, more than the {most} that are read of CSV", _SPLIT)
    return _opened_csv(path) if suffix == ".csv" else _opened_parquet(path)


def _opened_parquet(path: Path) -> _Source:
    schema = pyarrow.parquet.read_schema(path)
    check_n_columns(path, len(schema))
    # A name is repeated in each row: one text and a number in each row take far less memory.
    is_text = any(_is_text(schema.field(at).type) for at in schema.get_all_field_indices(TENANT))
    file = pyarrow.parquet.ParquetFile(path, read_dictionary=[TENANT] if is_text else None)
    _check_row_groups(path, file.metadata)
    return _Source(
        file.schema_arrow,
        file.metadata.num_rows,
        lambda columns: file.iter_batches(columns=columns, use_threads=False),
    )


def _check_row_groups(path: Path, metadata: pyarrow.parquet.FileMetaData) -> None:
    """Refuse values that swell to gigabytes: a row group's names are unpacked at once.

    A group is only asked for its sums: where a file is damaged, to ask for a column ends Python.
    """
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        size, n_values = group.total_byte_size, group.num_rows * group.num_columns
        if size > max(_LARGE_GROUP_BYTES, n_values * _LARGE_VALUE_BYTES):
            why = f"has {approximate_bytes(size)} in {group.num_rows:,} rows"
            raise TraceError(path, f"{why}: names are no longer than {_LONGEST_NAME} characters")


def _opened_csv(path: Path) -> _Source:
    # Only the header counts here: a column's type shows in its first rows, not in all.
    check_header(path)
    with pyarrow.csv.open_csv(path) as first:
        names = first.schema.names
    kinds = {name: pa.float64() for name in names if name != TENANT}
    kinds[TENANT] = pa.dictionary(pa.int32(), pa.string())

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        options = pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types=kinds, null_values=_NULLS
        )
        with unfit_told(path, names, _EXPECTED):
            yield from pyarrow.csv.open_csv(path, convert_options=options)

    return _Source(pa.schema([(name, kinds[name]) for name in names]), 0, batches)


def _checked_columns(
    path: Path, schema: pa.Schema, needed: Sequence[str], wanted: Sequence[str]
) -> list[str]:
    """Return the columns to read, tenant and time first."""
    needed = [TENANT, TIME, *needed]
    missing = [name for name in needed if name not in schema.names]
    if missing:
        hint = "it has " + (", ".join(schema.names[:20])[:300] or "none")
        raise TraceError(path, f"has no column {', '.join(missing)}", hint)
    columns = needed + [name for name in wanted if name in schema.names and name not in needed]
    for name in columns:
        _check_column(path, schema, name)
    return columns


def _check_column(path: Path, schema: pa.Schema, name: str) -> None:
    if len(schema.get_all_field_indices(name)) > 1:
        raise TraceError(path, f"has two columns {name}")
    kind = schema.field(name).type
    is_fit = _is_name(kind) if name == TENANT else _is_number(kind)
    if not is_fit:
        expected = "text" if name == TENANT else "numbers"
        hint = "seconds, counted from any moment" if name == TIME else ""
        raise TraceError(path, f"column {name} holds {kind}, expected {expected}", hint)


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    return any(test(kind) for test in tests)


def _is_name(kind: pa.DataType) -> bool:
    """Say whether values can be names; archives that number their tenants are welcome."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(value) or pa.types.is_integer(value)


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _check_rows(path: Path, n_rows: int, largest_rows: int) -> None:
    if n_rows > largest_rows:
        why = f"has {n_rows:,} rows or more, and at most {largest_rows:,} fit into the memory"
        raise TraceError(path, f"{why} that reading may take", _SPLIT)


def _collected(
    path: Path, batches: Iterable[pa.RecordBatch], columns: Sequence[str], largest_rows: int
) -> Rows:
    """Return all batches' rows in one, the tenants numbered in name order."""
    parts: dict[str, list[Floats]] = {name: [] for name in columns if name != TENANT}
    codes: list[Ints] = []
    code_of: dict[str, int] = {}
    n_rows = 0
    for batch in batches:
        batch.validate(full=True)  # a damaged file's indices may point outside its dictionary
        n_rows += batch.num_rows
        _check_rows(path, n_rows, largest_rows)
        codes.append(_codes(path, batch.column(TENANT), code_of))
        for name, part in parts.items():
            part.append(_numbers(batch.column(name)))
    if n_rows == 0:
        raise TraceError(path, "has no rows")
    values = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    at_s = values.pop(TIME)
    if not (np.abs(at_s) <= _LATEST_S).all():
        raise TraceError(path, f"a row's column {TIME} holds no time", "seconds, in every row")
    names, tenant = _in_name_order(tuple(code_of), np.concatenate(codes))
    return _sorted(Rows(names, tenant, at_s, values))


def _codes(path: Path, column: pa.Array, code_of: dict[str, int]) -> Ints:
    """Return each row's tenant as a number, giving new tenants the next."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    if column.null_count:
        raise TraceError(path, f"a row has no name in column {TENANT}")
    places = np.from_dlpack(column.indices).astype(np.int64)
    used, place = np.unique(places, return_inverse=True)
    names = column.dictionary.cast(pa.string()).to_pylist()
    codes = [
        code_of.setdefault(_checked_name(path, names[at]), len(code_of)) for at in used.tolist()
    ]
    return np.array(codes, dtype=np.int64)[place]


def _checked_name(path: Path, name: str | None) -> str:
    if name is None or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        shown = repr(name)[:80]
        raise TraceError(
            path,
            f"{shown} cannot be a tenant's name",
            f"names have 1 to {_LONGEST_NAME} printable characters",
        )
    return name


def _numbers(column: pa.Array) -> Floats:
    """Return a column's values, NaN for null."""
    values = column.cast(pa.float64(), safe=False)
    data = pa.Array.from_buffers(
        values.type, len(values), [None, values.buffers()[1]], offset=values.offset
    )
    if not values.null_count:
        return np.asarray(np.from_dlpack(data), dtype=np.float64)
    is_known = np.from_dlpack(values.is_valid().cast(pa.uint8())) > 0
    return np.where(is_known, np.from_dlpack(data), np.nan)


def _in_name_order(names: tuple[str, ...], codes: Ints) -> tuple[tuple[str, ...], Ints]:
    order = sorted(range(len(names)), key=names.__getitem__)
    position = np.empty(len(names), dtype=np.int64)
    position[order] = np.arange(len(names))
    return tuple(names[at] for at in order), position[codes]


def _sorted(rows: Rows) -> Rows:
    """Return the rows in order of tenant, then time."""
    further = np.diff(rows.tenant)
    if not ((further > 0) | ((further == 0) & (np.diff(rows.at_s) >= 0))).all():
        order = np.lexsort((rows.at_s, rows.tenant))
        values = {name: column[order] for name, column in rows.values.items()}
        rows = Rows(rows.names, rows.tenant[order], rows.at_s[order], values)
    return rows


def _written(stream: BinaryIO, suffix: str, tenants: Iterable[TenantRows]) -> int:
    schema = pa.schema(
        [(TENANT, pa.large_string()), *((name, pa.float64()) for name in (TIME, *NUMBER_COLUMNS))]
    )
    n_rows = 0
    with _writer(stream, suffix, schema) as writer:
        for table in _tables(tenants, schema):
            writer.write_table(table)
            n_rows += table.num_rows
    return n_rows


def _writer(
    stream: BinaryIO, suffix: str, schema: pa.Schema
) -> pyarrow.parquet.ParquetWriter | pyarrow.csv.CSVWriter:
    if suffix == ".csv":
        plain = pyarrow.csv.WriteOptions(quoting_style="needed")
        return pyarrow.csv.CSVWriter(stream, schema, write_options=plain)
    return pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd")


def _tables(tenants: Iterable[TenantRows], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows in tables of some size: a Parquet file of small ones is slow to read."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for rows in tenants:
        waiting.append(_batch(rows, schema))
        n_waiting += len(rows.at_s)
        if n_waiting >= _ROW_GROUP_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _batch(rows: TenantRows, schema: pa.Schema) -> pa.RecordBatch:
    n_rows = len(rows.at_s)
    columns = [_repeated(rows.tenant, n_rows), _to_arrow(rows.at_s)]
    for name in NUMBER_COLUMNS:
        column = rows.values.get(name)
        columns.append(pa.nulls(n_rows, pa.float64()) if column is None else _to_arrow(column))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _repeated(name: str, n_rows: int) -> pa.Array:
    text = name.encode()
    offsets = np.array([0, len(text)], dtype=np.int32)
    one = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
    places = pa.Array.from_buffers(
        pa.int32(), n_rows, [None, pa.py_buffer(np.zeros(n_rows, dtype=np.int32))]
    )
    return pa.DictionaryArray.from_arrays(places, one).cast(pa.large_string())


def _to_arrow(column: Floats) -> pa.Array:
    """Return a column for Arrow, null for NaN."""
    values = np.ascontiguousarray(column, dtype=np.float64)
    known = np.packbits(~np.isnan(values), bitorder="little")
    return pa.Array.from_buffers(
        pa.float64(), len(values), [pa.py_buffer(known), pa.py_buffer(values)]
    )
