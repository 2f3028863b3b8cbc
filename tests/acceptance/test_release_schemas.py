"""`migrate-schemas` and `reset-schemas` as users type them, with a real registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.registry.client import SchemaNotFound, SchemaRegistry
from tests.acceptance.typed_service import TypedService, written


@pytest.fixture
def service(tmp_path: Path, stack: Mapping[str, str]) -> Iterator[TypedService]:
    """A service without schemas of its own; subjects begin with its name."""
    service = written(tmp_path, stack)
    for file in (tmp_path / "schemas").iterdir():
        file.unlink()
    yield service
    service.stop()


@pytest.fixture
def registry(stack: Mapping[str, str]) -> SchemaRegistry:
    return SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]])


def put(service: TypedService, subject: str, schema: Any) -> str:
    """Write a schema for the subject `<service>.<subject>`, and return that."""
    whole = f"{service.name}.{subject}"
    (service.directory / "schemas" / f"{whole}.avsc").write_text(json.dumps(schema))
    return whole


def record(name: str, **types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in types.items()]}


def order(price: str) -> dict[str, Any]:
    items = {"type": "array", "items": record("Item", price=price)}
    return record("Order", meta="event_metadata", payload=record("Payload", items=items))


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_the_field_that_is_not_compatible_is_named(
    service: TypedService, registry: SchemaRegistry, arguments: list[str]
) -> None:
    subject = put(service, "event.placed", order("double"))
    assert service.kaufmann("migrate-schemas").returncode == 0
    put(service, "event.placed", order("string"))

    done = service.kaufmann("migrate-schemas", *arguments)

    assert done.returncode == 1
    assert re.search(
        rf"(?m)^incompatible +{subject}  \(schemas/{subject}\.avsc\)\n    payload\.items\[\]\.price: double -> string$",
        done.stdout,
    )
    assert "nothing was registered" in done.stderr
    assert len(registry.versions(subject)) == 1


def test_a_check_is_json_where_that_is_asked_for(service: TypedService) -> None:
    subject = put(service, "a", record("A", x="int"))

    done = service.kaufmann("migrate-schemas", "--check", "--json")

    (report,) = (one for one in json.loads(done.stdout) if one["subject"] == subject)
    assert (report["state"], report["file"]) == ("compatible", f"schemas/{subject}.avsc")


def test_an_incompatible_schema_is_registered_where_no_check_is_asked_for(
    service: TypedService, registry: SchemaRegistry
) -> None:
    subject = put(service, "a", record("A", x="int"))
    service.kaufmann("migrate-schemas")
    put(service, "a", record("A", x="string"))

    assert service.kaufmann("migrate-schemas", "--compatibility", "NONE").returncode == 0
    assert registry.versions(subject) == [1, 2]
    assert service.kaufmann("migrate-schemas", "--compatibility", "SOME").returncode == 2


def test_types_of_other_files_are_registered_with_each_schema_that_uses_them(
    service: TypedService, registry: SchemaRegistry
) -> None:
    money = record("Money", amount="long")
    put(service, "money", money)
    subject = put(service, "bill", record("Bill", sum="Money", tax=["null", "Money"]))

    done = service.kaufmann("migrate-schemas")

    assert done.returncode == 0, done.stdout
    assert registry.latest(subject).schema == record("Bill", sum=money, tax=["null", "Money"])
    assert "unchanged" in service.kaufmann("migrate-schemas").stdout


def test_files_at_fault_are_told_one_by_one(service: TypedService) -> None:
    put(service, "a", record("A", b="B"))
    put(service, "b", record("B", a="A"))
    put(service, "c", record("C", x="Nowhere"))
    (service.directory / "schemas" / "d.avsc").write_text("{")
    good = put(service, "e", record("E", x="int"))

    done = service.kaufmann("migrate-schemas")

    assert done.returncode == 1
    for subject, reason in (("a", "in a circle"), ("b", "in a circle"), ("c", "unknown type 'Nowhere'")):
        assert re.search(rf"(?m)^invalid +{service.name}\.{subject}  .*\n    .*{reason}", done.stdout)
    assert re.search(r"(?m)^invalid +d  .*\n    is not JSON", done.stdout)
    assert re.search(rf"(?m)^compatible +{good} ", done.stdout)


def test_a_reset_shows_its_plan_and_deletes_only_when_told_to(service: TypedService, registry: SchemaRegistry) -> None:
    subject = put(service, "a", record("A", x="int"))
    service.kaufmann("migrate-schemas")
    put(service, "a", record("B", y="string"))

    planned = service.kaufmann("reset-schemas")
    assert (planned.returncode, registry.latest(subject).schema["name"]) == (0, "A")
    assert re.search(rf"(?m)^planned +{subject}  .* versions 1 to be deleted$", planned.stdout)
    assert "--execute" in planned.stderr

    done = service.kaufmann("reset-schemas", "--execute")
    registry.forget(subject)
    assert (done.returncode, registry.latest(subject).schema["name"]) == (0, "B")
    assert re.search(rf"(?m)^reset \d+ +{subject}  .* versions 1 deleted$", done.stdout)
    assert registry.versions(subject) == [1]


def test_a_registry_that_is_away_exits_with_69(service: TypedService, registry: SchemaRegistry) -> None:
    subject = put(service, "a", record("A", x="int"))
    away = {"KAUFMANN_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}

    for command in (["migrate-schemas"], ["reset-schemas", "--execute"]):
        done = service.kaufmann(*command, **away)
        assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
        assert "schema_registry_url" in done.stderr
    with pytest.raises(SchemaNotFound):
        registry.versions(subject)
