"""Whatever a host recorded, and whatever its files say: laws of its replay."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pasts import record, write_files

from agent.allocation import Mode
from agent.backtest.hindsight import Hindsight, Request, held, prepared
from agent.backtest.hindsight_report import hindsight_report
from agent.overrides import parsed_override
from agent.tenant import BASIC, Floats, Resource

NOW_S = 1_700_000_000.0
STEPS, NAMES = 24, ("acme", "beta", "core")
CLASSES = ("platinum", "gold", "silver")

amounts = st.floats(0.0, 1.5) | st.just(float("nan"))
pasts = hnp.arrays(np.float64, (STEPS, len(NAMES)), elements=amounts).filter(
    lambda demand: not np.isnan(demand[STEPS // 2 :]).all()
)
classes = st.tuples(*[st.sampled_from(CLASSES)] * len(NAMES))
ceilings = st.tuples(*[st.sampled_from([0.2, 0.5, 1.0])] * len(NAMES))


def looked_back(
    folder: Path, demand: Floats, qos: tuple[str, ...], ceiling: tuple[float, ...]
) -> Request:
    """Write a host's files and history; return what asks for the second half of it."""
    ended_at_s = NOW_S - 1
    record(folder, dict(zip(NAMES, demand.T, strict=True)), ended_at_s=ended_at_s)
    texts = {
        name: f'qos = "{one}"\n[cpu]\nfloor_cores = 0.1\nceiling_cores = {most}\n'
        for name, one, most in zip(NAMES, qos, ceiling, strict=True)
    }
    path = write_files(folder, texts)
    since_s = STEPS // 2 * 60.0
    return Request(path, folder / "tenants.d", Resource.CPU, since_s, are_fitted=False)


def under(request: Request, *texts: str) -> Hindsight:
    overrides = tuple(map(parsed_override, texts))
    return prepared(replace(request, overrides=overrides), now_s=NOW_S)


def _deaf(_steps: int) -> None:
    """Hear of no progress."""


@settings(max_examples=15)
@given(pasts, classes, ceilings, st.sampled_from(BASIC), st.sampled_from(Mode))
def test_what_is_set_as_it_was_configured_changes_nothing(
    demand: Floats,
    qos: tuple[str, ...],
    ceiling: tuple[float, ...],
    resource: Resource,
    mode: Mode,
) -> None:
    """Bit for bit."""
    with TemporaryDirectory() as name:
        request = looked_back(Path(name), demand, qos, ceiling)
        request = replace(request, resource=resource, mode=mode)
        texts = [f"modes.{resource}={mode}", "emergency.fraction=0.05", "qos.gold.weight=4.0"]
        texts += [f"tenants.acme.qos={qos[0]}", f"tenants.core.cpu.ceiling_cores={ceiling[2]}"]
        hindsight = under(request, *texts)
        before, after = held(hindsight, _deaf)
    np.testing.assert_array_equal(before.limit, after.limit)
    np.testing.assert_array_equal(before.served, after.served)
    assert hindsight.without_effect == tuple(texts)


@settings(max_examples=15)
@given(pasts, classes, ceilings, st.sampled_from(Mode))
def test_nobody_is_served_beyond_want_limit_or_capacity(
    demand: Floats, qos: tuple[str, ...], ceiling: tuple[float, ...], mode: Mode
) -> None:
    with TemporaryDirectory() as name:
        hindsight = under(looked_back(Path(name), demand, qos, ceiling), f"modes.cpu={mode}")
        replays = held(hindsight, _deaf)
    wanted = hindsight.recording.demand[hindsight.recording.warm_up :]
    for replay in replays:
        assert np.array_equal(np.isnan(replay.served), np.isnan(wanted))
        most = np.minimum(wanted, replay.limit)
        assert np.all((replay.served <= most + 1e-12) | np.isnan(wanted))
        assert np.all(np.nansum(replay.served, axis=1) <= 0.9 * (1 + 1e-9))


@settings(max_examples=15)
@given(pasts, classes, ceilings)
def test_classes_and_tenants_add_up_to_all(
    demand: Floats, qos: tuple[str, ...], ceiling: tuple[float, ...]
) -> None:
    with TemporaryDirectory() as name:
        request = looked_back(Path(name), demand, qos, ceiling)
        hindsight = under(request, "tenants.beta.cpu.ceiling_cores=0.15")
        report = hindsight_report(hindsight, held(hindsight, _deaf), elapsed_s=0.0)
    for rows in (report.classes, report.tenants):
        assert sum(row.tenants for row in rows) == report.total.tenants
        assert np.isclose(sum(row.mean_demand for row in rows), report.total.mean_demand)
        for part in ("recorded", "configured", "changed"):
            unmet = [row.mean_demand * getattr(row, part).unmet_fraction for row in rows]
            total = report.total.mean_demand * getattr(report.total, part).unmet_fraction
            assert np.isclose(sum(unmet), total)
