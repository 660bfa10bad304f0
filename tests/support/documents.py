"""Tables as they may stand in configuration files, right and wrong, and their text."""

from typing import Any

from hypothesis import strategies as st

from agent.event_sections import CALENDAR_KEYS, EVENT_GROUPS, EVENT_KEYS
from agent.schema import SECTIONS, SUPPLY_KEYS, TENANT_KEYS
from agent.sections import GROUPS

NAMES = [*SECTIONS, "modes", "qos", "gold", "x y", "weight"]
NAMES += [key.name for _, keys in SECTIONS.values() for key in keys]
NAMES += [
    key.name for table in (SUPPLY_KEYS, TENANT_KEYS) for keys in table.values() for key in keys
]
NAMES += [*GROUPS, "sda", *EVENT_GROUPS, "regions", "memory_max_bytes"]
NAMES += [key.name for key in (*EVENT_KEYS, *CALENDAR_KEYS)]

scalars = (
    st.integers(-(10**30), 10**30)
    | st.integers(0, 100)
    | st.floats()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["60s", "1G", "gold", "strict", "/x", "\x1b[2J", "\u202e"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), values, max_size=5)


def toml(value: Any) -> str:
    """Return a value as TOML; tables are written inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(name)} = {toml(item)}' for name, item in value.items())}}}"
    return repr(value)


def document_bytes(document: dict[str, Any]) -> bytes:
    """Return a document whose keys are at the top."""
    lines = [f"{toml(name)} = {toml(value)}" for name, value in document.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")
