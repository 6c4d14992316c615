"""Values of Ignite's protocol: what is written is read back, and no bytes do harm."""

from __future__ import annotations

import contextlib
import decimal
import struct
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyignite.utils import hashcode
from pyignite.utils import schema_id as pyignite_schema_id

from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code, Flag
from insitu.databases.ignite.binary.decode import MAX_DEPTH, read_value
from insitu.databases.ignite.binary.encode import object_hash, write_as, write_value
from insitu.databases.ignite.binary.hashes import (
    bytes_hash,
    cache_id,
    field_id,
    java_hash,
    schema_id,
    type_id,
)
from insitu.databases.ignite.binary.metadata import (
    BinaryType,
    BinaryTypes,
    enum_type,
    object_type,
    parse_get_reply,
    put_request,
)
from insitu.databases.ignite.binary.objects import HEADER
from insitu.databases.ignite.binary.values import (
    NOT_A_TIME,
    BinaryObject,
    Char,
    Collection,
    Enum,
    Map,
    ObjectArray,
    Value,
)
from insitu.errors import ProtocolError, UnsupportedType
from tests.ignite_values import (
    VALUES,
    binary_object,
    decoded,
    encoded,
    same,
    types_of,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Value) -> None:
    assert same(decoded(encoded(value), types_of(value)), value)


@given(VALUES, st.data())
def test_damaged_bytes_raise_an_error_of_ours_or_are_another_value(
    value: Value, data: st.DataObject
) -> None:
    damaged = bytearray(encoded(value))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    _read_or_refuse(damaged[: data.draw(st.integers(0, len(damaged)))], types_of(value))


@given(st.binary(max_size=64), st.sampled_from(list(Code)))
def test_arbitrary_bytes_raise_an_error_of_ours_or_are_a_value(data: bytes, code: Code) -> None:
    _read_or_refuse(bytes([code]) + data, types_of(binary_object("Person", street="x")))


def _read_or_refuse(data: bytes | bytearray, types: BinaryTypes) -> None:
    with contextlib.suppress(ProtocolError, UnsupportedType):
        _, end = read_value(memoryview(data), 0, types, "val")
        assert end <= len(data)


def test_a_string_keeps_nul_and_emoji() -> None:
    assert decoded(encoded("a\0b😀")) == "a\0b😀"


def test_a_string_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ProtocolError, match="val: a string is not UTF-8"):
        decoded(struct.pack("<Bi", Code.STRING, 1) + b"\xff")


@pytest.mark.parametrize("text", ["0", "-0.00", "12.340", "-1E+3", "1E-30", "9" * 76])
def test_a_decimal_keeps_sign_digits_and_scale(text: str) -> None:
    value = decimal.Decimal(text)
    read = decoded(encoded(value))
    assert isinstance(read, decimal.Decimal)
    assert read.as_tuple() == value.as_tuple()


def test_a_decimal_without_digits_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no digits"):
        decoded(struct.pack("<Bii", Code.DECIMAL, 0, 0))


def test_nothing_but_finite_numbers_is_a_decimal() -> None:
    with pytest.raises(UnsupportedType, match=r"val: .*NaN.* does not fit DECIMAL"):
        encoded(decimal.Decimal("NaN"))


def test_a_date_of_sql_is_read_from_its_java_serialization() -> None:
    millis = 1_704_153_600_000
    data = struct.pack("<BiBihq", 254, 15, 102, java_hash("java.sql.Date"), 0x6697, millis)
    assert decoded(data) == np.datetime64(millis, "ms")
    out = bytearray()
    write_as(out, Code.JAVA_SERIALIZED, np.datetime64(millis, "ms"))
    assert out == data


def test_any_other_java_serialization_is_unsupported() -> None:
    data = struct.pack("<BiBihq", 254, 15, 102, java_hash("java.util.BitSet"), 0, 0)
    with pytest.raises(UnsupportedType, match="val: an object serialized by Java"):
        decoded(data)


