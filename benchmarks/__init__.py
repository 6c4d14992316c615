"""Measurements, in the environment of a trainer: it has to be set before Arrow is loaded."""

import os

from insitu.supervisor import KEPT_MEMORY

os.environ.update({**KEPT_MEMORY, **os.environ})
