"""The only place that talks to the API server: raw JSON in and out, one kind of error."""

from insitu_operator.kubernetes.api import Api, Json, connect
from insitu_operator.kubernetes.errors import ApiProblem

__all__ = ["Api", "ApiProblem", "Json", "connect"]
