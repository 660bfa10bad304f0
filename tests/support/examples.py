"""Hypothesis profiles: `fixed` (default) tries the same examples each time, `search` new ones.

pytest tests/property --hypothesis-profile=search
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed",
    deadline=None,  # the machine is shared: a slow example is no failure
    derandomize=True,
    max_examples=60,
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.register_profile(
    "search", settings.get_profile("fixed"), derandomize=False, max_examples=600
)
settings.load_profile("fixed")