def test_a_timestamp_outside_of_nanoseconds_is_unsupported() -> None:
    with pytest.raises(UnsupportedType, match="between 1677 and 2262"):
        decoded(struct.pack("<Bqi", Code.TIMESTAMP, 1 << 60, 0))


def test_the_instant_that_numpy_takes_for_none_is_unsupported() -> None:
    with pytest.raises(UnsupportedType, match="val: the smallest"):
        decoded(struct.pack("<Bq", Code.DATE, NOT_A_TIME))


def test_an_array_has_elements_of_its_own_type_only() -> None:
    data = struct.pack("<Bi", Code.STRING_ARRAY, 1) + bytes(encoded(np.int8(1)))
    with pytest.raises(ProtocolError, match=r"val\[0\]: this is no STRING"):
        decoded(data)


def test_a_wrapped_value_starts_at_its_root_and_ends_after_it() -> None:
    payload = b"rubbish" + bytes(encoded("x"))
    data = struct.pack("<Bi", Code.WRAPPED, len(payload)) + payload + struct.pack("<i", 7)
    assert decoded(data) == "x"


def test_an_enum_has_the_name_that_the_cluster_lists() -> None:
    color = enum_type("Color", {0: "RED", 1: "GREEN"})
    types = BinaryTypes({color.id: color}.get)
    assert decoded(encoded(Enum(color.id, 1)), types) == Enum(color.id, 1, "GREEN")
    assert decoded(encoded(Enum(color.id, 2)), types) == Enum(color.id, 2, None)


def test_an_enum_of_an_unregistered_class_comes_with_the_name_of_the_class() -> None:
    data = struct.pack("<Bi", Code.ENUM, 0) + bytes(encoded("a.Color")) + struct.pack("<i", 3)
    assert decoded(data) == Enum(type_id("a.Color"), 3, None)


@pytest.mark.parametrize("size", [1, 300, 70_000])
def test_offsets_of_fields_are_as_wide_as_they_have_to_be(size: int) -> None:
    value = binary_object("Person", street="x" * size, zip=np.int32(7))
    flags = HEADER.unpack_from(encoded(value))[2]
    width = {1: Flag.OFFSET_ONE_BYTE, 300: Flag.OFFSET_TWO_BYTES, 70_000: Flag(0)}[size]
    assert flags & (Flag.OFFSET_ONE_BYTE | Flag.OFFSET_TWO_BYTES) == width
    assert same(decoded(encoded(value), types_of(value)), value)


def test_a_footer_with_field_ids_is_read_in_any_schema() -> None:
    value = binary_object("Person", street="x")
    data = bytearray(encoded(value))
    flags = Flag.USER_TYPE | Flag.HAS_SCHEMA | Flag.OFFSET_ONE_BYTE
    footer = struct.pack("<iB", field_id("street"), OBJECT_HEADER)
    data[-1:] = footer
    struct.pack_into("<H", data, 2, flags)
    struct.pack_into("<ii", data, 12, len(data), 12345)
    assert same(decoded(data, types_of(value)), value)


def test_two_schemas_of_one_type_are_told_apart() -> None:
    rows = binary_object("P", a="1", b="2"), binary_object("P", b="2", c="3")
    types = types_of(*rows)
    assert [list(_fields(decoded(encoded(row), types))) for row in rows] == [["a", "b"], ["b", "c"]]


def test_a_schema_that_came_later_is_fetched() -> None:
    old, new = object_type("P", {"a": Code.INT}), object_type("P", {"a": Code.INT, "b": Code.INT})
    answers = [old, new]
    types = BinaryTypes(lambda _: answers.pop(0))
    assert types.field_names(old.id, next(iter(old.schemas))) == ("a",)
    assert types.field_names(new.id, next(iter(new.schemas))) == ("a", "b")


def test_an_object_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"val: binary type -?\d+ is not registered"):
        decoded(encoded(binary_object("Person", street="x")))


