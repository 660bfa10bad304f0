"""What a host recorded, replayed under its files: from a real history to what is served."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import drawn
from pasts import STEP_S, record, write_files
from replays import Replay, replayed

from agent.allocation import Mode
from agent.backtest.engine import OneResource, RuleForecaster, Setting
from agent.backtest.hindsight import (
    Hindsight,
    HindsightError,
    OverrideError,
    Request,
    held,
    prepared,
)
from agent.backtest.hindsight_report import HindsightReport, hindsight_report
from agent.backtest.host import Evidence
from agent.backtest.ours import replay_forecast_settings
from agent.backtest.waiting import WaitingForecaster
from agent.history import HistoryError
from agent.host import read_config
from agent.overrides import parsed_override
from agent.policy import policy_of
from agent.ports import Forecasting
from agent.settings import Config
from agent.tenant import Resource, Roster

NOW_S = 1_700_000_000.0
GOLD, SILVER, PLATINUM = ('qos = "gold"\n', 'qos = "silver"\n', 'qos = "platinum"\n')
CEILING = '[cpu]\nceiling_cores = {}\n[memory]\nceiling_bytes = "{}M"\n'
DISK = '[disk.sda]\nread_capacity_bytes_per_s = "100M"\n'
Prepared = Callable[..., Hindsight]

DEMAND = drawn(120, 3) / 4.0  # at most a core each


def _deaf(_steps: int) -> None:
    """Hear of no progress."""


@pytest.fixture
def prepare(tmp_path: Path) -> Prepared:
    """Return a look at the last hour of a host of three tenants that recorded two."""
    record(
        tmp_path,
        {name: DEMAND[:, place] for place, name in enumerate(("db", "gone", "web"))},
        ended_at_s=NOW_S - 1,
        served_fraction=0.75,
    )
    config = write_files(
        tmp_path,
        {"db": PLATINUM + CEILING.format(0.8, 700), "new": SILVER, "web": SILVER},
        host=DISK,
    )

    def prepared_now(*texts: str, **more: object) -> Hindsight:
        request = Request(
            config,
            tmp_path / "tenants.d",
            Resource.CPU,
            since_s=3600.0,
            overrides=tuple(map(parsed_override, texts)),
            are_fitted=False,
        )
        return prepared(replace(request, **more), now_s=NOW_S)  # type: ignore[arg-type]

    return prepared_now


def reported(hindsight: Hindsight) -> HindsightReport:
    return hindsight_report(hindsight, held(hindsight, _deaf), elapsed_s=0.0)


def of_the_whole_host(
    config: Config, demand: np.ndarray, resource: Resource, forecaster: Forecasting | None
) -> Replay:
    """Replay under everything that is configured: disks, memory and all."""
    periods = replace(config.periods, tick_s=STEP_S, step_s=STEP_S, learning_s=0.0)
    config = replace(config, periods=periods)
    policy = policy_of(config)
    roster = Roster.of((t for t in config.tenants if t.name != "new"), config.resources)
    setting = Setting(roster, policy, resource, STEP_S)
    evidence = Evidence(is_exact=True)
    narrowed = OneResource(
        forecaster or RuleForecaster(), resource, len(roster), foreseen=policy.foreseen
    )
    return replayed(demand, setting, forecaster=narrowed, evidence=evidence)


def test_all_that_was_recorded_before_the_time_asked_for_is_warm_up(prepare: Prepared) -> None:
    recording = prepare().recording
    assert (recording.tenants, recording.warm_up, recording.step_s) == (("db", "web"), 60, STEP_S)
    assert recording.demand == pytest.approx(DEMAND[:, [0, 2]])
    assert recording.usage == pytest.approx(0.75 * DEMAND[:, [0, 2]])
    assert np.isinf(recording.limit).all()
    assert recording.ended_at_s[60] > NOW_S - 3600.0 >= recording.ended_at_s[59]


@pytest.mark.parametrize("resource", [Resource.CPU, Resource.MEMORY])
@pytest.mark.parametrize("mode", list(Mode))
def test_as_configured_the_replay_is_the_control_loops(
    prepare: Prepared, tmp_path: Path, resource: Resource, mode: Mode
) -> None:
    """Of the whole configuration, though the replay keeps only what counts; from the first step."""
    hindsight = prepare(resource=resource, mode=mode, since_s=7200.0)
    (found,) = held(hindsight, _deaf)
    config = read_config(tmp_path / "tidegate.toml", tmp_path / "tenants.d")
    config = replace(config, modes={**config.modes, resource: mode})
    expected = of_the_whole_host(config, hindsight.recording.demand, resource, None)
    np.testing.assert_array_equal(found.limit, expected.limit)
    np.testing.assert_array_equal(found.served, expected.served)
    assert len(np.unique(found.limit[:, 0])) > 1


def test_forecasts_are_the_forecasters_as_configured(prepare: Prepared, tmp_path: Path) -> None:
    texts = ("periods.horizon_s=5m", "modes.cpu=strict")
    hindsight = prepare(*texts, are_fitted=True)
    _, found = held(hindsight, _deaf)
    config = read_config(
        tmp_path / "tidegate.toml",
        tmp_path / "tenants.d",
        overrides=[parsed_override(text) for text in texts],
    )
    settings = replay_forecast_settings(config)
    assert settings.horizon_steps == 5
    with WaitingForecaster(settings) as forecaster:
        expected = of_the_whole_host(config, hindsight.recording.demand, Resource.CPU, forecaster)
    np.testing.assert_array_equal(found.limit, expected.limit[60:])


def test_tenants_have_what_their_files_say_now(prepare: Prepared) -> None:
    hindsight = prepare()
    assert (hindsight.forgotten, hindsight.without_effect) == (("gone",), ())
    db, web = hindsight.configured.tenants
    assert (db.qos.name, db.entitlements[Resource.CPU].ceiling) == ("platinum", 0.8)
    assert (web.qos.name, web.entitlements[Resource.CPU].ceiling) == ("silver", float("inf"))
    assert hindsight.configured.capacity[Resource.CPU] == pytest.approx(0.9)
    assert hindsight.configured.modes[Resource.CPU] is Mode.ELASTIC
    assert prepare(mode=Mode.STRICT).configured.modes[Resource.CPU] is Mode.STRICT


def test_a_lower_ceiling_leaves_unmet_what_exceeds_it(prepare: Prepared) -> None:
    """In elastic mode while all have room."""
    hindsight = prepare("tenants.db.cpu.ceiling_cores=0.1", "host.cpu_reserve_cores=0")
    recording = hindsight.recording
    quiet = recording.demand / 3.0
    hindsight = replace(hindsight, recording=replace(recording, demand=quiet))
    before, after = held(hindsight, _deaf)
    counts = quiet[recording.warm_up :]
    np.testing.assert_allclose(before.served, counts)
    np.testing.assert_allclose(after.served[:, 0], np.minimum(counts[:, 0], 0.1))
    np.testing.assert_allclose(after.served[:, 1], counts[:, 1])
    assert (counts[:, 0] > 0.1).any()


def test_who_is_served_less_is_named_first(prepare: Prepared) -> None:
    report = reported(prepare("tenants.web.cpu.ceiling_cores=0.05"))
    assert [row.name for row in report.classes] == ["platinum", "silver"]
    assert [row.name for row in report.tenants] == ["web", "db"]
    web = report.tenants[0]
    assert (web.qos, web.tenants) == ("silver", 1)
    assert web.changed is not None
    assert web.changed.unmet_fraction > 2 * web.configured.unmet_fraction
    assert web.mean_demand == pytest.approx(DEMAND[60:, 2].mean())
    assert report.total.mean_demand == pytest.approx(DEMAND[60:, [0, 2]].sum(axis=1).mean())


def test_what_was_recorded_is_told_as_it_was(prepare: Prepared) -> None:
    report = reported(prepare())
    recorded = report.total.recorded
    assert recorded.unmet_fraction == pytest.approx(0.25)
    is_short = 0.25 * DEMAND[60:, [0, 2]] > 1e-3
    assert recorded.short_fraction == pytest.approx(is_short.mean())
    assert recorded.limit_changes_per_tenant_hour == 0.0
    assert (report.total.changed, report.setup.changed) == (None, None)


@pytest.mark.parametrize(
    ("texts", "without"),
    [
        (["modes.cpu=strict"], []),
        (["modes.memory=elastic"], ["modes.memory=elastic"]),
        (["modes.cpu=elastic"], ["modes.cpu=elastic"]),
        (["periods.tick_s=2"], ["periods.tick_s=2"]),
        (["periods.horizon_s=5m"], []),
        (["forecast.history_steps=120"], []),
        (["forecast.hung_after_s=9"], ["forecast.hung_after_s=9"]),
        (["pace.dead_band_fraction=0.3"], []),
        (["emergency.cpu_some_pct=1", "emergency.fraction=0.2"], ["emergency.cpu_some_pct=1"]),
        (["emergency.fraction=0.3", "emergency.fraction=0.2"], ["emergency.fraction=0.3"]),
        (["disk.sda.read_reserve_bytes_per_s=1M"], ["disk.sda.read_reserve_bytes_per_s=1M"]),
        (["tenants.new.cpu.weight=2"], ["tenants.new.cpu.weight=2"]),
        (["host.state_dir='/nowhere'"], ["host.state_dir='/nowhere'"]),
        # Neither is valid without the other, or changes nothing without it.
        (["tenants.db.cpu.floor_cores=0.85", "tenants.db.cpu.ceiling_cores=0.9"], []),
    ],
)
def test_a_setting_that_changes_nothing_here_is_named(
    prepare: Prepared, texts: list[str], without: list[str]
) -> None:
    assert list(prepare(*texts).without_effect) == without


def test_who_only_observes_limits_nobody(prepare: Prepared) -> None:
    before, after = held(prepare("host.observe=true", mode=Mode.STRICT), _deaf)
    assert np.isfinite(before.limit).any()
    assert np.isinf(after.limit).all()


def test_a_mode_is_in_place_of_the_files_unless_a_setting_is(prepare: Prepared) -> None:
    for texts, mode in ((("emergency.fraction=0",), "strict"), (("modes.cpu=elastic",), "elastic")):
        setup = reported(prepare(*texts, mode=Mode.STRICT)).setup
        assert setup.changed is not None
        assert (setup.configured.mode, setup.changed.mode) == ("strict", mode)


def test_steps_without_a_record_count_nowhere(tmp_path: Path, prepare: Prepared) -> None:
    whole = reported(prepare())
    demand = DEMAND.copy()
    demand[70:80] = np.nan
    demand[100:, 2] = np.nan
    (tmp_path / "history.db").unlink()
    record(tmp_path, {"db": demand[:, 0], "web": demand[:, 2]}, ended_at_s=NOW_S - 1)
    hindsight = prepare()
    report = reported(hindsight)
    assert (whole.setup.recorded_steps, report.setup.recorded_steps) == (60, 50)
    assert report.setup.evaluated_steps == 60
    (found,) = held(hindsight, _deaf)
    assert np.array_equal(np.isnan(found.served), np.isnan(demand[60:, [0, 2]]))
    web = next(row for row in report.tenants if row.name == "web")
    assert web.mean_demand == pytest.approx(np.nansum(demand[60:, 2]) / 50)


def test_a_longer_time_is_replayed_in_coarse_steps(tmp_path: Path, prepare: Prepared) -> None:
    hindsight = prepare(since_s=2 * 86400.0)
    assert hindsight.recording.step_s == 15 * STEP_S
    means = DEMAND[:, [0, 2]].reshape(8, 15, 2).mean(axis=1)
    assert hindsight.recording.demand == pytest.approx(means)


def test_what_cannot_be_replayed_is_said(tmp_path: Path, prepare: Prepared) -> None:
    with pytest.raises(OverrideError, match=r"^--set: modes\.cpu: expected"):
        prepare("modes.cpu=lax")
    with pytest.raises(HistoryError, match="nothing was recorded in that time"):
        prepared(replace(prepare().request, since_s=60.0), now_s=NOW_S + 5 * 86400.0)
    with pytest.raises(HindsightError, match="nothing of cpu was recorded in that time"):
        prepared(prepare().request, now_s=NOW_S + 2 * 86400.0)
    for name in ("db", "web"):
        (tmp_path / "tenants.d" / f"{name}.toml").unlink()
    with pytest.raises(HindsightError, match="nobody who was recorded in that time has a file"):
        prepare()
    (tmp_path / "history.db").unlink()
    with pytest.raises(HistoryError, match="no such file"):
        prepare()
