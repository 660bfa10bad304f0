"""Laws that a module has beside its tests, by the same profiles as tests/property, if run alone."""

import examples  # noqa: F401 - loads the default one
