"""The custom resource definition of a TrainingJob, written from its models."""

from insitu_operator.crd.document import chart_template, definition, manifest

__all__ = ["chart_template", "definition", "manifest"]
