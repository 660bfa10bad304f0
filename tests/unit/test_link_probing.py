"""What doctor says of the agent's own rights, by what the kernel says of its process."""

import os

from hypothesis import given
from hypothesis import strategies as st

from enforce.links.probing import lacking_capabilities, probe_agent

NET_ADMIN, SYS_ADMIN, BPF = 12, 21, 39


@given(held=st.sets(st.integers(0, 40)))
def test_what_is_lacking_is_what_is_not_held(held: set[int]) -> None:
    status = (
        f"Name:\tpython\nCapInh:\t0\nCapEff:\t{sum(1 << bit for bit in held):016x}\nCapBnd:\t0\n"
    )
    wanted = {"CAP_NET_ADMIN"} - ({"CAP_NET_ADMIN"} if NET_ADMIN in held else set())
    wanted |= set() if held & {BPF, SYS_ADMIN} else {"CAP_BPF"}
    assert set(lacking_capabilities(status)) == wanted


def test_a_process_that_has_gone_is_not_judged() -> None:
    assert probe_agent(2**22 + 1) is None


def test_a_process_in_this_network_is_not_said_to_lack_it() -> None:
    found = probe_agent(os.getpid())
    assert found is not None
    assert "the host's network" not in found.meaning
