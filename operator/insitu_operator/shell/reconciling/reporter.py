"""Writes a job's status, and tells what happened once that is written."""

from __future__ import annotations

import logging
from datetime import datetime

from insitu.api import Reason, Status, TrainingJob
from insitu_operator.core.objects.notices import notices
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.key import Key
from insitu_operator.shell.reconciling.herald import Herald
from insitu_operator.shell.reconciling.problems import LookAgain
from insitu_operator.shell.reconciling.status_patches import lesser, stalled_patch, status_patch
from insitu_operator.shell.watching.endpoints import DELETED
from insitu_operator.shell.watching.sight import Sight

_log = logging.getLogger(__name__)


class Reporter:
    """Args:
    api: Where it is written.
    sight: Has the version that was judged, and gets the one that was written.
    herald: Tells what happened.
    """

    def __init__(self, api: Api, sight: Sight, herald: Herald) -> None:
        self._api = api
        self._sight = sight
        self._herald = herald

    async def say(self, body: Json, job: TrainingJob, status: Status, now: datetime) -> None:
        """The whole status of the job, whose object is `body`; nothing when it is that already.

        Where the API server takes a part of it for invalid, that part is left out: a job whose
        conditions can't be written never ends.

        Raises:
            LookAgain: the job has changed since, or is gone.
            ApiProblem: the API server refused, or could not answer.
        """
        if status != job.status:
            await self._write_most(body, status)
            await self._herald.tell(job, notices(job.status, status), now)

    async def stall(self, body: Json, reason: Reason, message: str, now: datetime) -> None:
        """Why nothing is done about a job that can't be judged. Raises as `say` does."""
        if patch := stalled_patch(body, reason, message, now):
            await self._write(body, patch)

    async def _write_most(self, body: Json, status: Status) -> None:
        try:
            return await self._write(body, status_patch(body, status))
        except ApiProblem as problem:
            if not problem.invalid:
                raise
            _log.warning("the API server refuses a whole status: %s", problem)
            refused = problem
        for less in lesser(status):
            try:
                return await self._write(body, status_patch(body, less))
            except ApiProblem as problem:
                if not problem.invalid:
                    raise
                refused = problem
        raise refused

    async def _write(self, body: Json, patch: Json) -> None:
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        try:
            self._sight.read(await self._api.merge(paths.training_job_status(*key), patch))
        except ApiProblem as problem:
            if problem.conflict:
                await self._read(key, body)
            elif problem.absent:
                self._sight.training_job(DELETED, body)
            else:
                raise
            raise LookAgain(str(problem)) from problem

    async def _read(self, key: Key, body: Json) -> None:
        try:
            self._sight.read(await self._api.get(paths.training_job(*key)))
        except ApiProblem as problem:
            if not problem.absent:
                raise
            self._sight.training_job(DELETED, body)
