"""TrainingJob: what a user asks for, and what Insitu answers.

The custom resource definition is generated from these models, so each field carries its
description, bounds and default here and nowhere else.
"""

from insitu.api.data import CassandraData, Data, IgniteData, OnChange
from insitu.api.job import CONTROLLER, GROUP, KIND, VERSION, Metadata, TrainingJob
from insitu.api.manifest import load_manifest
from insitu.api.reasons import Reason
from insitu.api.source import Addresses, SecretFiles, data_source, secret_value
from insitu.api.spec import FailurePolicy, Locality, OnTopologyChange, Spec
from insitu.api.status import Condition, ConditionStatus, ConditionType, Status
from insitu.api.trainer import Framework

__all__ = [
    "CONTROLLER",
    "GROUP",
    "KIND",
    "VERSION",
    "Addresses",
    "CassandraData",
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "Data",
    "FailurePolicy",
    "Framework",
    "IgniteData",
    "Locality",
    "Metadata",
    "OnChange",
    "OnTopologyChange",
    "Reason",
    "SecretFiles",
    "Spec",
    "Status",
    "TrainingJob",
    "data_source",
    "load_manifest",
    "secret_value",
]
