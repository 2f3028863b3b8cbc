"""`migrate_schemas` and `reset_schemas`: what is registered, what is told, and what is left as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from kaufmann_celery import Kaufmann
from kaufmann_celery.errors import ConfigError, UnavailableError
from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.registry.local_schemas import shipped_error_schema
from kaufmann_celery.release import ReleaseInterrupted, SchemaReport, migrate_schemas, reset_schemas
from tests.unit.registry_on_loopback import RegistryOnLoopback, registry_on_loopback


@pytest.fixture
def registry() -> Iterator[RegistryOnLoopback]:
    with registry_on_loopback() as running:
        running.register("event.error", shipped_error_schema())
        yield running


@pytest.fixture
def service(registry: RegistryOnLoopback, tmp_path: Path) -> Kaufmann:
    return Kaufmann("orders", schema_registry_url=registry.url, schema_path=str(tmp_path))


def record(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}


def write(directory: Path, **schemas: Any) -> None:
    for subject, schema in schemas.items():
        (directory / f"{subject}.avsc").write_text(schema if isinstance(schema, str) else json.dumps(schema))


def states(reports: list[SchemaReport]) -> dict[str, str]:
    return {report.subject: report.state for report in reports}


def reasons(reports: list[SchemaReport]) -> dict[str, tuple[str, ...]]:
    return {report.subject: report.reasons for report in reports if report.reasons}


def test_the_service_may_be_named_by_its_celery_app(service: Kaufmann, tmp_path: Path) -> None:
    write(tmp_path, a=record(x="int"))

    assert states(migrate_schemas(service.celery)) == {"a": "registered"}
    assert states(reset_schemas(service.celery)) == {"a": "reset"}
    with pytest.raises(TypeError, match="expected the service's Kaufmann object or its Celery app, got Celery"):
        migrate_schemas(Celery())


@pytest.mark.parametrize("task", [migrate_schemas, reset_schemas])
def test_a_directory_that_is_not_there_is_a_fault_where_it_was_asked_for(
    registry: RegistryOnLoopback, tmp_path: Path, task: Any
) -> None:
    nowhere = Kaufmann("orders", schema_registry_url=registry.url, schema_path=str(tmp_path / "nowhere"))

    with pytest.raises(ConfigError, match=r"schema_path: .*nowhere: no such directory \(from keyword\)"):
        task(nowhere, check=True)


def test_the_metadata_comes_first_and_the_error_schema_where_there_is_none(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.subjects.clear()
    write(tmp_path, a=record(x="int"), event_metadata=record(id="string"))

    reports = migrate_schemas(service)

    assert [(report.subject, report.state) for report in reports] == [
        ("event_metadata", "registered"), ("a", "registered"), ("event.error", "registered"),
    ]  # fmt: skip
    assert states(migrate_schemas(service)) == dict.fromkeys(["event_metadata", "a"], "unchanged")


def test_a_field_at_fault_is_named_though_the_registry_enforces_nothing(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(price="double"))
    write(tmp_path, a=record(price="string"), b=record(x="int"))

    for check in (True, False):
        reports = migrate_schemas(service, check=check)

        assert states(reports) == {"a": "incompatible", "b": "compatible"}
        assert reasons(reports) == {"a": ("price: double -> string",)}
    assert "b" not in registry.subjects


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("NONE", ("b: int -> string",)),
        ("BACKWARD", ("b: int -> string",)),
        ("BACKWARD_TRANSITIVE", ("b: int -> string", "version 1: a: int -> string", "version 1: b: int -> string")),
        ("FORWARD", ("b: string -> int, for those who know only what is registered",)),
        (
            "FULL",
            ("b: int -> string", "b: string -> int, for those who know only what is registered"),
        ),
    ],
)
def test_the_registrys_level_says_who_has_to_be_able_to_read_what(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, level: str, said: tuple[str, ...]
) -> None:
    registry.register("a", record(a="int", b="int"))
    registry.register("a", record(a="string", b="int"))
    registry.levels |= {"": "NONE", "a": level}
    write(tmp_path, a=record(a="string", b="string"))

    assert reasons(migrate_schemas(service, check=True)) == {"a": said}


def test_a_level_that_is_asked_for_comes_before_the_registrys(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    write(tmp_path, a=record(x="string"))

    assert states(migrate_schemas(service, compatibility="FULL")) == {"a": "incompatible"}
    assert states(migrate_schemas(service, compatibility="NONE")) == {"a": "registered"}
    with pytest.raises(ConfigError, match="BACKWARD_TRANSITIVE"):
        migrate_schemas(service, compatibility="SIDEWAYS")


def test_each_file_at_fault_is_told_and_the_others_are_checked(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("b", record(x="int"))
    write(tmp_path, a="{", b=record(x="string"), c=record(x="nowhere"), d=record(x="int"))

    reports = migrate_schemas(service)

    assert states(reports) == {"a": "invalid", "b": "incompatible", "c": "invalid", "d": "compatible"}
    assert reasons(reports)["a"][0].startswith("is not JSON")
    assert "unknown type 'nowhere'" in reasons(reports)["c"][0]
    assert "d" not in registry.subjects


METADATA = {"type": "record", "name": "event_metadata", "fields": [{"name": "message_id", "type": "string"}]}
ENVELOPE = record(meta={"type": "map", "values": "string"}, payload="string")
LONGER = {**ENVELOPE, "fields": [*ENVELOPE["fields"], {"name": "note", "type": "string", "default": ""}]}


def latest(registry: RegistryOnLoopback, subject: str) -> Any:
    return SchemaRegistry([registry.url]).latest(subject).schema


@pytest.mark.parametrize("registered", [[METADATA, ENVELOPE], ENVELOPE], ids=["union", "alone"])
def test_an_envelope_stays_as_it_is_registered(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, registered: Any
) -> None:
    """KaufmannEx puts every schema of such a name into the union; where somebody did not, first bytes stay as well."""
    is_union = isinstance(registered, list)
    registry.register("event.a", registered)
    write(tmp_path, **{"event.a": ENVELOPE, "event.new": ENVELOPE, "event_metadata": METADATA})

    assert states(migrate_schemas(service)) == {
        "event_metadata": "registered", "event.a": "unchanged", "event.new": "registered",
    }  # fmt: skip
    assert latest(registry, "event.new") == [METADATA, ENVELOPE]

    write(tmp_path, **{"event.a": LONGER})
    assert states(migrate_schemas(service))["event.a"] == "registered"
    assert latest(registry, "event.a") == ([METADATA, LONGER] if is_union else LONGER)


@pytest.mark.parametrize("status", [400, 405, 409, 422])
@pytest.mark.parametrize("task", [migrate_schemas, reset_schemas])
def test_a_refusal_before_any_check_is_told_of_its_schema(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, status: int, task: Any
) -> None:
    answer = (status, {"error_code": status, "message": "not for us"})
    registry.instead = lambda _, path: answer if "/a/" in path else None
    write(tmp_path, a=record(x="long"), b=record(x="int"))

    reports = task(service)

    assert states(reports) == {"a": "invalid", "b": "compatible" if task is migrate_schemas else "planned"}
    assert "not for us" in reasons(reports)["a"][0]


def test_a_refusal_of_the_error_schema_is_told_of_it(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.instead = lambda _, path: (400, {"message": "not for us"}) if "/event.error/" in path else None
    write(tmp_path, a=record(x="long"))

    assert states(migrate_schemas(service)) == {"a": "compatible", "event.error": "invalid"}


@pytest.mark.parametrize("task", [migrate_schemas, reset_schemas])
def test_a_json_schema_that_is_none_is_told_as_well(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, task: Any
) -> None:
    write(tmp_path, a=record(x="int"))
    (tmp_path / "order.noted.json").write_text("{")
    (tmp_path / "order.fine.json").write_text("{}")

    reports = task(service)

    assert states(reports)["order.noted"] == "invalid"
    assert "is no JSON Schema" in reasons(reports)["order.noted"][0]
    assert set(states(reports)) == {"a", "order.noted"}
    assert "a" not in registry.subjects


def test_what_the_registry_finds_incompatible_is_told_where_we_find_nothing(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    refused = {"is_compatible": False, "messages": ["we do not like it"]}
    registry.instead = lambda _, path: (200, refused) if path.startswith("/compatibility") else None
    write(tmp_path, a=record(x="long"))

    assert reasons(migrate_schemas(service)) == {"a": ("we do not like it",)}
    assert states(migrate_schemas(service, compatibility="NONE")) == {"a": "registered"}


@pytest.mark.parametrize("status", [422, 409])
def test_a_schema_that_the_registry_takes_for_invalid_is_told_before_any_is_registered(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, status: int
) -> None:
    answer = (status, {"error_code": 42201, "message": "not for us"})
    registry.instead = lambda _, path: answer if path.startswith("/compatibility") else None
    write(tmp_path, a=record(x="long"))

    assert states(migrate_schemas(service)) == {"a": "invalid"}
    assert "not for us" in reasons(migrate_schemas(service))["a"][0]
    assert "a" not in registry.subjects


@pytest.mark.parametrize("code", [409, 40901, "40901"])
def test_a_schema_refused_in_the_end_is_told_and_the_others_are_registered(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, code: object
) -> None:
    refusal = (409, {"error_code": code, "message": "incompatible after all"})
    registry.instead = lambda method, path: refusal if (method, path) == ("POST", "/subjects/a/versions") else None
    write(tmp_path, a=record(x="int"), b=record(y="int"))

    reports = migrate_schemas(service)

    assert states(reports) == {"a": "refused", "b": "registered"}
    assert "incompatible after all" in reasons(reports)["a"][0]


@pytest.mark.parametrize(("status", "said"), [(500, "not ready"), (401, "credentials")])
def test_a_registry_that_goes_away_in_the_middle_leaves_word_of_what_was_registered(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path, status: int, said: str
) -> None:
    gone = (status, {"error_code": status})
    registry.instead = lambda method, path: gone if (method, path) == ("POST", "/subjects/b/versions") else None
    write(tmp_path, a=record(x="int"), b=record(y="int"), c=record(z="int"))

    with pytest.raises(ReleaseInterrupted, match=said) as caught:
        migrate_schemas(service)

    assert states(caught.value.reports) == {"a": "registered", "b": "compatible", "c": "compatible"}
    registry.instead = lambda *_: None
    assert states(migrate_schemas(service)) == {"a": "unchanged", "b": "registered", "c": "registered"}


def test_a_registry_that_is_away_is_no_interruption(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    write(tmp_path, a=record(x="int"))
    registry.instead = lambda *_: (500, {"error_code": 50001})

    for task in (migrate_schemas, reset_schemas):
        with pytest.raises(UnavailableError) as caught:
            task(service)
        assert not isinstance(caught.value, ReleaseInterrupted)


def test_a_reset_deletes_every_version_for_good_and_registers_anew(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    registry.register("a", record(x="string"))
    registry.register("other", record(x="int"))
    write(tmp_path, a=record(x="boolean"), b=record(y="int"))

    planned = reset_schemas(service, check=True)
    assert [(one.subject, one.state, one.versions) for one in planned] == [
        ("a", "planned", (1, 2)), ("b", "planned", ()),
    ]  # fmt: skip
    assert registry.subjects["a"] == {1: 2, 2: 3}

    done = reset_schemas(service)
    assert [(one.subject, one.state, one.id) for one in done] == [("a", "reset", 4), ("b", "reset", 5)]
    assert (registry.subjects["a"], registry.subjects["b"]) == ({1: 4}, {1: 5})
    assert registry.subjects["other"] == {1: 2}


def test_a_reset_with_a_file_at_fault_deletes_nothing(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    write(tmp_path, a=record(x="string"), b="{")

    assert states(reset_schemas(service)) == {"a": "planned", "b": "invalid"}
    assert registry.subjects["a"]


def test_what_may_not_be_deleted_is_told_and_is_there_all_the_same(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    refusal = (422, {"error_code": 42206, "message": "others refer to it"})
    registry.instead = lambda method, path: refusal if method == "DELETE" and "/a" in path else None
    write(tmp_path, a=record(x="string"), b=record(y="int"))

    reports = reset_schemas(service)

    assert states(reports) == {"a": "refused", "b": "reset"}
    assert "others refer to it" in reasons(reports)["a"][0]
    assert len(registry.subjects["a"]) == 2


def test_a_reset_that_was_interrupted_says_what_is_missing_and_goes_on(
    service: Kaufmann, registry: RegistryOnLoopback, tmp_path: Path
) -> None:
    registry.register("a", record(x="int"))
    registry.register("b", record(x="int"))
    gone = (503, {"error_code": 50003})
    registry.instead = lambda method, path: gone if (method, path) == ("DELETE", "/subjects/a?permanent=true") else None
    write(tmp_path, a=record(x="string"), b=record(y="string"))

    with pytest.raises(ReleaseInterrupted) as caught:
        reset_schemas(service)

    assert states(caught.value.reports) == {"a": "planned", "b": "deleted"}
    registry.instead = lambda *_: None
    assert states(reset_schemas(service)) == {"a": "reset", "b": "reset"}
    assert {subject: len(versions) for subject, versions in registry.subjects.items()} == {
        "a": 1, "b": 1, "event.error": 1,
    }  # fmt: skip
