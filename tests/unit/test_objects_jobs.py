"""What is created for a generation: its Job, the pods that the Job makes, and their Service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from insitu.api import Framework, TrainingJob
from insitu.api.job import NAME_LENGTH
from insitu.contract import Reporting
from insitu.databases import Credentials, DataSource, Tls
from insitu.errors import ConfigurationError
from insitu_operator.core.objects.environment import secret_variables
from insitu_operator.core.objects.jobs import batch_job
from insitu_operator.core.objects.mounts import TOKEN
from insitu_operator.core.objects.names import batch_job_name, master
from insitu_operator.core.objects.owners import Json, belongs_to
from insitu_operator.core.objects.services import trainer_service
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.record import Record
from tests.unit.job_builders import Scene, job

SETTINGS = TrainerSettings(
    images={Framework.TORCH: "insitu/trainer-torch:1"},
    heartbeat_url="http://operator.insitu:8090/v1/heartbeat",
)
ENDPOINTS = (("10.0.0.7", 10800),)
DATA = {"endpoints": ["10.0.0.7:10800"], "cache": "DIGITS"}


def record() -> Record:
    found = Scene().read().tick().record
    assert found
    return found


def source(**more: Any) -> DataSource:
    return DataSource("ignite", ENDPOINTS, "DIGITS", **more)


def written(
    asked: TrainingJob | None = None,
    opened: DataSource | None = None,
    settings: TrainerSettings = SETTINGS,
) -> Json:
    return batch_job(asked or job(uid="u-1"), record(), opened or source(), settings)


def template(*args: Any, **kwargs: Any) -> Json:
    found: Json = written(*args, **kwargs)["spec"]["template"]
    return found


def container(*args: Any, **kwargs: Any) -> Json:
    (found,) = template(*args, **kwargs)["spec"]["containers"]
    one: Json = found
    return one


def env(*args: Any, **kwargs: Any) -> dict[str, Json]:
    listed = container(*args, **kwargs)["env"]
    assert len({v["name"] for v in listed}) == len(listed), "each name once"
    return {v["name"]: v for v in listed}


def trainer(**fields: Any) -> TrainingJob:
    return job(trainer={"command": ["python", "train.py"], **fields})


def field_of(variable: Json) -> str:
    path: str = variable["valueFrom"]["fieldRef"]["fieldPath"]
    return path


class TestTheJob:
    def test_it_has_one_index_for_each_rank_and_never_gives_up_by_itself(self) -> None:
        spec = written()["spec"]
        assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
            "Indexed",
            3,
            3,
        )
        assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (2**31 - 1, "Failed")

    def test_it_goes_when_its_training_job_goes(self) -> None:
        made, asked = written(), job(uid="u-1")
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("TrainingJob", "u-1", True)
        assert owner["blockOwnerDeletion"] is False
        assert belongs_to(made, asked)
        assert not belongs_to(made, job(uid="u-2"))

    def test_its_pods_carry_the_generation_and_the_gate(self) -> None:
        pod = template()
        assert pod["metadata"]["labels"]["insitu.dev/generation"] == "1"
        assert pod["spec"]["schedulingGates"] == [{"name": "insitu.dev/placement"}]

    @pytest.mark.parametrize("field", ["labels", "annotations"])
    def test_what_insitu_finds_its_pods_by_is_nobody_elses_to_set(self, field: str) -> None:
        mine = {"command": ["t"], "template": {field: {"insitu.dev/leader": "true"}}}
        with pytest.raises(ValidationError, match=f"`{field}` may not have keys that begin with"):
            job(trainer=mine)

    def test_a_users_label_stands_beside_ours(self) -> None:
        mine = {"command": ["t"], "template": {"labels": {"team": "vision"}}}
        found = template(job(uid="u", trainer=mine))["metadata"]["labels"]
        assert (found["insitu.dev/job-uid"], found["team"]) == ("u", "vision")

    def test_without_any_image_it_says_what_to_set(self) -> None:
        with pytest.raises(ConfigurationError, match=r"spec.trainer.image is not set.*Torch"):
            written(settings=TrainerSettings())

    def test_the_jobs_own_image_wins(self) -> None:
        assert container(trainer(image="mine:2"))["image"] == "mine:2"
        assert container()["image"] == "insitu/trainer-torch:1"

    @given(st.integers(1, NAME_LENGTH), st.integers(1, 10**6), st.integers(0, 9999))
    def test_host_names_are_never_too_long(self, length: int, generation: int, rank: int) -> None:
        host = master("j" * length, generation)[0].partition(".")[0]
        assert len(f"{batch_job_name('j' * length, generation)}-{rank}") <= 63
        assert host == batch_job_name("j" * length, generation) + "-0"

    def test_the_service_finds_the_first_rank_before_it_is_ready(self) -> None:
        service = trainer_service(job(uid="u-1"))
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert service["spec"]["selector"]["insitu.dev/job-uid"] == "u-1"
        assert service["spec"]["selector"]["batch.kubernetes.io/job-completion-index"] == "0"
        assert service["metadata"]["name"] == template()["spec"]["subdomain"]


class TestSecurity:
    def test_the_pod_keeps_to_the_restricted_profile(self) -> None:
        pod, only = template()["spec"], container()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert {pod["securityContext"][k] for k in ("runAsUser", "runAsGroup", "fsGroup")} == {
            10001
        }
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"]["allowPrivilegeEscalation"] is False
        assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert pod["restartPolicy"] == "Never"

    def test_no_secret_is_in_any_object(self) -> None:
        data = {"ignite": {**DATA, "credentials": {"secretName": "db"}}}
        opened = source(
            credentials=Credentials("ann", "s3cret-word"), tls=Tls(key_password="s3cret-key")
        )
        text = json.dumps(written(job(data=data), opened))
        assert "s3cret" not in text
        assert '"ann"' not in text

    def test_the_token_is_for_the_operator_alone_and_short_lived(self) -> None:
        (projected,) = [
            s["serviceAccountToken"]
            for s in template()["spec"]["volumes"][0]["projected"]["sources"]
            if "serviceAccountToken" in s
        ]
        assert projected == {
            "audience": "insitu.dev/operator",
            "path": "token",
            "expirationSeconds": 600,
        }

    def test_without_heartbeats_there_is_no_token(self) -> None:
        silent = TrainerSettings(images=SETTINGS.images)
        assert "serviceAccountToken" not in json.dumps(written(settings=silent))
        assert "INSITU_HEARTBEAT" not in env(settings=silent)


class TestEnvironment:
    def test_what_differs_between_ranks_comes_from_the_pods_annotations(self) -> None:
        found = env()
        for name in ("IGNITE_DATASET_HOST", "IGNITE_DATASET_PORT", "IGNITE_DATASET_PART"):
            assert field_of(found[name]) == f"metadata.annotations['insitu.dev/env-{name}']"
        index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        assert field_of(found["RANK"]) == index

    def test_what_all_ranks_share_is_written_out(self) -> None:
        found = {name: v.get("value") for name, v in env().items()}
        assert (found["WORLD_SIZE"], found["INSITU_JOB"], found["INSITU_GENERATION"]) == (
            "3",
            "digits",
            "1",
        )
        assert found["MASTER_ADDR"] == "digits-g1-0.digits-trainers"
        assert found["IGNITE_DATASET_CACHE_NAME"] == "DIGITS"
        assert found["INSITU_ASSIGNMENT"] == "/etc/insitu/assignment.json"

    def test_heartbeats_go_to_the_operator_with_the_mounted_token(self) -> None:
        plain = {name: v["value"] for name, v in env().items() if "value" in v}
        reporting = Reporting.from_environ(plain)
        assert reporting.heartbeat == SETTINGS.heartbeat_url
        assert reporting.heartbeat_token == TOKEN

    def test_the_supervisor_is_told_which_values_are_secret(self) -> None:
        login, key = {"secretName": "login"}, {"secretKeyRef": {"name": "s", "key": "k"}}
        asked = job(
            data={"ignite": {"endpoints": ["a:1"], "cache": "C", "credentials": login}},
            trainer={"command": ["t"], "env": [{"name": "API", "valueFrom": key}]},
            checkpoint={"store": {"s3": {"bucket": "models", "credentials": login}}},
        )
        names = {"API", "AWS_SECRET_ACCESS_KEY", "IGNITE_DATASET_PASSWORD"}
        assert set(secret_variables(asked).split(",")) == names
        assert env(asked)["INSITU_SECRET_VARIABLES"]["value"] == secret_variables(asked)

    def test_insitus_variables_always_win(self) -> None:
        asked = [{"name": "WORLD_SIZE", "value": "99"}, {"name": "RANK", "value": "7"}]
        found = env(trainer(env=asked))
        assert found["WORLD_SIZE"]["value"] == "3"
        assert "value" not in found["RANK"]

    def test_the_users_come_first_and_in_their_order(self) -> None:
        key = {"secretKeyRef": {"name": "keys", "key": "hub"}}
        asked: list[Json] = [{"name": "Z", "value": "1"}, {"name": "A", "valueFrom": key}]
        names = [v["name"] for v in container(trainer(env=asked))["env"]]
        assert names.index("Z") < names.index("A") < names.index("INSITU_JOB")
        assert env(trainer(env=asked))["A"] == asked[1]

    def test_a_table_named_like_a_reference_stays_a_name(self) -> None:
        found = env(opened=DataSource("ignite", ENDPOINTS, "$(HOME)"))
        assert found["IGNITE_DATASET_CACHE_NAME"]["value"] == "$$(HOME)"

    @pytest.mark.parametrize(("cores", "threads"), [("2", "2"), ("2500m", "2"), ("100m", "1")])
    def test_threads_follow_the_cores(self, cores: str, threads: str) -> None:
        asked = trainer(resources={"limits": {"cpu": cores}})
        assert env(asked)["OMP_NUM_THREADS"]["value"] == threads
        assert "OMP_NUM_THREADS" not in env()

    def test_the_user_may_choose_threads_and_home(self) -> None:
        asked = [{"name": "OMP_NUM_THREADS", "value": "7"}, {"name": "HOME", "value": "/home/me"}]
        found = env(trainer(env=asked, resources={"limits": {"cpu": "2"}}))
        assert (found["OMP_NUM_THREADS"]["value"], found["HOME"]["value"]) == ("7", "/home/me")

    def test_credentials_of_the_database_are_references(self) -> None:
        data = {"ignite": {**DATA, "credentials": {"secretName": "db"}}}
        found = env(job(data=data), source(credentials=Credentials("ann", "x")))
        assert found["IGNITE_DATASET_PASSWORD"]["valueFrom"] == {
            "secretKeyRef": {"name": "db", "key": "password"}
        }

    def test_a_bucket_is_reached_by_the_variables_of_all_s3_tools(self) -> None:
        s3 = {
            "bucket": "runs",
            "endpoint": "http://s3.ml:9000",
            "region": "eu-1",
            "credentials": {"secretName": "s3"},
        }
        found = env(job(checkpoint={"store": {"s3": s3}}))
        assert found["AWS_ENDPOINT_URL"]["value"] == "http://s3.ml:9000"
        assert found["AWS_ALLOW_HTTP"]["value"] == "true"
        assert found["AWS_REGION"]["value"] == "eu-1"
        assert found["AWS_SECRET_ACCESS_KEY"]["valueFrom"] == {
            "secretKeyRef": {"name": "s3", "key": "secretAccessKey"}
        }


class TestFiles:
    def test_only_the_files_that_the_secret_holds_are_asked_for(self) -> None:
        data = {"ignite": {**DATA, "tls": {"secretName": "db-tls"}}}
        opened = source(tls=Tls(ca=Path("/tmp/x/ca.crt")))
        sources = template(job(data=data), opened)["spec"]["volumes"][0]["projected"]["sources"]
        (secret,) = [s["secret"] for s in sources if "secret" in s]
        assert secret == {"name": "db-tls", "items": [{"key": "ca.crt", "path": "tls/ca.crt"}]}
        found = env(job(data=data), opened)
        assert found["IGNITE_DATASET_CAFILE"]["value"] == "/etc/insitu/tls/ca.crt"
        assert "IGNITE_DATASET_KEYFILE" not in found

    def test_a_script_from_a_config_map_is_the_working_directory(self) -> None:
        asked = trainer(source={"configMap": {"name": "code"}})
        found = container(asked)
        (mount,) = [m for m in found["volumeMounts"] if m["name"] == "source"]
        assert found["workingDir"] == mount["mountPath"]
        assert "workingDir" not in container()

    def test_a_claim_is_mounted_for_checkpoints(self) -> None:
        store = {"persistentVolumeClaim": {"claimName": "shared", "path": "runs/1"}}
        pod = template(job(checkpoint={"store": store}))["spec"]
        (claim,) = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert claim["persistentVolumeClaim"] == {"claimName": "shared"}

    def test_a_trainer_has_a_place_to_write_to(self) -> None:
        mounts = {m["name"]: m["mountPath"] for m in container()["volumeMounts"]}
        assert mounts["scratch"] == env()["HOME"]["value"] == "/tmp"


class TestTemplate:
    def test_the_command_runs_under_the_supervisor(self) -> None:
        found = container(trainer(args=["--rate", "0.1"]))
        assert found["command"] == ["insitu-run", "--", "python", "train.py"]
        assert found["args"] == ["--rate", "0.1"]

    def test_fields_that_a_job_may_set_are_set(self) -> None:
        fields: Json = {
            "serviceAccountName": "trainer",
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": "registry"}],
            "terminationGracePeriodSeconds": 90,
        }
        spec = template(trainer(template=fields))["spec"]
        assert fields.items() <= spec.items()
        assert not {"serviceAccountName", "priorityClassName"} & template()["spec"].keys()

    def test_a_lost_machine_is_given_up_soon(self) -> None:
        found = {t["key"]: t["tolerationSeconds"] for t in template()["spec"]["tolerations"]}
        assert found == {
            "node.kubernetes.io/not-ready": 30,
            "node.kubernetes.io/unreachable": 30,
        }

    def test_unless_the_user_wants_it_otherwise(self) -> None:
        mine = {"key": "node.kubernetes.io/unreachable", "operator": "Exists"}
        found = template(trainer(template={"tolerations": [mine]}))["spec"]["tolerations"]
        assert [t["key"] for t in found] == [mine["key"], "node.kubernetes.io/not-ready"]
        assert "tolerationSeconds" not in found[0]
