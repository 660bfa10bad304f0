"""enforce.vitals: what the kernel says of the host, and what it does not."""

from pathlib import Path

import numpy as np
import psutil

from enforce.vitals import read_vitals

SOME = "some avg10=12.34 avg60=1.00 avg300=0.00 total=5\n"
FULL = "full avg10=5.60 avg60=1.00 avg300=0.00 total=5\n"


def test_each_pressure_is_read_from_its_line(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text(SOME + FULL)
    (tmp_path / "memory").write_text(SOME + FULL)
    (tmp_path / "io").write_text(SOME + FULL.replace("5.60", "99.99"))
    vitals = read_vitals(tmp_path)
    assert (vitals.cpu_some_pct, vitals.memory_full_pct, vitals.io_full_pct) == (12.34, 5.6, 99.99)
    assert vitals.memory_total_bytes == psutil.virtual_memory().total
    assert 0 < vitals.memory_available_bytes <= vitals.memory_total_bytes


def test_what_a_kernel_does_not_tell_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text("")
    (tmp_path / "memory").write_text(SOME)  # no line of what is asked
    (tmp_path / "io").write_text("full avg10=much avg60=1.00\n")
    vitals = read_vitals(tmp_path)
    assert np.isnan([vitals.cpu_some_pct, vitals.memory_full_pct, vitals.io_full_pct]).all()
    assert np.isnan(read_vitals(tmp_path / "none").cpu_some_pct)
