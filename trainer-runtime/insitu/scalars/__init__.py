"""Curves of a training for TensorBoard: event files in the shared store, and the way back."""

from insitu.scalars.mirror import Mirror
from insitu.scalars.recorder import Recorder
from insitu.scalars.segments import Run, Segment, runs

__all__ = ["Mirror", "Recorder", "Run", "Segment", "runs"]
