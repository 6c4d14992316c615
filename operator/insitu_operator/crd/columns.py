"""What `kubectl get tjob` shows. Columns only pick fields, so the words are made in the status."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def document(self) -> dict[str, object]:
        """As the definition writes it."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
            "priority": int(self.wide),
        }


_REASON = ".status.conditions[?(@.type=='Running')].reason"
COLUMNS = (
    Column("Status", ".status.summary.status", "What the job does now."),
    Column("Nodes", ".status.summary.nodes", "Running ranks of all ranks, and how they read."),
    Column("Progress", ".status.summary.progress", "Rows taken of all rows of all epochs."),
    Column("ETA", ".status.summary.eta", "Time left at the present speed."),
    Column("Step", ".status.trainerStatus.step", "Optimizer steps so far.", "integer"),
    Column("Restarts", ".status.restarts", "Times that all ranks were started again.", "integer"),
    Column("Age", ".metadata.creationTimestamp", "Time since the job was created.", "date"),
    Column("Checkpoint", ".status.checkpoint.step", "Step of the newest commit.", "integer", True),
    Column("Reason", _REASON, "Why ranks run, or do not.", wide=True),
    Column("Message", ".status.summary.message", "The facts about it, shortened.", wide=True),
)