def test_raw_data_is_kept_beside_the_fields() -> None:
    value = binary_object("Person", b"\x01\x02", street="x")
    assert same(decoded(encoded(value), types_of(value)), value)


def _fields(value: Value) -> Any:
    assert isinstance(value, BinaryObject)
    return value.fields


def _handle(back: int) -> bytes:
    return struct.pack("<Bi", Code.HANDLE, back)


def _list(*items: bytes) -> bytes:
    return struct.pack("<Bib", Code.COLLECTION, len(items), 1) + b"".join(items)


def test_a_handle_is_the_value_it_points_back_to() -> None:
    inner = _list(bytes(encoded("x")))
    assert decoded(_list(inner, _handle(len(inner)))) == Collection((Collection(("x",)),) * 2)


def test_a_handle_to_the_value_around_it_is_an_unsupported_cycle() -> None:
    with pytest.raises(UnsupportedType, match=r"val\[0\]: the value holds itself"):
        decoded(_list(_handle(6)))


def test_a_handle_never_points_out_of_its_value_or_forward() -> None:
    for back in (7, -1, 0):
        with pytest.raises((ProtocolError, UnsupportedType)):
            decoded(_list(_handle(back)))


def test_handles_can_not_blow_a_few_bytes_up_without_end() -> None:
    data, sizes = _list(bytes(encoded("x"))), []
    for _ in range(40):
        sizes.append(len(data))
        data = _list(data, _handle(len(data)))
    with pytest.raises(ProtocolError, match="one row has more than"):
        decoded(data)


def test_nesting_without_end_is_refused() -> None:
    data = bytes(encoded(None))
    for _ in range(MAX_DEPTH + 1):
        data = _list(data)
    with pytest.raises(ProtocolError, match="nested deeper than 64"):
        decoded(data)


def test_fields_that_overlap_are_refused() -> None:
    value = binary_object("P", a=np.int64(1), b=np.int64(2))
    data = bytearray(encoded(value))
    data[-1] = data[-2]
    with pytest.raises(ProtocolError, match=r"val\.b: a field starts inside"):
        decoded(data, types_of(value))


def test_an_error_names_the_path_of_the_value() -> None:
    street = ObjectArray(("a", "b", "c"))
    value = binary_object("P", address=binary_object("A", street=street))
    data = bytearray(encoded(value))
    data[bytes(data).index(b"c") - 5] = 99
    with pytest.raises(ProtocolError, match=r"^val\.address\.street\[2\]: 99 is no type code"):
        decoded(data, types_of(value))


def test_names_hash_as_in_java() -> None:
    assert java_hash("😀") == 1772899
    assert cache_id("SQL_PUBLIC_T") == hashcode("SQL_PUBLIC_T")
    assert type_id("Person") == field_id("PERSON") == hashcode("person")
    fields = {"a": 1, "Beta": 2}
    assert schema_id(map(field_id, fields)) == pyignite_schema_id(fields)
    assert schema_id([]) == 0


@given(st.binary())
def test_bytes_hash_as_in_java(data: bytes) -> None:
    assert bytes_hash(data) == hashcode(data)


def test_the_hash_of_an_object_is_of_its_fields_alone() -> None:
    assert object_hash(binary_object("P", a=np.int8(5))) == bytes_hash(bytes([Code.BYTE, 5]))


@pytest.mark.parametrize(
    "kind",
    [
        object_type("Größe", {"a": Code.INT, "b": Code.OBJECT}, affinity_field="a"),
        object_type("Empty", {}),
        enum_type("Color", {0: "RED", 5: "GREEN"}),
    ],
    ids=lambda kind: kind.name,
)
def test_metadata_is_read_as_it_was_written(kind: BinaryType) -> None:
    assert parse_get_reply(memoryview(b"\x01" + put_request(kind))) == kind


def test_a_type_that_nobody_registered_has_no_metadata() -> None:
    assert parse_get_reply(memoryview(b"\x00")) is None


