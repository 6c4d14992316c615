"""Every reason that a condition can give, with what it means and what to do about it.

Code, documentation and tests use this one list; the messages beside a reason name the facts.
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """A CamelCase word for machines; `text` explains it to people."""

    text: str

    def __new__(cls, word: str, text: str) -> Reason:
        member = str.__new__(cls, word)
        member._value_ = word
        member.text = text
        return member

    OBJECT_INVALID = (
        "ObjectInvalid",
        "The job, or the ConfigMap with its plan, can't be read by this version of Insitu, and so"
        " nothing is done about the job. Correct what the message names, or let the operator and"
        " its resource definition be of one version.",
    )

    # Reading the database.
    TOPOLOGY_READ = "TopologyRead", "The database said who owns which shard."
    TOPOLOGY_PENDING = "TopologyPending", "The database has not been asked yet. Nothing to do."
    DATABASE_UNAVAILABLE = (
        "DatabaseUnavailable",
        "No endpoint of the database answers; it is asked again until the deadline. Check that the"
        " database runs, and the endpoints or the service in `spec.data`.",
    )
    ACCESS_DENIED = (
        "AccessDenied",
        "The database refused the credentials or the certificate. Correct the Secret named in"
        " `spec.data`; the job goes on by itself.",
    )
    SOURCE_INVALID = (
        "SourceInvalid",
        "The table or a column does not exist, or can't be read. Create it, or correct `spec.data`"
        " in a new job.",
    )
    PARTITIONS_LOST = (
        "PartitionsLost",
        "Some shards have no readable copy. Start the lost database nodes again, or restore the"
        " data and reset the lost partitions; the job goes on by itself.",
    )
    SHARDS_MOVING = (
        "ShardsMoving",
        "The database is moving shards between its nodes; the job waits a moment for it to settle.",
    )
    ROWS_MISSING = (
        "RowsMissing",
        "The table has fewer rows than when the job began; it is counted once more before the job"
        " fails with DataLost.",
    )

    # Planning and starting.
    PLAN_RECORDED = "PlanRecorded", "Every shard belongs to one rank."
    WAITING_FOR_TOPOLOGY = (
        "WaitingForTopology",
        "A plan needs a complete reading of the database; see the condition TopologyResolved.",
    )
    PLAN_OUT_OF_DATE = (
        "PlanOutOfDate",
        "A rank's database node is gone, or no longer owns a shard of its rank. What follows is up"
        " to `spec.placement.onTopologyChange`.",
    )
    PLAN_IMPOSSIBLE = (
        "PlanImpossible",
        "No plan can fulfil `spec.placement` on this database; the message says which part.",
    )
    ALL_BOUND = "AllBound", "Every rank has its place beside its database node."
    WAITING_FOR_WORKERS = "WaitingForWorkers", "The ranks are being created."
    MACHINE_NOT_READY = (
        "MachineNotReady",
        "A machine of a database node is not known, or can't take a trainer. No rank starts before"
        " all can: make room there, or correct what the message names.",
    )
    KUBERNETES_REFUSED = (
        "KubernetesRefused",
        "Kubernetes refused something that the job needs: a right that the operator lacks, a quota"
        " that is used up, or a rule of the cluster. The message has Kubernetes' own words; once"
        " that is put right the job goes on by itself.",
    )

    # Running.
    ALL_RUNNING = "AllRunning", "All ranks are running."
    STARTING = "Starting", "Ranks have been started and are not all running yet."
    STOPPING = "Stopping", "Ranks have been asked to write a checkpoint and leave."
    RESTARTING = (
        "Restarting",
        "The ranks ended early and start again from the last commit; the message says why.",
    )
    SUSPENDED = "Suspended", "The job is held by `spec.suspend`. Set it to false to go on."
    NOT_SUSPENDED = "NotSuspended", "The job is not held."

    # The end.
    NOT_FINISHED = "NotFinished", "The job has not ended."
    SUCCEEDED = "Succeeded", "Every rank ended its work."
    FAILED = "Failed", "The job failed; see the condition Failed."
    NOT_FAILED = "NotFailed", "The job has not failed."
    BACKOFF_LIMIT_EXCEEDED = (
        "BackoffLimitExceeded",
        "The script crashed more often than `spec.failurePolicy.backoffLimit` allows. The message"
        " has its exit code and its last lines.",
    )
    DISRUPTION_LIMIT_EXCEEDED = (
        "DisruptionLimitExceeded",
        "The ranks were disrupted again and again without a new commit between. Look after the"
        " database and the machines, or commit more often (`spec.checkpoint.everySteps`).",
    )
    CONFIGURATION_REFUSED = (
        "ConfigurationRefused",
        "A trainer can't work with what it was told; trying again would not help. Correct what the"
        " message names.",
    )
    DATA_REFUSED = (
        "DataRefused",
        "A trainer met data that it must not train on: of an unknown type, lost, or changed under"
        " the epoch. See `spec.data.onChange` for tables that change.",
    )
    DATA_LOST = (
        "DataLost",
        "The table has fewer rows than when the job began: rows were deleted, or more database"
        " nodes were lost than there are backups. Restore them, or set `spec.data.onChange` to"
        " Continue.",
    )
    TOPOLOGY_CHANGED = (
        "TopologyChanged",
        "The plan no longer fits the database, and `spec.placement.onTopologyChange` is Fail.",
    )
    ACTIVE_DEADLINE_EXCEEDED = (
        "ActiveDeadlineExceeded",
        "The job was active for longer than `spec.activeDeadlineSeconds`. A new job with the same"
        " name and store goes on from the commit that its `spec.checkpoint.resumeFrom` names.",
    )
    START_DEADLINE_EXCEEDED = (
        "StartDeadlineExceeded",
        "Not all ranks were running within `spec.startDeadlineSeconds`. The message says what the"
        " job was waiting for.",
    )
    FIRST_STEP_DEADLINE_EXCEEDED = (
        "FirstStepDeadlineExceeded",
        "All ranks ran, but the script took no step in time. Check that it iterates over"
        " `session.batches()` and calls `session.step()`, or allow more time in"
        " `spec.failurePolicy.firstStepDeadlineSeconds`.",
    )
