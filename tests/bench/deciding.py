"""Measures what a tick of N tenants costs after sampling, and the agent's memory with it.

    deciding.py MOUNT RESULT_FILE N

The kernel is a function here: usage walks at random, and limits are what the last tick decided.
Memory is that of a whole agent: all its modules loaded, with those that set up uplinks, and cgroups
of its own kept open.
"""

import gc
import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import installed  # noqa: F401 - before anything that would load what it hides
from scratch import cgroups
from stopwatch import Stopwatch
from timing import median_ms, memory_mib, progress
from worlds import DISK, Ready, World, config_of, watch_parts

from agent.checkpoint import Checkpoint
from agent.drift import DriftWatch
from agent.heap import give_back_large_blocks
from agent.persistence import unix_now_s
from agent.pinboard import PinBoard
from agent.policy import loop_settings, policy_of, thrift_of
from agent.ports import Kernel
from agent.tenant import Roster
from agent.tick import ControlLoop
from enforce.links import route
from enforce.sampler import Sampler
from forecast.fallback import MAXIMUM_STEPS, fallback_profile
from forecast.history import History
from forecast.message import answer_message, profile_of
from forecast.settings import ForecastSettings

ROUNDS = {100: 101, 1_000: 51, 10_000: 15}
PAST_STEPS = 60
LOADED = ("agent.cli", "agent.service")
PARTS = ("forecast", "decide", "plan", "drift", "record", "checkpoint", "rest")


class Bench:
    """One host of `count` tenants, ticked on a clock of its own."""

    def __init__(self, count: int, folder: Path, *, has_rates: bool = False) -> None:
        config = config_of(count, DISK if has_rates else None)
        self.world, self.now_s = World(count, has_rates=has_rates), 1.0
        n_series = len(self.world.usage())
        steps = ForecastSettings().kept_steps(n_series)
        self.history = History(n_series, steps)  # as much as the agent keeps for its forecaster
        for _ in range(PAST_STEPS):
            self.history.append(self.world.usage())
        rule = fallback_profile(self.history.recent(MAXIMUM_STEPS), step=PAST_STEPS)
        profile = profile_of(answer_message(0, rule), n_series)  # as it comes from the forecaster
        self.loop = ControlLoop(
            Roster.of(config.tenants, config.resources),
            policy_of(config),
            replace(loop_settings(config, thrift_of(config)), step_s=1e9),
            kernel=Kernel(self.world, self.world),
            forecaster=Ready(profile),  # type: ignore[arg-type]
            ledgers={},
        )
        board = PinBoard(folder / f"pins{has_rates}.db", unix_now_s=unix_now_s)
        self.loop.drift = DriftWatch(self.loop.roster, config.drift, board)
        self._checkpoint = Checkpoint(folder)
        self.watch = watch = Stopwatch()
        watch.wrap("sample", self.world, "read")
        watch_parts(watch, self.loop)
        watch.wrap("rest", self.loop, "tick")
        watch.wrap("checkpoint", self._checkpoint, "save")

    def tick(self) -> None:
        """Run one tick, and let the host obey."""
        self.now_s += 1.0
        self.record = record = self.loop.tick(self.now_s, late_ticks=0)  # kept, as the daemon does
        self._checkpoint.save(self.loop.roster, self.loop.ledgers, record.sample)
        self.world.obey(record)
        self.watch.lap()

    def parts_ms(self, rounds: int) -> dict[str, float]:
        """Return the CPU time of each part of a tick, but for reading."""
        for _ in range(5):
            self.tick()
        self.watch.medians_ms()
        for _ in range(rounds):
            self.tick()
        return {name: taken for name, taken in self.watch.medians_ms().items() if name in PARTS}


def main() -> None:
    """Measure one size in this process, and write the result."""
    mount, result, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    progress(f"deciding for {count} tenants")
    rounds = ROUNDS.get(count, 21)
    give_back_large_blocks()
    for name in LOADED:
        import_module(name)
    route.opened().close()  # what sets up uplinks, too
    with TemporaryDirectory(dir="/dev/shm") as folder, cgroups(mount, count) as (root, names):
        sampler, every_bench = Sampler(root, names), Bench(count, Path(folder), has_rates=True)
        for _ in range(20):
            sampler.read(0.0)
            every_bench.tick()
        every = every_bench.parts_ms(rounds)
        rss_mib, peak_rss_mib = memory_mib("VmRSS"), memory_mib("VmHWM")
        sampler.close()
        del every_bench
        gc.collect()  # timed functions refer to what they are part of
        bench = Bench(count, Path(folder))
        two = bench.parts_ms(rounds)
        recent = bench.history.recent(MAXIMUM_STEPS)
        fallback_ms = median_ms(lambda: fallback_profile(recent, step=0), rounds)
    said = {
        "tenants": count,
        "decide_ms": two["decide"],
        "plan_ms": sum(two.values()) - two["decide"],
        "every_resource_ms": every,
        "fallback_ms": fallback_ms,
        "rss_mib": rss_mib,
        "peak_rss_mib": peak_rss_mib,
    }
    result.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
