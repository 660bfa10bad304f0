"""The host's table: what rounds to nothing has no sign."""

from dataclasses import replace

from click import unstyle
from records import CPU, column, record

from agent.render import status_lines
from agent.status import AgentFacts, status


def test_a_balance_that_rounds_to_nothing_has_no_sign() -> None:
    one = record()
    cpu = replace(one.resources[CPU], balance=column(-0.004, -0.39, 0, 0.3, -290))
    answer = status(replace(one, resources={**one.resources, CPU: cpu}), AgentFacts(), now_s=100.0)
    lines = [unstyle(line).split() for line in status_lines(answer, width=200)]
    rows = {words[0]: words for words in lines if words}
    place = rows["TENANT"].index("BALANCE")
    shown = [rows[name][place] for name in ("batch", "eater", "hog", "web")]
    assert shown == ["0.00", "-0.39", "0.30", "-290"]
