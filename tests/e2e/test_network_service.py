"""The network as an operator has it limited: by the hardened service, with its drop-in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenants import wait_until
from traffic import LINK, MBIT, NETNS, lay_link, sh

from agent.client import AgentError, get
from agent.doctor import examined
from agent.paths import RUNTIME_DIR, SOCKET_NAME
from enforce.links.programs import PINS

pytestmark = pytest.mark.e2e
UNIT = "tidegate.service"
ETC, DROP_INS = Path("/etc/tidegate"), Path(f"/etc/systemd/system/{UNIT}.d")
DROP_IN = Path("/usr/local/lib/tidegate/network.conf")
HOST = f"""
[periods]
tick_s = 0.25
learning_s = 0
[pace]
ramp_down_fraction_per_s = 1.0
[network.{LINK}]
out_capacity_bytes_per_s = {100 * MBIT}
in_capacity_bytes_per_s = {100 * MBIT}
"""
TENANT = f'qos = "gold"\n[network]\nout_ceiling_bytes_per_s = {16 * MBIT}\n'


@pytest.fixture
def service(installed: Path, tmp_path: Path) -> Iterator[None]:
    """The service stopped, one tenant configured, and a link; afterwards all that is undone."""
    assert installed.is_dir()
    lay_link(tmp_path)
    (ETC / "tidegate.toml").write_text(HOST)
    (ETC / "tenants.d/acme.toml").write_text(TENANT)
    yield
    sh(f"systemctl stop {UNIT}")
    (ETC / "tenants.d/acme.toml").unlink()
    (DROP_INS / "network.conf").unlink(missing_ok=True)
    sh("systemctl daemon-reload")
    sh(f"ip netns del {NETNS}")


def problems_are(wanted: Callable[[list[str]], bool]) -> Callable[[], bool]:
    """Return a question: does the agent, ticking, name problems as they are wanted?"""

    def asked() -> bool:
        try:
            said: Any = json.loads(get(RUNTIME_DIR / SOCKET_NAME, "/v1/status"))
        except AgentError:
            return False
        return bool(said["host"]["tick"] > 1 and wanted(said["host"]["problems"]))

    return asked


def is_held() -> bool:
    """Say whether the tenant's class stands at its ceiling."""
    return "ceil 16Mbit" in sh(f"tc class show dev {LINK} classid 7d6e:10")


def of_network(problems: list[str]) -> list[str]:
    return [one for one in problems if "network" in one or LINK in one]


def names_drop_in(problems: list[str]) -> bool:
    return any("network.conf" in one for one in problems)


def found_of_rights() -> str:
    """Return what `doctor` finds of the agent's own rights."""
    findings = examined(ETC / "tidegate.toml", ETC / "tenants.d", RUNTIME_DIR / SOCKET_NAME)
    (state,) = [one.state for one in findings if one.name == "agent's network"]
    return state


@pytest.mark.usefixtures("service")
def test_the_hardened_service_says_what_it_lacks_and_has_it_by_its_drop_in() -> None:
    found = sh(f"tc qdisc show dev {LINK}")
    sh(f"systemctl start {UNIT}")
    wait_until(problems_are(names_drop_in), limit_s=40, pause_s=0.1)
    assert found_of_rights() == "missing"
    assert sh(f"tc qdisc show dev {LINK}") == found
    sh(f"systemctl stop {UNIT}")

    DROP_INS.mkdir(exist_ok=True)
    (DROP_INS / "network.conf").write_text(DROP_IN.read_text())
    sh("systemctl daemon-reload")
    sh(f"systemctl start {UNIT}")
    wait_until(problems_are(lambda all_: not of_network(all_)), limit_s=40, pause_s=0.1)
    wait_until(is_held, limit_s=40, pause_s=0.1)
    assert found_of_rights() == "ok"
    sh(f"systemctl kill --signal=KILL {UNIT}")
    assert is_held()
    sh(f"systemctl stop {UNIT}")
    sh("tidegate release")
    assert sh(f"tc qdisc show dev {LINK}") == found
    assert not PINS.exists()
