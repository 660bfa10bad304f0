"""Says which part of a whole took how long, for benchmarks: each without those inside of it."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Times named parts by one clock; `lap` begins anew."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock, self._inside_s = clock, [0.0]
        self._taken_s: dict[str, float] = defaultdict(float)
        self._laps: list[Mapping[str, float]] = []

    def timed(self, name: str, part: Callable[..., T]) -> Callable[..., T]:
        """Return `part` with its time added to `name`, less that of parts inside of it."""

        def run(*arguments: object, **options: object) -> T:
            began_s = self._clock()
            self._inside_s.append(0.0)
            try:
                return part(*arguments, **options)
            finally:
                whole_s = self._clock() - began_s
                self._taken_s[name] += whole_s - self._inside_s.pop()
                self._inside_s[-1] += whole_s

        return run

    def wrap(self, name: str, owner: object, *attributes: str) -> None:
        """Time these functions of a module or an object under one name from now on."""
        for attribute in attributes:
            setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))

    def lap(self) -> None:
        """End a round."""
        self._laps.append(dict(self._taken_s))
        self._taken_s.clear()

    def medians_ms(self) -> dict[str, float]:
        """Return each part's median over the rounds since this was last asked."""
        laps, self._laps = self._laps, []
        names = dict.fromkeys(name for lap in laps for name in lap)
        return {name: 1e3 * statistics.median(lap.get(name, 0.0) for lap in laps) for name in names}
