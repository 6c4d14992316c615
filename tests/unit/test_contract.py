"""The contract between whoever starts trainers and the trainers: nothing is lost or leaked."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.contract import (
    Assignment,
    Checkpoint,
    Reporting,
    Training,
    from_environ,
    to_environ,
    write_document,
)
from insitu.contract.ranges import format_ranges, parse_ranges
from insitu.databases import Credentials, DataSource, Tls
from insitu.errors import ConfigurationError
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
counts = st.integers(0, 2**40)
node_ids = texts.map(NodeId)
nodes = st.builds(DatabaseNode, node_ids, texts, st.integers(1, 65535))
shards = st.builds(
    Shard,
    st.integers(0, 65_000).map(lambda number: ShardId(str(number))),
    st.lists(node_ids, max_size=3).map(tuple),
    counts,
    st.booleans(),
)
paths = st.text("abc/", min_size=1).map(Path)
sources = st.builds(
    DataSource,
    st.just("ignite"),
    st.lists(st.tuples(texts, st.integers(1, 65535)), min_size=1).map(tuple),
    texts,
    st.none() | st.lists(texts).map(tuple),
    st.none() | st.builds(Credentials, texts, texts),
    st.none()
    | st.builds(Tls, st.none() | paths, st.none() | paths, st.none() | paths, st.none() | texts),
)
assignments = st.builds(
    Assignment,
    job=texts,
    generation=counts,
    rank=counts,
    world_size=counts,
    source=sources,
    node=nodes,
    shards=st.lists(shards, unique_by=lambda shard: shard.id).map(tuple),
    nodes=st.lists(nodes).map(tuple),
    locality=st.sampled_from(["Required", "Preferred", "Ignored"]),
    on_data_change=st.sampled_from(["Fail", "Continue"]),
    rows=st.none() | counts,
    master=st.tuples(texts, st.integers(1, 65535)),
    training=st.builds(Training, st.none() | counts, st.none() | counts, counts),
    checkpoint=st.builds(Checkpoint, st.none() | texts, counts, counts, st.none() | counts),
    page_rows=st.none() | counts,
    run=texts,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(assignment=assignments)
def test_what_is_written_is_what_is_read(assignment: Assignment, tmp_path: Path) -> None:
    document = tmp_path / "assignment.json"
    write_document(assignment, document)
    assert from_environ(to_environ(assignment, document)) == assignment


def test_secrets_are_in_the_environment_only(tmp_path: Path) -> None:
    source = DataSource(
        "ignite",
        (("127.0.0.1", 10800),),
        "T",
        credentials=Credentials("ann", "s3cret-word"),
        tls=Tls(certificate=Path("c.pem"), key_password="s3cret-key"),
    )
    assignment = a_rank(source=source)
    write_document(assignment, tmp_path / "a.json")
    environ = to_environ(assignment, tmp_path / "a.json")
    assert environ["IGNITE_DATASET_PASSWORD"] == "s3cret-word"
    assert "s3cret" not in (tmp_path / "a.json").read_text()
    assert "s3cret" not in repr(assignment)


def test_the_original_names_say_the_short_form(tmp_path: Path) -> None:
    environ = to_environ(a_rank(shards=(0, 1, 2, 12)), tmp_path / "a.json")
    assert environ["IGNITE_DATASET_CACHE_NAME"] == "T"
    assert environ["IGNITE_DATASET_PART"] == "0-2,12"
    assert environ["IGNITE_DATASET_LOCAL"] == "true"
    assert (environ["RANK"], environ["WORLD_SIZE"]) == ("1", "3")


def test_a_document_that_contradicts_its_variables_is_refused(tmp_path: Path) -> None:
    write_document(a_rank(), tmp_path / "a.json")
    environ = to_environ(a_rank(), tmp_path / "a.json") | {"INSITU_GENERATION": "8"}
    with pytest.raises(ConfigurationError, match=r"INSITU_GENERATION=8, but .* says 7"):
        from_environ(environ)


def test_a_document_with_a_wrong_type_says_where(tmp_path: Path) -> None:
    write_document(a_rank(), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text().replace('"rank":1,', '"rank":"one",')
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigurationError, match="wrong at rank"):
        from_environ({"INSITU_ASSIGNMENT": str(tmp_path / "a.json")})


@given(numbers=st.sets(st.integers(0, 65_535)))
def test_ranges_say_exactly_the_numbers(numbers: set[int]) -> None:
    assert parse_ranges(format_ranges(numbers)) == tuple(sorted(numbers))


@pytest.mark.parametrize("text", ["", "3-", "-3", "a", "5-2", "1,1", "0-4,2", "70000", "1,,2"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are for the error that wraps it
        parse_ranges(text)


def test_without_anything_set_the_error_lists_the_least_that_works() -> None:
    with pytest.raises(ConfigurationError, match="at least IGNITE_DATASET_CACHE_NAME=<cache>"):
        from_environ({})


def test_alone_one_rank_reads_everything_and_knows_how_many_rows_there_are() -> None:
    found = alone()
    assert [shard.id for shard in found.shards] == ["0", "1", "2", "3"]
    assert (found.world_size, found.rows, found.locality) == (1, 40, "Ignored")
    assert found.node.id == "a"


def test_an_empty_value_is_an_unset_one() -> None:
    assert alone(PART="", LOCAL="", PORT="") == alone()


@pytest.mark.parametrize("value", ["false", "0", "no", "OFF"])
def test_local_can_be_switched_off(value: str) -> None:
    assert alone(LOCAL=value).locality == "Ignored"


def test_local_reads_the_shards_this_node_is_the_primary_of() -> None:
    found = alone(LOCAL="true", HOST="127.0.0.2")
    assert [shard.id for shard in found.shards] == ["1", "3"]
    assert (found.node.id, found.locality, found.rows) == ("b", "Required", None)


def test_local_at_an_address_of_no_node_names_those_that_would_do() -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:10800, 127\.0\.0\.2:10800"):
        alone(LOCAL="yes", HOST="127.0.0.9")


def test_a_script_run_alone_makes_one_pass_unless_it_says_more() -> None:
    assert alone().training == Training(epochs=1, global_batch_size=32)


def test_a_list_of_partitions_is_read_as_given() -> None:
    assert [shard.id for shard in alone(PART="1-2").shards] == ["1", "2"]
    assert [shard.id for shard in alone(PART="3").shards] == ["3"]
    assert alone(PART="-1") == alone()


def test_ranks_of_torchrun_share_the_shards() -> None:
    dealt = [alone({"RANK": str(rank), "WORLD_SIZE": "3"}).shards for rank in range(3)]
    assert sorted(shard.id for part in dealt for shard in part) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "x", "IGNITE_DATASET_PORT='x' is not a whole number"),
        ("PORT", "70000", "is no port"),
        ("PART", "7", "names 7, but there are 4"),
        ("PART", "3-", r"IGNITE_DATASET_PART: '3-' is no number"),
        ("PAGE_SIZE", "-1", "no number of rows"),
        ("KEYFILE", "k.pem", "IGNITE_DATASET_CERTFILE has to name"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        alone(**{name: value})


def test_where_to_report_survives_the_environment() -> None:
    reporting = Reporting(
        progress=Path("/p"),
        heartbeat="http://h",
        heartbeat_token=Path("/t"),
        audit_directory=Path("/a"),
        audit_column="id",
    )
    assert Reporting.from_environ(reporting.to_environ()) == reporting


def test_an_audit_without_a_column_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="INSITU_AUDIT_COLUMN"):
        Reporting.from_environ({"INSITU_AUDIT_DIR": "/a"})


def a_rank(
    source: DataSource | None = None, shards: tuple[int, ...] = (0,), locality: str = "Required"
) -> Assignment:
    node = DatabaseNode(NodeId("a"), "127.0.0.1", 10800)
    return Assignment(
        job="digits",
        generation=7,
        rank=1,
        world_size=3,
        source=source or DataSource("ignite", (("127.0.0.1", 10800),), "T"),
        node=node,
        shards=tuple(Shard(ShardId(str(number)), (node.id,)) for number in shards),
        locality=locality,
    )


def alone(extra: dict[str, str] | None = None, /, **values: str) -> Assignment:
    """What a script run by hand is given, beside a cluster of two nodes and four partitions."""
    environ = {"CACHE_NAME": "T", "HOST": "127.0.0.1"} | values
    return from_environ(
        {f"IGNITE_DATASET_{name}": value for name, value in environ.items()} | (extra or {}),
        lambda _source: TwoNodes(),  # type: ignore[arg-type, return-value]
    )


class TwoNodes:
    """Only what a lone script asks a database for."""

    def topology(self) -> Topology:
        a, b = NodeId("a"), NodeId("b")
        found = [DatabaseNode(a, "127.0.0.1", 10800), DatabaseNode(b, "127.0.0.2", 10800)]
        parts = [Shard(ShardId(str(p)), ((a, b) if p % 2 == 0 else (b, a)), 10) for p in range(4)]
        return Topology(tuple(found), tuple(parts), "1", rows=40)

    def close(self) -> None:
        pass
