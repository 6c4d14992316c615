"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No timed assertions: a busy machine is no reason to fail.
settings.register_profile("insitu", deadline=None)
settings.load_profile("insitu")
