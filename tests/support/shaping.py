"""A shaper of two tenants on one link, and what reads and writes through it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from traffic import LINK, MBIT, NAMES

from enforce.columns import Changes, ClassControl, NetColumns, Outcomes
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink

CAPACITY = 4_000 * MBIT


@dataclass
class Bench:
    """A shaper and what reads and writes through it."""

    root: Path
    record: Path
    shaper: Shaper

    def ids(self) -> np.ndarray:
        paths = [self.root / name for name in NAMES]
        return np.array([p.stat().st_ino if p.exists() else 0 for p in paths], dtype=np.int64)

    def read(self) -> NetColumns:
        return self.shaper.read(self.ids())

    def set(self, way: str, number: str, *values: float) -> Outcomes:
        control = ClassControl(LINK, way, number)  # type: ignore[arg-type]
        at, nothing = np.arange(len(values)), np.full(len(values), np.nan)
        return self.shaper.apply(Changes(control, at, nothing, np.array(values)))


def started(root: Path, record: Path, *, may_replace: bool = False, limited: bool = True) -> Bench:
    uplink = Uplink(LINK, CAPACITY, CAPACITY, may_replace_qdisc=may_replace)
    shaper = Shaper(root, NAMES, [uplink], is_limited=[limited] * len(NAMES), record=record)
    return Bench(root, record, shaper)
