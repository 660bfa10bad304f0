"""What synthetic tenants can be like, in words; how is in synthetic.py.  Imports nothing heavy."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What a tenant is like."""

    MIX = "mix"
    DIURNAL = "diurnal"
    WEEKDAY = "weekday"
    BURSTY = "bursty"
    BATCH = "batch"
    FLASH = "flash"
    RAMP = "ramp"
    REGIME = "regime"
    IDLE = "idle"


MEANING_OF: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.MIX: "each tenant is one of the others, a third of them idle",
        Kind.DIURNAL: "rises and falls once a day",
        Kind.WEEKDAY: "works in office hours, little at weekends (t = 0 is a Monday)",
        Kind.BURSTY: "low, with bursts of seconds to minutes at random",
        Kind.BATCH: "jobs near the limit on a timetable, nothing between them",
        Kind.FLASH: "small, until a crowd comes within minutes and leaves in hours",
        Kind.RAMP: "grows all the time; one in four shrinks",
        Kind.REGIME: "keeps to a level, then suddenly to another",
        Kind.IDLE: "next to nothing",
    }
)
