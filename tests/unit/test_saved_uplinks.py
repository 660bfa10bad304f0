"""The record of what uplinks were like: one that makes no sense is kept aside, and said."""

import errno
import json
from pathlib import Path

import pytest

from enforce.links.saved import SavedUplinks, give_back
from enforce.links.uplink import ifb_name, number_of_ifb

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
WAS = {"ifindex": 2, "clsact_was_there": False, "kind": "fq", "handle": 0, "options": "00ff"}


def text(**changed: object) -> str:
    said = {"version": 1, "boot_id": BOOT, "uplinks": {"eth0": {**WAS, **changed}}}
    return json.dumps(said)


def test_what_was_recorded_is_known_until_the_next_boot(tmp_path: Path) -> None:
    path = tmp_path / "uplinks.json"
    path.write_text(text())
    saved = SavedUplinks(path)
    assert (saved.names, saved.problem) == (("eth0",), None)
    path.write_text(text().replace(BOOT, "another"))
    saved = SavedUplinks(path)
    assert (saved.names, saved.problem) == ((), None)
    assert SavedUplinks(tmp_path / "none").problem is None


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        text()[:-9],
        text().replace('"version": 1', '"version": 2'),
        text(ifindex="2"),
        text(ifindex=-1),
        text(kind=None),
        text(options="0"),
        text(clsact_was_there=0),
        text(more=1),
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_set_aside_and_said_once(tmp_path: Path, damaged: str) -> None:
    path, pins = tmp_path / "uplinks.json", tmp_path / "pins"
    path.write_text(damaged)
    (told,) = give_back(path, pins)
    assert (told.uplink, told.qdisc) == (str(path), "record")
    assert "kept as uplinks.json.damaged-1" in told.why
    assert not path.exists()
    assert (tmp_path / "uplinks.json.damaged-1").read_text() == damaged
    assert give_back(path, pins) == []


def test_an_ifb_is_known_by_its_name() -> None:
    assert number_of_ifb(ifb_name(7)) == 7
    assert [number_of_ifb(one) for one in ("7", "tidegate", "tidegatex", "eth0")] == [0] * 4


def test_where_nothing_is_recorded_links_are_not_even_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that divides no uplink may not open such sockets."""

    def refused() -> None:
        raise OSError(errno.EAFNOSUPPORT, "no such sockets here")

    monkeypatch.setattr("enforce.links.saved.ClassSocket", refused)
    path, pins = tmp_path / "uplinks.json", tmp_path / "pins"
    assert give_back(path, pins) == []
    path.write_text(json.dumps({"version": 1, "boot_id": BOOT, "uplinks": {}}))  # all are back
    assert give_back(path, pins) == []
    pins.mkdir()
    with pytest.raises(OSError, match="no such sockets"):
        give_back(path, pins)
