"""Laws hold of the examples of `examples`, tests/support's profiles of Hypothesis."""

import examples  # noqa: F401 - loads the default one
