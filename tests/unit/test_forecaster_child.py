"""The forecaster's client against real processes: sound, stopped, killed, silent and raving ones.

The agent's clock is an argument, so a hang of half a minute takes no time here.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from children import (
    MUTE_AFTER_HELLO,
    QUICK,
    SILENT,
    polled,
    process_state,
    python,
    values,
    wait_until,
)

from agent.child import MOST_BYTES_A_CALL
from agent.forecaster import COMMAND, Forecaster
from forecast.message import MOST_BODY_BYTES
from forecast.profile import LEVELS, Source
from forecast.settings import ForecastSettings

SERIES = 6
MOST_STEPS = 200
SETTINGS = ForecastSettings(step_s=1.0, refit_s=5.0, horizon_steps=3, history_steps=40)


@contextmanager
def forecasting(
    command: Sequence[str] = QUICK,
    *,
    past_steps: int = 0,
    n_series: int = SERIES,
    settings: ForecastSettings = SETTINGS,
) -> Iterator[Forecaster]:
    forecaster = Forecaster(settings, hung_after_s=30.0, command=command)
    past = [values(n_series, step) for step in range(-past_steps, 0)]
    forecaster.reset(n_series, np.array(past).reshape(past_steps, n_series))
    try:
        yield forecaster
    finally:
        forecaster.close()


def pid_of(forecaster: Forecaster) -> int:
    assert forecaster.pid is not None
    return forecaster.pid


def test_the_real_child_learns_then_forecasts_and_is_gone_when_closed() -> None:
    with forecasting(COMMAND) as forecaster:
        assert forecaster.state(0.0) == "starting"
        # Models are fitted between steps: how many steps that takes is the machine's affair.
        for step in range(1, MOST_STEPS):
            forecaster.offer(step, values(SERIES, step), now_s=float(step))
            profile = polled(forecaster, float(step), step)
            assert forecaster.state(float(step)) == "live"
            if step < SETTINGS.min_points:
                assert (profile.source == Source.LEARNING).all()
            elif (profile.source == Source.LIVE).all():
                break
            else:
                time.sleep(0.05)
        else:
            pytest.fail(f"not all live after {MOST_STEPS} steps")
        assert profile.grid.shape == (len(LEVELS), SERIES)
        assert (np.diff(profile.grid, axis=0) >= 0).all()
        np.testing.assert_allclose(profile.expected, values(SERIES, step), atol=0.3)
        pid = pid_of(forecaster)
    assert process_state(pid) == ""


def test_the_real_child_is_live_at_its_first_answer_where_there_is_a_past() -> None:
    with forecasting(COMMAND, past_steps=30) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        assert (polled(forecaster, 0.0, 1).source == Source.LIVE).all()


def test_the_real_child_tells_how_good_its_forecasts_have_been_and_who_carries_them() -> None:
    with forecasting(COMMAND, past_steps=30) as forecaster:
        found = None
        for step in range(1, 40):
            forecaster.offer(step, values(SERIES, step), now_s=float(step))
            found = polled(forecaster, float(step), step).quality
        assert found is not None
        assert set(found.experts) >= {"level", "last", "analogues"}
        assert (found.shares.sum(axis=0) >= 95).all()
        assert (found.windows > 20).all()
        assert np.isfinite(found.coverage).all()
        assert np.isfinite(found.skill).all()
        forecaster.rearrange(np.array([-1, 0]))
        moved = forecaster.poll(40.0)
        assert moved is not None
        assert moved.quality is not None
        assert moved.quality.windows.tolist() == [0.0, found.windows[0]]


def test_a_stopped_child_is_late_then_killed_then_replaced_by_one_that_knows_the_past() -> None:
    with forecasting(COMMAND, past_steps=30) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        polled(forecaster, 0.0, 1)
        stopped = pid_of(forecaster)
        os.kill(stopped, signal.SIGSTOP)
        forecaster.offer(2, values(SERIES, 2), now_s=1.0)
        forecaster.poll(1.0)
        assert forecaster.state(1.0) == "live"  # no more than an answer is outstanding
        forecaster.poll(10.0)
        assert forecaster.state(10.0) == "late"
        assert forecaster.pid == stopped
        forecaster.poll(31.5)
        assert forecaster.state(31.5) == "dead"
        assert forecaster.problem is not None
        assert "no answer for 30 s" in forecaster.problem
        wait_until(lambda: forecaster.poll(33.0) and forecaster.pid, "another is started")
        assert forecaster.state(33.0) == "starting"
        assert process_state(stopped) == ""
        assert (polled(forecaster, 33.0, 2).source == Source.LIVE).all()
        assert forecaster.state(33.0) == "live"


def test_a_killed_child_is_replaced() -> None:
    with forecasting(past_steps=20) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        before = polled(forecaster, 0.0, 1)
        killed = pid_of(forecaster)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: forecaster.poll(0.0) and forecaster.state(0.0) == "dead", "it is missed")
        assert forecaster.poll(0.5) is before  # still at hand, though no longer live
        assert forecaster.pid is None
        wait_until(lambda: forecaster.poll(1.5) and forecaster.pid, "another is started")
        forecaster.offer(2, values(SERIES, 2), now_s=2.0)
        assert (polled(forecaster, 2.0, 2).source == Source.LIVE).all()


def test_a_live_child_that_is_silent_between_steps_is_not_hung() -> None:
    with forecasting() as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        polled(forecaster, 0.0, 1)
        forecaster.poll(1e6)
        assert forecaster.state(1e6) == "live"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import os; os.write(1, os.urandom(1 << 16))", "not of version"),
        ("print('Segmentation fault')", "not of version"),
        ("import sys; sys.exit(3)", "ended"),
        ("import os, time; os.close(1); time.sleep(600)", "ended"),
        (
            "from forecast.message import *; from forecast.worker import send\n"
            "send(1, Hello()); [send(1, Learned(1, 1)) for _ in range(9)]\n"
            "import time; time.sleep(600)",
            "unasked",
        ),
        (
            "from forecast.message import *; from forecast.worker import send\n"
            "while True: send(1, Hello())",
            "unasked",
        ),
        (
            "import os, time; from forecast.message import *; from forecast.worker import send\n"
            "frame = bytearray(encoded(Hello())); frame[-1] ^= 1; os.write(1, frame)\n"
            "time.sleep(600)",
            "checksum",
        ),
        (
            "import time; import numpy as np\n"
            "from forecast.message import *; from forecast.worker import send\n"
            "from forecast.profile import *\n"
            "import os; begin = next(Frames().fed(os.read(0, 1 << 16))); one = np.ones(1)\n"
            "made = Profile(1, LEVELS, np.ones((17, 1)), one, np.ones((3, 3, 1)), one)\n"
            "send(1, Hello()); send(1, answer_message(begin.generation, made))\n"
            "time.sleep(600)",
            "expected 6",  # a forecast of one series, where there are six
        ),
        (
            "import time; import numpy as np\n"
            "from forecast.message import *; from forecast.worker import send\n"
            "from forecast.profile import *\n"
            "import os; begin = next(Frames().fed(os.read(0, 1 << 16))); one = np.ones(6)\n"
            "made = Profile(9**9, LEVELS, np.ones((17, 6)), one, np.ones((3, 3, 6)), one)\n"
            "send(1, Hello()); send(1, answer_message(begin.generation, made))\n"
            "time.sleep(600)",
            "not asked for",  # of a step that has not come yet
        ),
    ],
)
def test_a_child_that_talks_nonsense_is_killed_and_named(script: str, why: str) -> None:
    with forecasting(python(script)) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        pid = forecaster.pid  # None of one that was noticed already
        wait_until(lambda: forecaster.poll(0.0) or forecaster.problem, "the nonsense is noticed")
        assert forecaster.state(0.0) == "dead"
        assert forecaster.problem is not None
        assert why in forecaster.problem
        wait_until(
            lambda: forecaster.poll(0.0) or (forecaster.pid is None and not is_there(pid)),
            "it is gone",
        )


def is_there(pid: int | None) -> bool:
    return pid is not None and process_state(pid) != ""


def next_start_s(forecaster: Forecaster, now_s: float) -> float:
    """Wait until the child has ended, then turn the clock until another is started."""
    forecaster.poll(now_s)
    wait_until(lambda: forecaster.poll(now_s) or forecaster.pid is None, "it has ended")
    while forecaster.pid is None:
        now_s += 0.25
        forecaster.poll(now_s)
    return now_s


def test_pauses_between_children_grow_up_to_a_minute() -> None:
    with forecasting(python("import sys; sys.exit(1)")) as forecaster:
        now_s, pauses = 0.0, []
        for _ in range(9):
            paused_at_s, now_s = now_s, next_start_s(forecaster, now_s)
            pauses.append(now_s - paused_at_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_command_that_cannot_be_started_leaves_the_agent_with_the_rule() -> None:
    with forecasting(("/nonexistent/python",)) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        assert forecaster.poll(0.0) is None
        assert forecaster.state(0.0) == "dead"
        assert forecaster.problem is not None
        assert "cannot be started" in forecaster.problem


@pytest.mark.parametrize("command", [SILENT, MUTE_AFTER_HELLO])
def test_a_child_that_never_answers_is_given_up_four_times_later_than_a_hung_one(
    command: Sequence[str],
) -> None:
    with forecasting(command) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        forecaster.poll(119.0)
        assert forecaster.state(119.0) == "starting"
        clock = count(120.0, step=50.0)  # its hello, whenever it comes, is a sign of life
        wait_until(lambda: forecaster.poll(next(clock)) or forecaster.problem, "it is given up")
        assert forecaster.problem == "no answer for 120 s"


def test_a_child_that_takes_steps_but_never_answers_is_hung(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    lazy = python(
        "import os, time; from forecast.message import *; from forecast.worker import send\n"
        "send(1, Hello()); os.read(0, 1 << 16); send(1, Learned(1, 1))\n"
        f"open({str(taken)!r}, 'w').close(); time.sleep(600)"
    )
    with forecasting(lazy) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        wait_until(lambda: forecaster.poll(0.0) or taken.exists(), "the step is taken")
        forecaster.poll(0.0)
        forecaster.poll(121.0)
        assert forecaster.state(121.0) == "dead"


def test_offers_to_a_stopped_child_neither_block_nor_pile_up() -> None:
    # Were one write to wait for room, this would never end: 80 MB are offered to a stopped child.
    n_series, steps = 20_000, 1_000
    settings = ForecastSettings(step_s=1.0, horizon_steps=2, history_steps=12)
    with forecasting(n_series=n_series, settings=settings) as forecaster:
        forecaster.poll(0.0)
        os.kill(pid_of(forecaster), signal.SIGSTOP)
        wait_until(lambda: process_state(pid_of(forecaster)) == "T", "it is stopped")
        row = values(n_series, 1)
        for step in range(steps):
            forecaster.offer(step, row, now_s=1.0)
        kept_steps = settings.kept_steps(n_series)
        assert kept_steps < steps
        assert kept_bytes(forecaster) < 1.2 * 4 * n_series * kept_steps
        os.kill(pid_of(forecaster), signal.SIGCONT)
        wait_until(lambda: forecaster.poll(2.0), "it answers what it had been sent")
        wait_until(lambda: forecaster.poll(2.0) and forecaster.state(2.0) == "live", "it goes on")


def kept_bytes(part: object) -> int:
    """Sum the bytes of all buffers that an object of ours, and what it is made of, holds."""
    if isinstance(part, np.ndarray | memoryview):
        return part.nbytes
    if isinstance(part, bytes | bytearray):
        return len(part)
    if isinstance(part, Sequence) and not isinstance(part, str):
        return sum(kept_bytes(item) for item in part)
    return sum(kept_bytes(value) for value in getattr(part, "__dict__", {}).values())


def test_what_one_call_reads_is_bounded() -> None:
    raving = python(
        "import os\nfrom forecast.message import *\n"
        "frame = encoded(Hello())[:6] + (1 << 26).to_bytes(4) + bytes(4)\n"
        "os.write(1, frame)\nwhile True: os.write(1, bytes(1 << 20))"
    )
    with forecasting(raving) as forecaster:
        for _ in range(5):
            forecaster.poll(0.0)
            assert kept_bytes(forecaster) < MOST_BODY_BYTES + 2 * MOST_BYTES_A_CALL
        wait_until(lambda: forecaster.poll(0.0) or forecaster.problem, "it is seen through")


def test_a_reset_forgets_the_profile_of_other_series() -> None:
    with forecasting() as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        polled(forecaster, 0.0, 1)
        forecaster.offer(2, values(SERIES, 2), now_s=1.0)  # its answer comes too late to be used
        forecaster.reset(2, np.empty((0, 2)))
        assert forecaster.state(1.0) == "starting"
        forecaster.offer(3, values(2, 3), now_s=2.0)
        assert polled(forecaster, 2.0, 3).expected.shape == (2,)
        assert forecaster.state(2.0) == "live"


def test_rearranged_series_keep_profile_and_models() -> None:
    with forecasting(past_steps=30) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        before = polled(forecaster, 0.0, 1)
        forecaster.offer(2, values(SERIES, 2), now_s=1.0)
        forecaster.rearrange(np.array([4, -1, 0]))
        at_once = forecaster.poll(1.0)
        assert at_once is not None
        np.testing.assert_array_equal(at_once.expected, before.expected[[4, 0, 0]] * [1, np.nan, 1])
        assert forecaster.state(1.0) == "live"
        forecaster.offer(3, values(SERIES, 3)[[4, 2, 0]], now_s=2.0)
        sources = polled(forecaster, 2.0, 3).source
        assert sources.tolist() == [Source.LIVE, Source.LEARNING, Source.LIVE]


def test_a_child_started_after_a_rearrangement_knows_the_new_order() -> None:
    with forecasting(past_steps=30) as forecaster:
        forecaster.rearrange(np.array([5, 1]))
        forecaster.offer(1, values(SERIES, 1)[[5, 1]], now_s=0.0)
        profile = polled(forecaster, 0.0, 1)
        assert (profile.source == Source.LIVE).all()
        np.testing.assert_allclose(profile.expected, values(SERIES, 1)[[5, 1]], atol=0.3)


@pytest.mark.parametrize("newcomers", [0, 79_994])
def test_the_past_of_very_many_series_is_kept_for_fewer_steps(newcomers: int) -> None:
    """What the agent keeps for its forecaster is bounded, whoever joins by a reload."""
    with forecasting(past_steps=100, settings=ForecastSettings(step_s=1.0)) as forecaster:
        forecaster.rearrange(np.append(np.arange(SERIES), np.full(newcomers, -1)))
        kept = forecaster.recent(100)
    assert len(kept) == (60 if newcomers else 100)
    wanted = [values(SERIES, step) for step in range(-len(kept), 0)]
    np.testing.assert_allclose(kept[:, :SERIES], wanted, rtol=1e-6)


def test_new_settings_reach_the_child() -> None:
    with forecasting(past_steps=30) as forecaster:
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        polled(forecaster, 0.0, 1)
        pid = forecaster.pid
        forecaster.reconfigure(SETTINGS, hung_after_s=20.0)
        assert forecaster.state(0.0) == "live"  # nothing that it knows has changed
        forecaster.reconfigure(
            ForecastSettings(step_s=1.0, history_steps=20, horizon_steps=2), hung_after_s=20.0
        )
        assert forecaster.state(0.0) == "starting"
        forecaster.offer(2, values(SERIES, 2), now_s=1.0)
        assert (polled(forecaster, 1.0, 2).source == Source.LIVE).all()  # from the past
        assert forecaster.pid == pid


def test_no_series_at_all_are_forecast_too() -> None:
    with forecasting(n_series=0) as forecaster:
        for step in range(1, 15):
            forecaster.offer(step, np.empty(0), now_s=float(step))
        assert polled(forecaster, 14.0, 14).grid.shape == (len(LEVELS), 0)


def test_the_child_is_niced_bounded_in_memory_and_inherits_nothing() -> None:
    with Path(os.devnull).open("rb") as handed_on, forecasting() as forecaster:
        os.set_inheritable(handed_on.fileno(), True)
        forecaster.offer(1, values(SERIES, 1), now_s=0.0)
        polled(forecaster, 0.0, 1)
        proc = Path(f"/proc/{pid_of(forecaster)}")
        assert os.getpriority(os.PRIO_PROCESS, pid_of(forecaster)) == os.nice(0) + 10
        assert int((proc / "oom_score_adj").read_text()) >= 900
        limits = (proc / "limits").read_text()
        (data,) = [line for line in limits.splitlines() if line.startswith("Max data size")]
        assert data.split()[3:5] == [str(768 << 20)] * 2
        open_fds = {int(fd.name) for fd in (proc / "fd").iterdir()}
        assert open_fds == {0, 1, 2, 3}  # 3 is for answers, 1 for what a library may print
        environment = (proc / "environ").read_bytes().split(b"\0")
        assert b"OMP_NUM_THREADS=1" in environment
        assert not [name for name in environment if name.startswith(b"NOTIFY_SOCKET")]
