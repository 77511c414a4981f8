"""Settings of the whole run, so that it is repeatable: one thread, unless a test asks for more.

Hypothesis neither times nor stores.
"""

from hypothesis import HealthCheck, settings

import npformer

npformer.set_num_threads(1)

settings.register_profile(
    "npformer",
    deadline=None,
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("npformer")


def pytest_ignore_collect(collection_path, config):
    """Leave out tests/interop, which needs more packages, unless it is named."""
    named = any("interop" in argument for argument in config.args)
    return True if collection_path.name == "interop" and not named else None
