"""agent.table: tables that fit the terminal."""

from collections.abc import Sequence

from click import style, unstyle

from agent.table import Column, labelled, paragraph, table

Row = tuple[str, int]
COLUMNS: Sequence[Column[Row]] = (
    Column("NAME", lambda row: row[0], is_left=True),
    Column("A", lambda row: str(row[1]), "both", rank=1),
    Column("B", lambda row: str(row[1] * 100), "both", rank=2),
    Column("STATE", lambda row: "ok", is_left=True, paint=lambda text, row: style(text, bold=True)),
)
ROWS = [("web", 1), ("batch", 22)]


def shown(width: int) -> tuple[list[str], list[str]]:
    """Return all lines and what was left out."""
    heads, body, hidden = table(COLUMNS, ROWS, width=width)
    return [*heads, *(unstyle(line) for line in body)], hidden


def test_columns_are_as_wide_as_what_they_hold() -> None:
    assert shown(80) == (
        [
            "       - both -",
            "NAME    A     B  STATE",
            "web     1   100  ok",
            "batch  22  2200  ok",
        ],
        [],
    )


def test_gaps_go_first_and_then_the_columns_of_highest_rank() -> None:
    lines, hidden = shown(19)
    assert (lines[1], hidden) == ("NAME   A    B STATE", [])
    lines, hidden = shown(17)
    assert (lines[1], hidden) == ("NAME    A  STATE", ["both b"])
    lines, hidden = shown(12)
    assert (lines[0], hidden) == ("NAME   STATE", ["both a", "both b"])


def test_columns_without_a_rank_stay_however_narrow_it_is() -> None:
    assert shown(1)[0][0] == "NAME  STATE"


def test_long_cells_are_cut_in_the_middle_when_no_column_can_go() -> None:
    columns: Sequence[Column[Row]] = [
        Column("TENANT", lambda row: row[0], is_left=True, shortest=8),
        Column("A", lambda row: str(row[1]), rank=1),
        Column("STATE", lambda row: "ok", is_left=True),
    ]
    rows = [("customer-0001-web", 1), ("customer-0002-web", 1), ("batch", 1)]
    heads, body, hidden = table(columns, rows, width=20)
    assert heads == ["TENANT         STATE"]
    assert body == ["custom..01-web ok", "custom..02-web ok", "batch          ok"]
    assert hidden == ["a", "tenant in full"]
    assert table(columns, rows, width=1)[1][0] == "cus..web ok"


def test_a_table_without_rows_is_its_head() -> None:
    assert table(COLUMNS[:1], [], width=10) == (["NAME"], [], [])


def test_colours_take_no_room() -> None:
    _, body, _ = table(COLUMNS, ROWS, width=80)
    assert body[0].endswith(style("ok", bold=True))


def test_paragraphs_hang_beside_their_labels() -> None:
    pairs = [("cpu", "one two three four five six"), ("memory", "x")]
    assert labelled(pairs, width=30) == [
        "  cpu     one two three four",
        "          five six",
        "  memory  x",
    ]


def test_a_word_longer_than_the_line_stays_whole() -> None:
    assert paragraph("a /sys/fs/cgroup/tidegate.slice/x-y", width=20) == [
        "a",
        "/sys/fs/cgroup/tidegate.slice/x-y",
    ]
