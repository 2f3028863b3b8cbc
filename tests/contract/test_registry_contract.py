"""One body of tests over FakeSchemaRegistry and over a real registry, Apicurio, so that the fake stays honest.

Each runs with our client and with two that are not ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from kaufmann_celery.testing import FakeSchemaRegistry
from tests.integration.service_process import unique

if not os.environ.get("CI"):
    for package in ("confluent_kafka.schema_registry", "schema_registry.client"):
        pytest.importorskip(package)

from tests.contract.registry_clients import CLIENTS, Client, Missing, Rejected


def record(*fields: tuple[str, Any] | tuple[str, Any, Any], name: str = "OrderPlaced") -> dict[str, Any]:
    """A record of (name, type) or (name, type, default)."""
    described = [dict(zip(("name", "type", "default"), one, strict=False)) for one in fields]
    return {"type": "record", "name": name, "fields": described}


ONE = record(("id", "string"))
#: Reads what ONE wrote.
WITH_DEFAULT = record(("id", "string"), ("note", "string", ""))
#: Does not.
WITHOUT_DEFAULT = record(("id", "string"), ("note", "string"))


@pytest.fixture(params=["fake", "apicurio"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A registry in which new versions must read what the version before wrote."""
    if request.param == "fake":
        with FakeSchemaRegistry() as registry:
            yield registry.url
        return
    real: str = request.getfixturevalue("stack")["KAUFMANN_SCHEMA_REGISTRY_URL"]
    requests.put(f"{real}/config", json={"compatibility": "BACKWARD"}, timeout=10).raise_for_status()
    yield real
    requests.put(f"{real}/config", json={"compatibility": "NONE"}, timeout=10).raise_for_status()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Client]:
    make: Callable[[str], Client] = CLIENTS[request.param]
    with closing(make(url)) as one:
        yield one


@pytest.fixture
def subject() -> str:
    return unique("order.placed")


def test_what_was_registered_is_found_by_id_and_by_subject(client: Client, subject: str) -> None:
    schema_id = client.register(subject, ONE)

    assert client.by_id(schema_id) == ONE
    assert client.latest(subject) == (1, ONE)
    assert client.versions(subject) == [1]
    assert subject in client.subjects()


def test_the_same_schema_keeps_its_id_and_makes_no_version(client: Client, subject: str) -> None:
    first = client.register(subject, ONE)

    assert client.register(subject, ONE) == first
    assert client.register(f"{subject}.other", ONE) == first
    assert client.versions(subject) == [1]


def test_a_compatible_schema_is_the_next_version(client: Client, subject: str) -> None:
    first = client.register(subject, ONE)
    second = client.register(subject, WITH_DEFAULT)

    assert first != second
    assert client.latest(subject) == (2, WITH_DEFAULT)
    assert client.versions(subject) == [1, 2]


def test_an_incompatible_schema_is_refused(client: Client, subject: str) -> None:
    client.register(subject, ONE)

    with pytest.raises(Rejected):
        client.register(subject, WITHOUT_DEFAULT)
    assert client.versions(subject) == [1]


def test_compatibility_can_be_asked_for_before(client: Client, subject: str) -> None:
    assert client.is_compatible(subject, ONE)
    client.register(subject, ONE)

    assert client.is_compatible(subject, WITH_DEFAULT)
    assert not client.is_compatible(subject, WITHOUT_DEFAULT)


def test_what_is_missing_is_missing(client: Client, subject: str) -> None:
    with pytest.raises(Missing):
        client.latest(subject)
    with pytest.raises(Missing):
        client.by_id(999_999)


NO_SCHEMAS: dict[str, Any] = {
    "an unknown type": record(("id", "string"), ("kind", "NoSuchType")),
    "two fields of one name": record(("id", "string"), ("id", "long")),
    "one type twice in a union": record(("id", ["int", "int"])),
    "a union in a union": record(("id", ["null", ["int", "string"]])),
    "a fixed of less than nothing": record(("id", {"type": "fixed", "name": "Hash", "size": -1})),
    "a name with a hyphen": record(("id", "string"), name="Order-Placed"),
}


