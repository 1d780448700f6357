"""How the whole suite runs: how hard Hypothesis tries, and in what environment.

Profiles: ``ci`` (the default) gives the same examples on every machine and knows no
deadline, since a slow machine is no finding; ``soak`` looks for new ones, ``SOAK_EXAMPLES``
(default 2000) a property; ``dev`` is Hypothesis as it comes. Chosen by ``HYPOTHESIS_PROFILE``.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", _patient, derandomize=True, database=None)
settings.register_profile(
    "soak", _patient, max_examples=int(os.environ.get("SOAK_EXAMPLES", "2000")), print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Nothing in the suite may leave this machine, whatever a library would like to look up.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ.update(RAY_USAGE_STATS_ENABLED="0", DO_NOT_TRACK="1")
