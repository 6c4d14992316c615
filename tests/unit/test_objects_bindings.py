"""What a pod is bound with, and the memory of a job's plan."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from insitu.contract import Assignment, from_environ, packed, read_document, to_document
from insitu.databases import Credentials, DataSource, Tls
from insitu.errors import ConfigurationError
from insitu.topology import NodeId, Shard, ShardId
from insitu_operator.core.objects.bindings import binding, pod_assignments
from insitu_operator.core.objects.names import ASSIGNMENT, VARIABLE
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.plan_maps import plan_map, read_record, replaced
from insitu_operator.core.plan import Assigned, Plan
from insitu_operator.core.record import Record
from tests.unit.job_builders import Scene, job, topology
from tests.unit.pod_builders import gated
from tests.unit.test_contract import assignments

SOURCE = DataSource(
    "ignite",
    (("10.0.0.7", 10800),),
    "DIGITS",
    credentials=Credentials("ann", "s3cret"),
    tls=Tls(ca=Path("/somewhere/else/ca.crt")),
)


def record() -> Record:
    found = Scene().read().tick().record
    assert found
    return found


def told(rank: int = 0) -> Assignment:
    store = {"persistentVolumeClaim": {"claimName": "shared", "path": "runs"}}
    asked = job(checkpoint={"store": store})
    return pod_assignments(asked, record(), topology(), SOURCE)[rank]


def shards(count: int) -> tuple[Shard, ...]:
    """Whose names and owners hardly repeat, so that they pack badly."""
    return tuple(
        Shard(ShardId(str(n)), (NodeId(os.urandom(16).hex()), NodeId(os.urandom(16).hex())))
        for n in range(count)
    )


class TestBinding:
    def test_it_puts_the_pod_beside_its_database_node(self) -> None:
        patch = binding(gated(1), told(1), "NODE-B")
        assert patch["metadata"]["uid"] == "uid-1"
        assert patch["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "NODE-B"}
        assert patch["metadata"]["annotations"][VARIABLE + "IGNITE_DATASET_HOST"] == "host-b"

    def test_it_removes_our_gate_and_no_other(self) -> None:
        patch = binding(gated(), told(), "NODE-A")
        assert patch["spec"]["schedulingGates"] == [
            {"$patch": "delete", "name": "insitu.dev/placement"}
        ]

    def test_a_trainer_reads_what_the_pod_was_told(self, tmp_path: Path) -> None:
        annotations = binding(gated(), told(), "NODE-A")["metadata"]["annotations"]
        path = tmp_path / "assignment.json"
        path.write_text(annotations[ASSIGNMENT])
        found = from_environ({"INSITU_ASSIGNMENT": str(path), "RANK": "0", "WORLD_SIZE": "3"})
        assert found == told()
        assert found.source.tls == Tls(ca=Path("/etc/insitu/tls/ca.crt"))
        assert found.checkpoint.store == "file:///checkpoints/runs"
        assert found.master == ("digits-g1-0.digits-trainers", 29500)

    def test_no_secret_is_in_it(self) -> None:
        assert "s3cret" not in str(binding(gated(), told(), "NODE-A"))

    def test_a_pod_of_another_rank_or_generation_is_never_bound(self) -> None:
        for pod in (gated(1), gated(0, generation=2)):
            with pytest.raises(AssertionError):
                binding(pod, told(0), "NODE-A")

    def test_a_long_document_is_packed_and_read_all_the_same(self, tmp_path: Path) -> None:
        long = replace(told(), shards=tuple(Shard(ShardId(str(n)), ()) for n in range(2000)))
        text = binding(gated(), long, "NODE-A")["metadata"]["annotations"][ASSIGNMENT]
        assert len(text) < 30_000
        (tmp_path / "a.json").write_text(text)
        assert read_document(tmp_path / "a.json") == long

    def test_what_no_annotation_can_hold_is_refused_in_words(self) -> None:
        with pytest.raises(ConfigurationError, match=r"rank 0 has 5000 shards.*allows 262144"):
            binding(gated(), replace(told(), shards=shards(5000)), "NODE-A")

    def test_the_users_annotations_take_room_too(self) -> None:
        pod = gated()
        pod["metadata"]["annotations"]["notes"] = "x" * 262_000
        with pytest.raises(ConfigurationError, match="Kubernetes allows 262144"):
            binding(pod, told(), "NODE-A")


class TestDocument:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(assignment=assignments)
    def test_packed_or_not_it_says_the_same(self, assignment: Assignment, tmp_path: Path) -> None:
        plain, short = tmp_path / "plain.json", tmp_path / "packed.json"
        plain.write_text(to_document(assignment), encoding="utf-8")
        short.write_text(packed(to_document(assignment)), encoding="utf-8")
        assert read_document(plain) == read_document(short)

    @pytest.mark.parametrize("text", ["", "H4sI", "H4sIAAAAAAAC", "not base64!", "AAAA"])
    def test_what_is_neither_is_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="is not JSON"):
            read_document(path)


class TestPlanMap:
    def test_a_record_comes_back_as_it_was(self) -> None:
        made = plan_map(job(uid="u"), record())
        assert made["metadata"]["name"] == "digits-plan"
        assert read_record(made) == record()

    def test_a_large_record_is_packed(self) -> None:
        small = record()
        many = tuple(ShardId(f"shard-{n:050d}") for n in range(12_000))
        ranks = (replace(small.plan.ranks[0], shards=many), *small.plan.ranks[1:])
        large = replace(small, plan=replace(small.plan, ranks=ranks))
        made = plan_map(job(uid="u"), large)
        assert "data" not in made
        assert read_record(made) == large

    def test_a_plan_of_200_nodes_with_256_tokens_each_fits(self) -> None:
        random = Random(1)
        tokens = sorted(random.randrange(-(2**63), 2**63) for _ in range(200 * 256 + 1))
        ranges = [ShardId(f"{a}:{b}") for a, b in pairwise(tokens)]
        random.shuffle(ranges)
        parts = tuple(
            Assigned(rank, NodeId(str(rank)), tuple(ranges[rank::200]), 1) for rank in range(200)
        )
        large = replace(record(), plan=Plan(1, "v", parts))
        assert read_record(plan_map(job(uid="u"), large)) == large

    @pytest.mark.parametrize(
        ("key", "pack"), [("plan.json.gz", gzip.compress), ("plan.json.xz", lzma.compress)]
    )
    def test_a_small_map_can_not_unpack_to_more_than_a_plan(
        self, key: str, pack: Callable[[bytes], bytes]
    ) -> None:
        content = base64.b64encode(pack(b" " * (20 << 20))).decode()
        forged = {"metadata": {"name": "digits-plan"}, "binaryData": {key: content}}
        with pytest.raises(ConfigurationError, match="unpacks to more than 16777216 bytes"):
            read_record(forged)

    @pytest.mark.parametrize(
        ("part", "why"),
        [
            ({"rank": 7}, "its ranks are not 0, 1, 2"),
            ({"rank": -1}, "greater than or equal to 0"),
            ({"weight": 2**63}, "less than or equal to"),
            ({"shards": ["1", "1"]}, "the same shard"),
        ],
    )
    def test_a_forged_plan_is_refused(self, part: Json, why: str) -> None:
        value = json.loads(record().to_json())
        value["plan"]["ranks"][0] |= part
        forged = {"metadata": {"name": "m"}, "data": {"plan.json": json.dumps(value)}}
        with pytest.raises(ConfigurationError, match=why):
            read_record(forged)

    def test_a_newer_record_takes_the_place_of_exactly_what_was_read(self) -> None:
        found = plan_map(job(uid="u"), record())
        found["metadata"]["resourceVersion"] = "41"
        found["binaryData"] = {"plan.json.gz": "left over"}
        after = replaced(found, replace(record(), cause="rank 1 ended"))
        assert after["metadata"]["resourceVersion"] == "41"
        assert read_record(after).cause == "rank 1 ended"

    @pytest.mark.parametrize(
        "content", [{}, {"data": {"plan.json": "{}"}}, {"binaryData": {"plan.json.gz": "AAAA"}}]
    )
    def test_what_somebody_else_wrote_is_named(self, content: Json) -> None:
        with pytest.raises(ConfigurationError, match="ConfigMap digits-plan holds no plan"):
            read_record({"metadata": {"name": "digits-plan"}, **content})

    def test_a_record_that_is_too_large_says_so(self) -> None:
        small = record()
        many = tuple(ShardId(os.urandom(32).hex()) for _ in range(40_000))
        ranks = (replace(small.plan.ranks[0], shards=many), *small.plan.ranks[1:])
        with pytest.raises(ConfigurationError, match="too large for a ConfigMap"):
            plan_map(job(), replace(small, plan=replace(small.plan, ranks=ranks)))
