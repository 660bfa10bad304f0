"""systemd/tenant, as far as it goes without systemd: what it refuses."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "systemd/tenant"


def said(*arguments: str) -> str:
    """Return why it ended without doing anything."""
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("<3>tidegate: "), "an error to the journal"
    return done.stderr


@pytest.mark.parametrize("tenant", ["", "..", "../system.slice", "web/sub", "Web", "-x", "a b"])
@pytest.mark.parametrize("verb", ["admit", "clear"])
def test_a_name_that_is_no_tenant_s_is_refused(verb: str, tenant: str) -> None:
    assert "is no tenant's name" in said(verb, tenant, "web.service")


@pytest.mark.parametrize("unit", ["", "web", "../web.service", "a/b.service", "web.slice"])
def test_a_name_that_is_no_service_s_is_refused(unit: str) -> None:
    assert "is no service of systemd's" in said("admit", "web", unit)


@pytest.mark.parametrize("arguments", [[], ["admit"], ["clear", "web"], ["leave", "web", "x"]])
def test_wrong_usage_tells_the_right_one(arguments: list[str]) -> None:
    assert "tenant run UNIT COMMAND" in said(*arguments)


def test_a_command_runs_all_the_same_where_no_one_lets_it_in() -> None:
    """A service that is down is worse than one without limits; its environment is its own."""
    script = "env; exit 7"
    done = subprocess.run(
        [SCRIPT, "run", "no-such.service", "/bin/sh", "-c", script],
        env={"ONLY": "this one"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "no-such.service runs outside its tenant" in done.stderr
    assert "ONLY=this one" in done.stdout.splitlines()
    assert set(done.stdout.splitlines()) <= {
        "ONLY=this one",
        "PWD=" + str(Path.cwd()),
        "_=/usr/bin/env",
    }
