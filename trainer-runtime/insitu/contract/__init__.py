"""What the operator tells a trainer: one `Assignment`, as environment variables and a document.

This package is the only one that writes or reads the variables and the document named here.
"""

from insitu.contract.assignment import ALONE, Assignment, Checkpoint, Training
from insitu.contract.document import packed, read_document, to_document, write_document
from insitu.contract.environment import (
    SECRET_VARIABLES,
    Reporting,
    credential_names,
    from_environ,
    is_assigned,
    own_names,
    plain_secrets,
    to_environ,
)

__all__ = [
    "ALONE",
    "SECRET_VARIABLES",
    "Assignment",
    "Checkpoint",
    "Reporting",
    "Training",
    "credential_names",
    "from_environ",
    "is_assigned",
    "own_names",
    "packed",
    "plain_secrets",
    "read_document",
    "to_document",
    "to_environ",
    "write_document",
]
