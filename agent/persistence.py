"""What the daemon keeps across restarts: balances, history, and what events were seen to take."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog

from agent.checkpoint import Checkpoint
from agent.cycle import Policy
from agent.forecaster import Forecaster
from agent.history import HISTORY_NAME, names_of
from agent.learned_store import EVENTS_NAME, LearnedStore
from agent.pinboard import PINS_NAME, PinBoard
from agent.recorder import Recorder
from agent.steps import ClosedStep
from agent.store import Store
from agent.tenant import Resource, Roster
from agent.tokens import Ledger
from enforce.columns import HostSample
from forecast.settings import ForecastSettings

log = structlog.get_logger()

STATE_NAME = "state.db"


class Persistence:
    """Four files of the state folder, of which a damaged one costs no other, and a checkpoint.

    The checkpoint is as of the last tick, the balances in the state folder as of the last step.
    """

    def __init__(self, folder: Path, runtime_dir: Path) -> None:
        self._checkpoint = Checkpoint(runtime_dir)
        self._store = Store(folder / STATE_NAME)
        self._recorder = Recorder(folder / HISTORY_NAME)
        self.pins = PinBoard(folder / PINS_NAME, unix_now_s=unix_now_s)
        self.learned = LearnedStore(folder / EVENTS_NAME)

    @property
    def state_problem(self) -> str | None:
        """Return why balances would not outlive the agent now."""
        return self._store.problem

    @property
    def history_problem(self) -> str | None:
        """Return why steps are not recorded now."""
        return self._recorder.problem

    def ledgers(self, roster: Roster) -> Mapping[Resource, Ledger]:
        """Return the ledgers as they were kept; a tenant that is not known opens at zero."""
        return self._checkpoint.ledgers(roster, self._store.load(roster))

    def last_sample(self, roster: Roster, disks: Sequence[str]) -> HostSample | None:
        """Return the counters as the last tick of this boot saw them, None if there was none."""
        return self._checkpoint.sample(roster, disks)

    def checkpoint(
        self, roster: Roster, ledgers: Mapping[Resource, Ledger], sample: HostSample
    ) -> None:
        """Keep what a tick leaves, for who is started after a kill."""
        self._checkpoint.save(roster, ledgers, sample)

    @property
    def checkpoint_problem(self) -> str | None:
        """Return why a kill would lose more than a tick."""
        return self._checkpoint.problem

    def keep(self, roster: Roster, ledgers: Mapping[Resource, Ledger]) -> None:
        """Keep the ledgers."""
        self._store.save(roster, ledgers)

    def record(self, step: ClosedStep, roster: Roster, policy: Policy, *, step_s: float) -> None:
        """Add a step that has just ended to the history."""
        if not len(roster):
            return
        amounts = [policy.machine[resource] for resource in policy.foreseen]
        self._recorder.add(
            step,
            names_of(roster, policy.foreseen),
            machine=np.repeat(amounts, len(roster)),
            ended_at_s=unix_now_s(),
            step_s=step_s,
        )

    def recall(
        self, forecaster: Forecaster, roster: Roster, policy: Policy, settings: ForecastSettings
    ) -> None:
        """Let the forecaster begin with what was recorded before this start."""
        names = names_of(roster, policy.foreseen)
        past = self._recorder.past_demand(
            names, step_s=settings.step_s, most=settings.kept_steps(len(names)), now_s=unix_now_s()
        )
        if len(past):
            forecaster.reset(len(names), past)
            log.info("forecasts begin with what was recorded", steps=len(past))

    def close(self) -> None:
        """Close all files."""
        self._store.close()
        self._recorder.close()
        self.learned.close()
        self.pins.close()


def unix_now_s() -> float:
    """Return UNIX time: what is kept is read after a reboot, which the monotonic clock is not."""
    return datetime.now(UTC).timestamp()
