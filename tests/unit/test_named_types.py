"""Schemas in several files: what one takes from another, and what is wrong between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.errors import ConfigError
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.avro import AvroSchema


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


MONEY = record("Money", amount="long", currency="string")
META = record("event_metadata", message_id="string")


def read(directory: Path, **schemas: Any) -> LocalSchemas:
    """Write each schema into a file, its subject being its name with `_` for a dot, and read them."""
    write(directory, **schemas)
    return LocalSchemas([directory])


def write(directory: Path, **schemas: Any) -> None:
    for subject, schema in schemas.items():
        (directory / f"{subject.replace('__', '.')}.avsc").write_text(json.dumps(schema))


def faults_of(directory: Path, **schemas: Any) -> dict[str, str]:
    write(directory, **schemas)
    _, faults = LocalSchemas.and_faults([directory])
    return {fault.file.stem: fault.reason for fault in faults}


def test_a_type_of_another_file_is_written_out_where_it_is_first_used(tmp_path: Path) -> None:
    order = record("Order", price="Money", discount=["null", "Money"])

    schema = read(tmp_path, money=MONEY, order=order).schema("order")

    assert schema == record("Order", price=MONEY, discount=["null", "Money"])
    value = {"price": {"amount": 1, "currency": "EUR"}, "discount": None}
    assert AvroSchema(schema).decode(AvroSchema(schema).encode(value, {})) == (value, {})


def test_types_are_found_through_several_files_whatever_their_names_order(tmp_path: Path) -> None:
    schemas = read(
        tmp_path,
        a=record("A", b={"type": "array", "items": "B"}),
        b=record("B", z={"type": "map", "values": "Z"}),
        z=record("Z", of="string"),
    )

    z, b = record("Z", of="string"), record("B", z={"type": "map", "values": record("Z", of="string")})
    assert schemas.schema("a") == record("A", b={"type": "array", "items": b})
    assert (schemas.schema("b"), schemas.schema("z")) == (b, z)


def test_a_type_inside_another_files_record_is_found_with_the_namespace_it_has_there(tmp_path: Path) -> None:
    shop = {**record("Shop", kind={"type": "enum", "name": "Kind", "symbols": ["big"]}), "namespace": "com.acme"}

    schema = read(tmp_path, shop=shop, order=record("Order", kind="com.acme.Kind")).schema("order")

    kind = {"type": "enum", "name": "Kind", "symbols": ["big"], "namespace": "com.acme"}
    assert schema == record("Order", kind=kind)


def test_a_name_without_dots_is_one_of_the_namespace_it_is_used_in(tmp_path: Path) -> None:
    money, order = {**MONEY, "namespace": "com.acme"}, {**record("Order", price="Money"), "namespace": "com.acme"}

    assert read(tmp_path, money=money, order=order).schema("order") == {
        **record("Order", price=money),
        "namespace": "com.acme",
    }
    assert "unknown type 'com.acme.Nothing'" in faults_of(
        tmp_path, other={**record("Other", price="Nothing"), "namespace": "com.acme"}
    )["other"]  # fmt: skip


def test_a_type_that_two_files_define_alike_is_defined_once(tmp_path: Path) -> None:
    line = record("Line", price=MONEY)

    schema = read(tmp_path, line=line, order=record("Order", sum=MONEY, lines="Line")).schema("order")

    assert schema == record("Order", sum=MONEY, lines=record("Line", price="Money"))


def test_files_may_use_one_name_for_different_types_of_their_own(tmp_path: Path) -> None:
    write(
        tmp_path, a=record("A", payload=record("Payload", x="int")), b=record("B", payload=record("Payload", y="int"))
    )

    assert set(LocalSchemas([tmp_path]).subjects()) == {"a", "b"}


def test_a_type_defined_differently_in_two_files_is_a_fault_of_who_needs_it(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        a=record("A", payload=record("Payload", x="int")),
        b=record("B", payload=record("Payload", y="int")),
        c=record("C", payload="Payload"),
        d=record("D", payload=record("Payload", z="int"), a="A"),
    )

    assert set(faults) == {"c", "d"}
    for needs, files in (("c", ("a", "b")), ("d", ("a", "d"))):
        assert "type Payload is defined differently" in faults[needs]
        assert all(f"{file}.avsc" in faults[needs] for file in files)


def test_files_that_need_each_other_in_a_circle_are_each_told_so(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        a=record("A", b="B"),
        b=record("B", c=["null", "C"]),
        c=record("C", a="A"),
        outside=record("Outside", a="A"),
    )

    assert set(faults) == {"a", "b", "c"}
    assert "a.avsc needs b.avsc, b.avsc needs c.avsc, c.avsc needs a.avsc" in faults["a"]
    assert "in a circle" in faults["b"]


def test_a_type_may_hold_itself(tmp_path: Path) -> None:
    node = record("Node", next=["null", "Node"])

    assert read(tmp_path, node=node, tree=record("Tree", root="Node")).schema("tree") == record("Tree", root=node)


def test_what_is_wrong_with_one_file_is_no_fault_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.avsc").write_text("{")
    (tmp_path / "binary.avsc").write_bytes(b"\xff")
    write(tmp_path, unknown=record("U", x="nowhere"), good=MONEY, needs=record("N", x="nothing.Known"))

    schemas, faults = LocalSchemas.and_faults([tmp_path])

    assert set(schemas.subjects()) == {"good"}
    said = {fault.file.stem: fault.reason for fault in faults}
    assert said["broken"].startswith("is not JSON: ")
    assert said["binary"] == "is not UTF-8"
    assert "unknown type 'nowhere'" in said["unknown"]
    assert "unknown type 'nothing.Known'" in said["needs"]
    with pytest.raises(ConfigError, match=r"broken\.avsc: is not JSON"):
        LocalSchemas([tmp_path])


@pytest.mark.parametrize("subject", ["order", "event.order"])
def test_a_type_that_only_another_namespace_has_is_pointed_out(tmp_path: Path, subject: str) -> None:
    order = {subject.replace(".", "__"): record("Order", price="Money")}
    faults = faults_of(tmp_path, money={**MONEY, "namespace": "com.acme"}, **order)

    assert faults[subject].startswith(f"unknown type 'Money'; there is 'com.acme.Money' in {tmp_path / 'money.avsc'}:")


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (record("order-placed", id="string"), "'order-placed'"),
        (record("com.9acme.Order", id="string"), "'com.9acme.Order'"),
        (record("Order", **{"line total": "long"}), "'line total'"),
        (record("Order", kind={"type": "fixed", "name": "né", "size": 2}), "kind: 'né'"),
    ],
)
def test_a_name_that_is_none_by_the_specification_is_a_fault(tmp_path: Path, schema: Any, wrong: str) -> None:
    assert faults_of(tmp_path, order=schema) == {
        "order": f"{wrong} is no Avro name: letters, digits and _ make one, no digit first"
    }


def test_the_metadata_that_ships_is_found_from_any_namespace(tmp_path: Path) -> None:
    event = {**record("Placed", meta="event_metadata", payload="string"), "namespace": "com.acme"}

    schema = read(tmp_path, order__placed=event).schema("order.placed")

    assert schema is not None
    assert (schema[0]["namespace"], schema[0]["name"], schema[1]) == ("com.acme", "event_metadata", event)


def test_the_union_with_the_metadata_takes_types_of_other_files(tmp_path: Path) -> None:
    event = record("placed", meta="event_metadata", payload=record("Placed", price="Money"))

    schema = read(tmp_path, event_metadata=META, money=MONEY, event__placed=event).schema("event.placed")

    assert schema == [META, record("placed", meta="event_metadata", payload=record("Placed", price=MONEY))]


@pytest.mark.parametrize("meta", [record("My", id="string"), {"type": "map", "values": "string"}, "My"])
def test_an_envelope_that_says_what_its_meta_is_is_a_union_as_well(tmp_path: Path, meta: Any) -> None:
    event = record("placed", metadata=meta, payload="string")
    types = {} if meta != "My" else {"my": record("My", id="string")}

    schemas = read(tmp_path, event_metadata=META, event__placed=event, **types)
    alone = schemas.without_metadata("event.placed")

    assert alone is not None
    assert schemas.schema("event.placed") == [META, alone]
    assert alone == (event if meta != "My" else record("placed", metadata=types["my"], payload="string"))
    assert AvroSchema(schemas.schema("event.placed")).encode("x", {"id": "1"})[:1] == b"\x02"


@pytest.mark.parametrize("named", ["event_metadata", "callback_topic"])
def test_an_envelope_that_defines_a_type_of_the_metadata_itself_is_no_union(tmp_path: Path, named: str) -> None:
    metadata = {**record("event_metadata", callback=record("callback_topic", topic="string"))}
    event = record("placed", meta=record("My", of=record(named, topic="string")), payload="string")

    assert read(tmp_path, event_metadata=metadata, event__placed=event).schema("event.placed") == event


def test_where_the_metadata_is_at_fault_so_is_what_is_registered_with_it(tmp_path: Path) -> None:
    (tmp_path / "event_metadata.avsc").write_text("{")
    write(tmp_path, order__placed=record("A", meta="event_metadata"), event__b=record("B", x="int"), plain=MONEY)

    schemas, faults = LocalSchemas.and_faults([tmp_path])

    assert set(schemas.subjects()) == {"plain"}
    mend = f"is registered with event_metadata, and {tmp_path / 'event_metadata.avsc'} is at fault: mend that one first"
    assert [fault.reason for fault in faults[1:]] == [mend, mend]


@pytest.mark.parametrize("name", [".avsc", "..avsc", "...avsc"])
def test_a_file_whose_name_makes_no_subject_is_a_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('"string"')

    schemas, (fault,) = LocalSchemas.and_faults([tmp_path])

    assert schemas.subjects() == {}
    assert (fault.file.name, "can be none" in fault.reason) == (name, True)


@pytest.mark.parametrize("fields", [{"id": "string"}, {"metadata": {"type": "map", "values": "string"}}])
def test_kaufmann_exs_names_are_a_union_where_there_is_no_envelope(tmp_path: Path, fields: Any) -> None:
    assert read(tmp_path, event_metadata=META, query__req=record("q", **fields)).schema("query.req") == [
        META,
        record("q", **fields),
    ]


def test_a_union_that_the_file_has_itself_stays(tmp_path: Path) -> None:
    union = ["null", record("placed", id="string")]

    assert read(tmp_path, event_metadata=META, event__placed=union).schema("event.placed") == union
