"""What can go wrong in a pass, by what is to be done about it."""

from __future__ import annotations

from insitu.api import KIND, TrainingJob
from insitu.errors import InsituError
from insitu_operator.core.objects.owners import controller, owner_in_words
from insitu_operator.kubernetes import ApiProblem, Json


class LookAgain(Exception):
    """The cluster is not as this pass has seen it: nothing is wrong, look once more."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(why)


class InTheWay(InsituError):
    """An object of the name that Insitu needs belongs to somebody else.

    `passing`: it is one of an earlier job of the name, and goes by itself.
    """

    def __init__(self, kind: str, found: Json, job: TrainingJob) -> None:
        metadata = found["metadata"]
        where = f"{kind} '{metadata['name']}' in namespace '{metadata['namespace']}'"
        owner = controller(found)
        self.passing = (owner.get("kind"), owner.get("name")) == (KIND, job.metadata.name)
        if self.passing:
            text = (
                f"{where} still belongs to an earlier TrainingJob of this name; Kubernetes is"
                " about to remove it"
            )
        else:
            text = (
                f"{where} belongs to {owner_in_words(found)}, not to this job: delete it, or give"
                " the job another name"
            )
        super().__init__(text)


def needs_person(problem: InsituError) -> bool:
    """Whether trying again helps only after somebody changed something."""
    return not isinstance(problem, ApiProblem) or not (
        problem.transient or problem.fenced or problem.conflict
    )


def nowhere_to_create(problem: InsituError) -> bool:
    """The namespace is being deleted, or gone: so will be the job."""
    return isinstance(problem, ApiProblem) and (
        problem.namespace_ending
        or (problem.absent and problem.verb == "create" and "namespaces" in problem.message)
    )


def outrun(problem: ApiProblem) -> bool:
    """A pod is not the one that was listed, or was bound meanwhile by somebody else."""
    changed = "is immutable" in problem.message or "may not change fields" in problem.message
    return problem.absent or problem.conflict or (problem.invalid and changed)
