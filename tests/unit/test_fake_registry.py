"""FakeSchemaRegistry's faults, and what no real registry is asked here; tests/contract compares the rest with one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.registry.client import Reference, SchemaNotFound, SchemaRegistry, SchemaRejected
from kaufmann_celery.testing import FakeSchemaRegistry

ONE = {"type": "record", "name": "OrderPlaced", "fields": [{"name": "id", "type": "string"}]}
OTHER = {"type": "record", "name": "OrderPlaced", "fields": [{"name": "number", "type": "long"}]}


@pytest.fixture
def registry() -> Iterator[FakeSchemaRegistry]:
    with FakeSchemaRegistry() as one:
        yield one


def client(registry: FakeSchemaRegistry, **options: Any) -> SchemaRegistry:
    return SchemaRegistry([registry.url], latest_ttl=0, miss_ttl=0, **options)


def test_it_fails_as_often_as_it_was_told(registry: FakeSchemaRegistry) -> None:
    registry.register("order.placed", ONE)
    registry.fail(500, 50002, times=2)

    for _ in range(2):
        with pytest.raises(UnavailableError, match="500"):
            client(registry).latest("order.placed")
    assert client(registry).latest("order.placed").schema == ONE


def test_it_fails_until_it_recovers(registry: FakeSchemaRegistry) -> None:
    registry.fail(503)
    for _ in range(3):
        assert requests.get(f"{registry.url}/subjects", timeout=5).status_code == 503

    registry.recover()
    assert requests.get(f"{registry.url}/subjects", timeout=5).json() == []


def test_a_fault_has_the_registrys_form(registry: FakeSchemaRegistry) -> None:
    registry.fail(401, 40101)
    answer = requests.get(f"{registry.url}/subjects", timeout=5)

    assert (answer.status_code, answer.json()["error_code"]) == (401, 40101)
    assert answer.headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"


def test_it_takes_its_time(registry: FakeSchemaRegistry) -> None:
    registry.delay(0.2)
    asked_at = time.monotonic()
    client(registry).ping()

    assert time.monotonic() - asked_at >= 0.2
    with pytest.raises(UnavailableError, match="Timeout"):
        client(registry, timeout=0.05).ping()


def test_it_answers_nobody_while_it_hangs(registry: FakeSchemaRegistry) -> None:
    registry.hang()
    with pytest.raises(UnavailableError, match="Timeout"):
        client(registry, timeout=0.1).ping()

    registry.recover()
    client(registry).ping()


def test_it_stops_while_it_hangs() -> None:
    with FakeSchemaRegistry() as registry:
        registry.hang()
        with pytest.raises(UnavailableError):
            client(registry, timeout=0.1).ping()


def test_who_has_no_credentials_is_refused() -> None:
    with FakeSchemaRegistry(credentials=("user", "pa:ss")) as registry:
        with pytest.raises(UnavailableError, match="401"):
            client(registry).ping()
        SchemaRegistry([registry.url.replace("//", "//user:pa%3Ass@")]).ping()


@pytest.mark.parametrize("code", [40901, 409])
def test_an_incompatible_schema_has_either_code(code: int) -> None:
    with FakeSchemaRegistry(incompatible_code=code) as registry:
        registry.register("order.placed", ONE)
        with pytest.raises(SchemaRejected, match=r"409.*number: is new and has no default"):
            client(registry).register("order.placed", OTHER)
        answer = requests.post(
            f"{registry.url}/subjects/order.placed/versions", json={"schema": json.dumps(OTHER)}, timeout=5
        )
        assert (answer.status_code, answer.json()["error_code"]) == (409, code)


def test_its_level_may_be_another() -> None:
    with FakeSchemaRegistry(compatibility="NONE") as registry:
        registry.register("order.placed", ONE)
        assert client(registry).register("order.placed", OTHER) == 2


def test_a_transitive_level_looks_at_every_version() -> None:
    """The third reads what the second wrote, and not what the first did."""
    first, third = (
        {**ONE, "fields": [{"name": "id", "type": "string"}, *more]}
        for more in ([], [{"name": "note", "type": "string"}])
    )
    second = {**ONE, "fields": [{"name": "id", "type": "string"}, {"name": "note", "type": "string", "default": ""}]}
    for level, fits in (("BACKWARD", True), ("BACKWARD_TRANSITIVE", False)):
        with FakeSchemaRegistry(compatibility=level) as registry:
            registry.register("order.placed", first)
            registry.register("order.placed", second)
            asked = requests.post(
                f"{registry.url}/compatibility/subjects/order.placed/versions",
                json={"schema": json.dumps(third)}, timeout=5,
            )  # fmt: skip
            assert asked.json() == {"is_compatible": fits}


def test_a_schema_is_found_by_guid(registry: FakeSchemaRegistry) -> None:
    schema_id = registry.register("order.placed", ONE)
    guid = requests.get(f"{registry.url}/subjects/order.placed/versions/latest", timeout=5).json()["guid"]

    found = client(registry).by_guid(guid)
    assert (found.id, found.schema) == (schema_id, ONE)


def test_it_can_be_read_only(registry: FakeSchemaRegistry) -> None:
    registry.register("order.placed", ONE)
    requests.put(f"{registry.url}/mode", json={"mode": "READONLY"}, timeout=5).raise_for_status()

    with pytest.raises(SchemaRejected, match="read-only"):
        client(registry).register("order.placed", OTHER)
    assert client(registry).latest("order.placed").schema == ONE


def test_references_of_references_are_found(registry: FakeSchemaRegistry) -> None:
    registry.register("money", {"type": "fixed", "name": "Money", "size": 8})
    price = {"type": "record", "name": "Price", "fields": [{"name": "net", "type": "Money"}]}
    registry.register("price", price, [Reference("Money", "money", 1)])
    item = {"type": "record", "name": "Item", "fields": [{"name": "price", "type": "Price"}]}
    registry.register("item", item, [Reference("Price", "price", 1)])

    ours = client(registry)
    assert [one["name"] for one in ours.references_of(ours.latest("item"))] == ["Money", "Price"]


def test_a_directory_is_registered_as_a_release_does_it(registry: FakeSchemaRegistry, tmp_path: Path) -> None:
    (tmp_path / "event.placed.avsc").write_text(json.dumps(ONE))
    registry.register_path(tmp_path)

    assert [branch["name"] for branch in client(registry).latest("event.placed").schema] == [
        "event_metadata",
        "OrderPlaced",
    ]


def test_it_says_what_it_was_asked(registry: FakeSchemaRegistry) -> None:
    with pytest.raises(SchemaNotFound):
        client(registry).latest("order.placed")

    assert registry.requests == ["GET /subjects/order.placed/versions/latest"]


def test_what_was_registered_outlives_a_restart() -> None:
    registry = FakeSchemaRegistry()
    with registry:
        registry.register("order.placed", ONE)
    with pytest.raises(RuntimeError, match="not running"):
        _ = registry.url
    with registry:
        assert client(registry).subjects() == ["order.placed"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("PATCH", "/subjects", b"", 501),
        ("PUT", "/subjects", b"", 405),
        ("POST", "/subjects/a/versions", b"{", 400),
        ("POST", "/subjects/a/versions", b"[]", 422),
        ("POST", "/subjects/a/versions", b'{"schema": "\\"int\\"", "schemaType": "JSON"}', 422),
        ("POST", "/subjects/a/versions", b'{"schema": "\\"int\\"", "references": [{}]}', 422),
        ("GET", "/subjects/a/versions/x", b"", 422),
        ("PUT", "/mode", b'{"mode": "NEITHER"}', 422),
        ("GET", "/config/a", b"", 404),
        ("GET", "/mode/a", b"", 404),
        ("GET", "/mode/a?defaultToGlobal=true", b"", 200),
        ("GET", "/config/a?defaultToGlobal=true", b"", 200),
        ("GET", "/schemas/types", b"", 200),
        ("GET", "/", b"", 200),
    ],
)
def test_other_calls_end_in_a_status(
    registry: FakeSchemaRegistry, method: str, path: str, body: bytes, status: int
) -> None:
    assert requests.request(method, registry.url + path, data=body, timeout=5).status_code == status