@given(st.binary(max_size=80))
def test_damaged_metadata_raises_an_error_of_ours(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_get_reply(memoryview(b"\x01" + data))


@pytest.mark.parametrize(
    ("code", "value"), [(Code.BYTE, 128), (Code.INT, "x"), (Code.STRING, "\ud800"), (Code.UUID, 1)]
)
def test_a_value_that_does_not_fit_its_type_is_refused(code: Code, value: object) -> None:
    with pytest.raises(UnsupportedType, match=f"age: .* does not fit {code.name}"):
        write_as(bytearray(), code, value, "age")


@pytest.mark.parametrize("value", [object(), np.zeros((2, 2)), np.datetime64(1, "s"), {1: 2}])
def test_a_python_value_without_a_type_in_ignite_is_refused(value: Any) -> None:
    with pytest.raises(UnsupportedType, match="Ignite has no type for"):
        write_value(bytearray(), value)


def test_plain_numbers_are_longs_and_doubles() -> None:
    assert same(decoded(encoded(7)), np.int64(7))
    assert same(decoded(encoded(1.5)), np.float64(1.5))


#: An object that Ignite's Java client wrote: an address that occurs five times and is spelled out
#: once, enums, collections, and a java.sql.Date.
FROM_JAVA = bytes.fromhex(
    "1b470100006701330022ccef7e0557c7cd470100001e3ecceb2501000067012b00fe9b39cd682eb6dd25000000"
    "4c18e016230000000901000000610301000000181e66250000001cf6301bda01000000180400000001663900000"
    "067012b00fe9b39cd667b6bdf250000004c18e016230000000901000000620302000000181e656664000000190"
    "1000000010901000000786675000000180200000003030100000003020000001df6301bda020000001cf6301bda"
    "000000006517fe9b39cd0100000066a60000000e0200000001000000020000001e020000000200000080960b0500"
    "0000000000002107000000000000007b000000fe0f000000663aded5409766005c2605000000000901000000780"
    "741000c01000000010a0100000000000000020000000000000018003d0042004b0081009200a200b500c300d000"
    "db00e400f10005010b010e01140100000000"
)


def test_an_object_that_java_wrote_is_read() -> None:
    names = "home work c all m s cs arr ints d dt ts sd o ch bytes u"
    person = object_type("W$Person", dict.fromkeys(names.split(), Code.OBJECT))
    address = object_type("W$Addr", {"street": Code.STRING, "zip": Code.INT})
    color = enum_type("W$Color", {0: "RED", 1: "GREEN"})
    types = BinaryTypes({kind.id: kind for kind in (person, address, color)}.get)
    a, b = (binary_object("W$Addr", street=s, zip=np.int32(z)) for s, z in (("a", 1), ("b", 2)))
    expected = binary_object(
        "W$Person",
        home=a,
        work=a,
        c=Enum(color.id, 1, "GREEN"),
        all=Collection((a, b, None, a)),
        m=Map((("x", a),)),
        s=Collection((np.int32(1), np.int32(2)), kind=3),
        cs=ObjectArray((Enum(color.id, 0, "RED"), None), color.id, Code.ENUM_ARRAY),
        arr=ObjectArray((a,), address.id),
        ints=np.array([1, 2], "<i4"),
        d=decimal.Decimal("-1.50"),
        dt=np.datetime64(5, "ms"),
        ts=np.datetime64(7_000_123, "ns"),
        sd=np.datetime64(86_400_000, "ms"),
        o="x",
        ch=Char(65),
        bytes=b"\x01",
        u=uuid.UUID("00000000-0000-0001-0000-000000000002"),
    )
    assert same(decoded(FROM_JAVA, types), expected)


def test_a_complex_key_has_the_hash_that_java_gives_it() -> None:
    key = binary_object("W$Addr", street="k", zip=np.int32(1))
    assert struct.pack("<i", object_hash(key)) == bytes.fromhex("9ea4c6ee")
