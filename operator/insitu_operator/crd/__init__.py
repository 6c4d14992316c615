"""The custom resource definition of a TrainingJob, written from its models."""

from insitu_operator.crd.document import definition, manifest

__all__ = ["definition", "manifest"]
