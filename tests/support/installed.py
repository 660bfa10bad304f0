"""Hides from a benchmark what is installed for development alone: an installed agent has none.

To be imported before all else of the agent.
"""

import sys

sys.modules["rich"] = None  # type: ignore[assignment]  # structlog would load it, with pygments