@pytest.mark.parametrize("what", NO_SCHEMAS)
def test_what_is_no_schema_is_refused(client: Client, subject: str, what: str) -> None:
    with pytest.raises(Rejected):
        client.register(subject, NO_SCHEMAS[what])


@pytest.mark.parametrize("what", NO_SCHEMAS)
def test_a_schema_that_is_none_has_the_same_status_and_code(url: str, subject: str, what: str) -> None:
    body = {"schema": json.dumps(NO_SCHEMAS[what])}
    status, said = ask("POST", f"{url}/subjects/{subject}/versions", body)

    assert (status, said["error_code"]) == (422, 42201)


def test_a_deleted_subject_is_gone_and_its_schema_is_not(client: Client, subject: str) -> None:
    schema_id = client.register(subject, ONE)

    assert client.delete(subject) == [1]
    with pytest.raises(Missing):
        client.latest(subject)
    assert subject not in client.subjects()
    assert client.by_id(schema_id) == ONE


def kinds(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Kind", "symbols": list(symbols), **more}


CHANGES: dict[str, tuple[Any, Any, bool]] = {
    "a wider number": ("int", "long", True),
    "a narrower number": ("long", "int", False),
    "bytes for text": ("string", "bytes", True),
    "another type": ("string", "int", False),
    "one more branch": (["null", "string"], ["null", "string", "int"], True),
    "one branch less": (["null", "string", "int"], ["null", "string"], False),
    "a branch for what was none": ("string", ["null", "string"], True),
    "an array of a wider number": ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}, True),
    "a map of another type": ({"type": "map", "values": "int"}, {"type": "map", "values": "string"}, False),
    "one more symbol": (kinds("A"), kinds("A", "B"), True),
    "one symbol less": (kinds("A", "B"), kinds("A"), False),
    "one symbol less, with a default": (kinds("A", "B"), kinds("A", default="A"), True),
    "another size": ({"type": "fixed", "name": "Hash", "size": 4}, {"type": "fixed", "name": "Hash", "size": 8}, False),
    "a field more inside": (record(("a", "int"), name="In"), record(("a", "int"), ("b", "int"), name="In"), False),
    "a field less inside": (record(("a", "int"), ("b", "int"), name="In"), record(("a", "int"), name="In"), True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_a_type_are_judged_alike(url: str, subject: str, change: str) -> None:
    before, after, fits = CHANGES[change]
    client = CLIENTS["ours"](url)
    client.register(subject, record(("id", "string"), ("changed", before)))

    assert client.is_compatible(subject, record(("id", "string"), ("changed", after))) is fits


@pytest.mark.parametrize(
    ("level", "refused"),
    [
        ("NONE", set()),
        ("BACKWARD", {"without default"}),
        ("FORWARD", {"field less"}),
        ("FULL", {"without default", "field less"}),
    ],
)
def test_a_subjects_level_decides(url: str, subject: str, level: str, refused: set[str]) -> None:
    candidates = {"without default": WITHOUT_DEFAULT, "field less": record(), "with default": WITH_DEFAULT}
    client = CLIENTS["ours"](url)
    client.register(subject, ONE)
    assert ask("PUT", f"{url}/config/{subject}", {"compatibility": level})[0] == 200

    assert {name for name, one in candidates.items() if not client.is_compatible(subject, one)} == refused


CALLS: dict[str, tuple[str, str, Any, int, int | None]] = {
    "versions of an unknown subject": ("GET", "/subjects/NONE/versions", None, 404, 40401),
    "the latest of an unknown subject": ("GET", "/subjects/NONE/versions/latest", None, 404, 40401),
    "an unknown version": ("GET", "/subjects/SUBJECT/versions/7", None, 404, 40402),
    "an unknown id": ("GET", "/schemas/ids/999999", None, 404, 40403),
    "a schema that the subject lacks": ("POST", "/subjects/SUBJECT", {"schema": json.dumps(WITH_DEFAULT)}, 404, 40403),
    "a schema that an unknown subject lacks": ("POST", "/subjects/NONE", {"schema": json.dumps(ONE)}, 404, 40401),
    "text that is no JSON": ("POST", "/subjects/NONE/versions", {"schema": "{"}, 422, 42201),
    "an unknown type": ("POST", "/subjects/NONE/versions", {"schema": '{"type":"nope"}'}, 422, 42201),
    "an unknown level": ("PUT", "/config/SUBJECT", {"compatibility": "BOGUS"}, 422, 42203),
    "deleting what is not there": ("DELETE", "/subjects/NONE", None, 404, 40401),
    "a GUID of nothing": ("GET", "/schemas/guids/00000000-0000-0000-0000-000000000001", None, 404, None),
    "another path": ("GET", "/nothing", None, 404, None),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_has_the_same_status_and_code(url: str, subject: str, call: str) -> None:
    method, path, body, status, code = CALLS[call]
    CLIENTS["ours"](url).register(subject, ONE)
    found, said = ask(method, url + path.replace("SUBJECT", subject).replace("NONE", f"{subject}.none"), body)

    assert found == status
    assert code is None or said["error_code"] == code


def test_a_reference_is_found_kept_and_protected(url: str, subject: str) -> None:
    client, used = CLIENTS["ours"](url), f"{subject}.money"
    client.register(used, record(("cents", "long"), name="Money"))
    schema = json.dumps(record(("total", "Money"), name="Uses"))
    references = [{"name": "Money", "subject": used, "version": 1}]

    status, said = ask("POST", f"{url}/subjects/{subject}/versions", {"schema": schema, "references": references})
    assert status == 200
    assert ask("GET", f"{url}/subjects/{subject}/versions/latest")[1]["references"] == references
    assert ask("GET", f"{url}/subjects/{used}/versions/1/referencedby") == (200, [said["id"]])
    assert ask("DELETE", f"{url}/subjects/{used}")[1]["error_code"] == 42206
    missing = [{"name": "Money", "subject": used, "version": 9}]
    refused = ask("POST", f"{url}/subjects/{subject}.x/versions", {"schema": schema, "references": missing})
    assert (refused[0], refused[1]["error_code"]) == (422, 42201)


def test_a_permanent_deletion_comes_second_and_numbering_begins_anew(url: str, subject: str) -> None:
    client, at = CLIENTS["ours"](url), f"{url}/subjects/{subject}"
    client.register(subject, ONE)
    client.register(subject, WITH_DEFAULT)

    assert ask("DELETE", f"{at}?permanent=true")[1]["error_code"] == 40405
    assert ask("DELETE", at) == (200, [1, 2])
    assert ask("DELETE", at)[1]["error_code"] == 40404
    assert subject in ask("GET", f"{url}/subjects?deleted=true")[1]
    assert ask("DELETE", f"{at}?permanent=true") == (200, [1, 2])
    assert subject not in ask("GET", f"{url}/subjects?deleted=true")[1]
    client.register(subject, ONE)
    assert client.versions(subject) == [1]


def test_one_version_can_be_deleted(url: str, subject: str) -> None:
    client, at = CLIENTS["ours"](url), f"{url}/subjects/{subject}/versions"
    client.register(subject, ONE)
    client.register(subject, WITH_DEFAULT)

    assert ask("DELETE", f"{at}/1") == (200, 1)
    assert client.versions(subject) == [2]
    assert ask("DELETE", f"{at}/1?permanent=true") == (200, 1)


@pytest.mark.parametrize("by", ["ours", "confluent-kafka"])
def test_a_subjects_name_may_hold_anything(url: str, subject: str, by: str) -> None:
    name = f"{subject} a/b#ü"
    with closing(CLIENTS[by](url)) as client:
        client.register(name, ONE)

        assert client.latest(name) == (1, ONE)
        assert name in client.subjects()


def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    """Return status and JSON; None where the body is none."""
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    response = requests.request(method, url, json=body, headers=headers, timeout=10)
    try:
        return response.status_code, response.json()
    except ValueError:
        return response.status_code, None
