"""The page of a backtest: whole in itself, safe with names of strangers, the same each time."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import case, drawn
from click.testing import CliRunner, Result

from agent.allocation import Mode
from agent.backtest.command import backtest
from agent.backtest.commands import trace
from agent.backtest.ours import Course, course_of, our_steps
from agent.backtest.protocol import Case
from agent.backtest.tracks import tracks_of

QUICK = ("--seeds", "1", "--tenants-per-host", "6", "--no-fits", "--jobs", "1")
HOSTILE = "<script>alert(1)</script> $x^{$ &amp;"


def ran(*arguments: str | Path) -> Result:
    return CliRunner().invoke(backtest, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trace of 6 tenants over 16 hours, one of a name that means harm."""
    made = tmp_path_factory.mktemp("traces") / "small.csv"
    arguments = ["make", str(made), "--tenants", "6", "--hours", "16", "--step", "10m"]
    assert CliRunner().invoke(trace, arguments).exit_code == 0
    text = made.read_text()
    made.write_text(text.replace(text.splitlines()[1].split(",")[0].strip('"'), HOSTILE))
    return made


def written(path: Path, page: Path, *options: str) -> str:
    result = ran(path, *QUICK, "--capacity", "0.8", "--html", page, *options)
    assert result.exit_code == 0, result.output
    assert f"the page with plots and tables is {page} (" in result.stderr
    return page.read_text()


def test_a_page_is_whole_in_itself(path: Path, tmp_path: Path) -> None:
    text = written(path, tmp_path / "x.html")
    assert text.count("<svg") == text.count("</svg>") == 4  # bars, and three tenants
    fetched = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', text))
    assert fetched == set()
    assert "<script" not in text
    assert " = 0.8 x the peak: " in text
    assert list(tmp_path.iterdir()) == [tmp_path / "x.html"]


def test_names_from_a_trace_are_text_and_nothing_else(path: Path, tmp_path: Path) -> None:
    text = written(path, tmp_path / "x.html", "--tenant", HOSTILE)
    assert "<script" not in text
    assert "<h2>&lt;script&gt;alert(1)&lt;/script&gt; $x^{$ &amp;amp;</h2>" in text
    assert text.count("<svg") == 2


def test_the_same_run_makes_the_same_page(path: Path, tmp_path: Path) -> None:
    first, again = (written(path, tmp_path / name) for name in ("a.html", "b.html"))
    assert first == again


@pytest.mark.parametrize(
    "options", [("--resource", "memory"), ("--per-class", "--mode", "elastic")]
)
def test_other_resources_and_modes_have_a_page_too(
    path: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    text = written(path, tmp_path / "x.html", *options, "--density")
    assert ("GiB</text>" in text) == ("memory" in options)
    assert ("core-seconds</text>" in text) == ("memory" not in options)
    assert "<h2>Density</h2>" in text


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--html", "x.html", "--tenant", "nobody"], 1, "no host that is drawn has tenant nobody"),
        (["--html", "x.html", "--policy", "vpa"], 2, "must be among the policies"),
        (["--tenant", "batch"], 2, "says what --html shows"),
        (["--capacity", "nan"], 2, "nan is no number"),
        (["--html", "/no/such/folder/x.html"], 5, "/no/such/folder/x.html: No such file"),
    ],
)
def test_what_cannot_be_shown_is_said(
    path: Path, options: list[str], code: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    result = ran(path, *QUICK, "--capacity", "1.0", *options)
    assert result.exit_code == code
    assert word in result.stderr
    assert not (path.parent / "x.html").exists()


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_page_never_takes_the_place_of_its_trace(path: Path, force: list[str]) -> None:
    before, link = path.read_bytes(), path.with_name("link.html")
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    for page in (path, link):
        result = ran(path, *QUICK, "--html", page, *force)
        assert result.exit_code == 2
        assert "is TRACE itself" in result.stderr
    assert path.read_bytes() == before
    assert link.is_symlink()


def test_files_beside_a_page_stay(path: Path, tmp_path: Path) -> None:
    beside = tmp_path / ".x.html.partial"
    beside.write_text("somebody's")
    assert ran(path, *QUICK, "--html", tmp_path / "x.html").exit_code == 0
    assert sorted(tmp_path.iterdir()) == [beside, tmp_path / "x.html"]
    assert beside.read_text() == "somebody's"


def test_only_a_page_is_replaced_and_only_when_told_to(path: Path, tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    page.write_text("mine")
    assert "there is such a file already" in ran(path, *QUICK, "--html", page).stderr
    assert page.read_text() == "mine"
    assert written(path, page, "--force") == page.read_text() != "mine"
    notes = tmp_path / "notes.txt"
    result = ran(path, *QUICK, "--html", notes, "--force")
    assert (result.exit_code, notes.exists()) == (2, False)
    assert "ends in .html or .htm" in result.stderr


def test_a_page_that_cannot_be_written_is_told_before_the_replay(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replayed(*_: object) -> None:
        raise AssertionError("the replay began")

    monkeypatch.setattr("agent.backtest.session.held", replayed)
    result = ran(path, *QUICK, "--html", tmp_path / "none" / "x.html")
    assert result.exit_code == 5
    assert "No such file" in result.stderr


def test_the_tables_outlive_a_page_that_fails(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_folder(*_: object, **__: object) -> str:
        (tmp_path / "gone").rmdir()
        return "page"

    (tmp_path / "gone").mkdir()
    monkeypatch.setattr("agent.backtest.page.page_of", without_folder)
    page = tmp_path / "gone" / "x.html"
    result = ran(path, *QUICK, "--capacity", "0.8", "--html", page)
    assert result.exit_code == 5
    assert "POLICY" in result.stdout


def course(host: Case) -> Course:
    return course_of(host, our_steps(host, 2.0, Mode.STRICT, None), 2.0, lambda _: None)


def test_three_tenants_tell_most() -> None:
    demand = np.minimum(drawn(60, 5), 0.4)
    demand[:, 0] = 0.3  # steady
    demand[:, 1] = np.tile([0.0, 1.5, 0.0, 0.0], 15)  # restless
    demand[:, 2] = 2.0  # never served in full, since others want something too
    host = case(demand, warm_up=10)
    worst, spiky, median = tracks_of(host, course(host))
    assert (worst.tenant, spiky.tenant) == ("t02", "t01")
    assert median.tenant == "t00"
    assert worst.unmet.sum() == pytest.approx((worst.demand - worst.served).sum())
    assert 0 < worst.unmet_fraction < 1


def test_tenants_are_shown_by_name_or_as_many_as_there_are() -> None:
    host = case(drawn(60, 5), warm_up=10)
    made = course(host)
    chosen = tracks_of(host, made, ["t03", "t01"])
    assert [track.tenant for track in chosen] == ["t03", "t01"]
    np.testing.assert_array_equal(chosen[0].limit, made.limit[:, 3])
    alone = replace(host.only(np.array([0])), class_of=np.array([0]))
    assert [track.qos for track in tracks_of(alone, course(alone))] == ["platinum"]
