"""Tests on real TensorFlow, which `make test` installs."""

from __future__ import annotations

import os

# TensorFlow's own log lines, which no warnings filter sees; read when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
