from __future__ import annotations

import base64
import json
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kaufmann_celery.errors import ConfigError, EventError, UnavailableError
from kaufmann_celery.registry.client import Reference, SchemaNotFound, SchemaRegistry, SchemaRejected


@dataclass
class Loopback:
    """A server that answers each path as it was told, and remembers what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any, str | None]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    def says(self, path: str, body: Any, status: int = 200) -> None:
        self.answers[path] = (status, body)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.asked]


@pytest.fixture
def server() -> Iterator[Loopback]:
    state = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            state.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            status, said = state.answers.get(self.path, (404, {"error_code": 40401, "message": "Subject not found."}))
            if said == "hold":
                state.hold.wait(20)
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    yield state
    state.hold.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


LATEST = "/subjects/order.placed/versions/latest"
REGISTERED = {"subject": "order.placed", "id": 7, "version": 2, "schema": '"string"'}


def client(server: Loopback, **more: Any) -> SchemaRegistry:
    return SchemaRegistry([server.url], **more)


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_schema_by_id_is_asked_for_once(server: Loopback) -> None:
    server.says("/schemas/ids/7", {"schema": '{"type":"int"}'})
    registry = client(server)
    assert [registry.by_id(7).schema for _ in range(3)] == [{"type": "int"}] * 3
    assert registry.by_id(7).id == 7
    assert server.paths == ["/schemas/ids/7"]


def test_a_schema_by_guid_is_asked_for_once(server: Loopback) -> None:
    server.says("/schemas/guids/a-b", {"schema": '"int"'})
    registry = client(server)
    assert [registry.by_guid("a-b").schema for _ in range(2)] == ["int", "int"]
    assert len(server.asked) == 1


def test_a_registry_without_guids_has_no_such_schema(server: Loopback) -> None:
    server.says("/schemas/guids/a-b", b"<html>", 404)
    server.says("/subjects", [])
    with pytest.raises(SchemaNotFound, match="no schema with GUID a-b: it was deleted, or another registry has it"):
        client(server).by_guid("a-b")


def test_what_is_missing_is_named(server: Loopback) -> None:
    for path in ("/schemas/ids/9", "/subjects/a/versions/3", "/subjects/a/versions"):
        server.says(path, {"error_code": 40403, "message": "none"}, 404)
    registry = client(server)
    with pytest.raises(SchemaNotFound, match=r"no schema with id 9: .*schema_registry_url"):
        registry.by_id(9)
    with pytest.raises(SchemaNotFound, match="no version 3 of subject a: it was deleted"):
        registry.version("a", 3)
    with pytest.raises(SchemaNotFound, match=r"no subject a: put a\.avsc into schema_path"):
        registry.versions("a")


PROXYS_REFUSALS: list[tuple[int, Any]] = [
    (400, b"<html>bad request</html>"),
    (404, b"<html>not found</html>"),
    (404, {"message": "no route"}),
    (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
    (405, b""),
    (414, {"message": "too long"}),
]


@pytest.mark.parametrize(("status", "body"), PROXYS_REFUSALS)
def test_a_proxys_refusal_before_a_registry_that_answers_is_the_events_fault(
    server: Loopback, status: int, body: Any
) -> None:
    server.says(LATEST, body, status)
    server.says("/subjects", ["a"])
    with pytest.raises(SchemaNotFound if status == 404 else SchemaRejected):
        client(server).latest("order.placed")


@pytest.mark.parametrize(("status", "body"), PROXYS_REFUSALS)
@pytest.mark.parametrize("subjects", [(404, b"<html>"), (200, b"<html>"), (200, {}), (403, b""), (502, b"")])
def test_a_proxys_refusal_before_no_registry_is_no_fault_of_the_event(
    server: Loopback, status: int, body: Any, subjects: tuple[int, Any]
) -> None:
    server.says(LATEST, body, status)
    server.says("/subjects", subjects[1], subjects[0])
    with pytest.raises(UnavailableError, match="schema_registry_url"):
        client(server).latest("order.placed")


def test_a_registry_behind_another_url_is_asked_where_a_proxy_refuses(server: Loopback) -> None:
    server.says("/wrong" + LATEST, b"<html>", 404)
    server.says("/wrong/subjects", b"<html>", 404)
    server.says(LATEST, REGISTERED)
    assert SchemaRegistry([f"{server.url}/wrong", server.url]).latest("order.placed").id == 7


def test_the_latest_version_is_believed_for_a_time(server: Loopback) -> None:
    server.says(LATEST, REGISTERED)
    clock = Clock()
    registry = client(server, clock=clock, latest_ttl=60)
    first = registry.latest("order.placed")
    assert (first.id, first.subject, first.version, first.schema) == (7, "order.placed", 2, "string")
    server.says(LATEST, REGISTERED | {"id": 8})
    clock.now += 59
    assert registry.latest("order.placed").id == 7
    clock.now += 2
    assert registry.latest("order.placed").id == 8


def test_a_known_latest_version_outlives_an_outage(server: Loopback) -> None:
    server.says(LATEST, REGISTERED)
    clock = Clock()
    registry = client(server, clock=clock, latest_ttl=60, miss_ttl=5)
    registry.latest("order.placed")
    server.says(LATEST, {"error_code": 50001}, 500)
    clock.now += 61
    assert [registry.latest("order.placed").id for _ in range(5)] == [7] * 5
    assert len(server.asked) == 2
    clock.now += 6
    server.says(LATEST, REGISTERED | {"id": 8})
    assert registry.latest("order.placed").id == 8


@pytest.mark.parametrize("code", [40401, "40401", 40402, 40403, "40404"])
def test_what_is_missing_is_missed_for_a_time(server: Loopback, code: Any) -> None:
    server.says(LATEST, {"error_code": code, "message": "none"}, 404)
    clock = Clock()
    registry = client(server, clock=clock, miss_ttl=5)
    said = "no subject order.placed: put order.placed.avsc into schema_path and run `kaufmann migrate-schemas`"
    for _ in range(3):
        with pytest.raises(SchemaNotFound, match=said):
            registry.latest("order.placed")
    assert len(server.asked) == 1
    server.says(LATEST, REGISTERED)
    clock.now += 6
    assert registry.latest("order.placed").id == 7


def test_registering_ends_the_miss_at_once(server: Loopback) -> None:
    registry = client(server)
    with pytest.raises(SchemaNotFound):
        registry.latest("order.placed")
    server.says("/subjects/order.placed/versions", {"id": 7})
    server.says(LATEST, REGISTERED)
    assert registry.register("order.placed", "string") == 7
    assert registry.latest("order.placed").id == 7
    assert server.asked[1][2] == {"schema": '"string"'}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error_code": 50001}),
        (502, b"bad gateway"),
        (503, b""),
        (408, {}),
        (429, {}),
        (200, b"<html>hello</html>"),
        (200, []),
        (200, {"unexpected": 1}),
        (200, {"schema": "no json"}),
        (404, b"<html>not found</html>"),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (401, {"error_code": 40101, "message": "Unauthorized"}),
        (403, b""),
        (407, b"<html>"),
        (425, b""),
    ],
)
def test_an_answer_that_may_get_better_is_no_fault_of_the_event(server: Loopback, status: int, body: Any) -> None:
    server.says(LATEST, body, status)
    with pytest.raises(UnavailableError) as caught:
        client(server).latest("order.placed")
    assert server.url not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_message_names_the_setting(server: Loopback, status: int) -> None:
    server.says(LATEST, {}, status)
    with pytest.raises(UnavailableError, match="schema_registry_url"):
        client(server).latest("order.placed")


def test_a_slow_answer_is_unavailable(server: Loopback) -> None:
    server.says(LATEST, "hold")
    with pytest.raises(UnavailableError, match="Timeout"):
        client(server, timeout=0.1).latest("order.placed")


def test_a_refused_connection_is_unavailable(nobody: str) -> None:
    with pytest.raises(UnavailableError, match="schema_registry_url"):
        SchemaRegistry([nobody]).ping()


def test_the_next_url_is_asked_where_one_does_not_answer(server: Loopback, nobody: str) -> None:
    server.says("/subjects", ["a"])
    registry = SchemaRegistry([nobody, server.url])
    assert registry.subjects() == ["a"]
    registry.ping()


def test_a_path_in_the_url_is_kept(server: Loopback) -> None:
    server.says("/apis/ccompat/v7/subjects", [])
    SchemaRegistry([f"{server.url}/apis/ccompat/v7/"]).ping()


def test_credentials_become_basic_auth_and_show_nowhere(server: Loopback) -> None:
    server.says("/subjects", ["a"])
    registry = SchemaRegistry([server.url.replace("//", "//us%40er:p%2Fw%3A@")])
    registry.ping()
    sent = server.asked[0][3] or ""
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"us@er:p/w:"
    server.says("/subjects", {}, 401)
    with pytest.raises(UnavailableError) as caught:
        registry.ping()
    for shown in (str(caught.value), repr(registry), repr(vars(registry))):
        assert "us@er" not in shown
        assert "p/w" not in shown


@pytest.mark.parametrize("urls", [[], ["localhost:8081"], ["ftp://host"], ["http://"], [""]])
def test_what_is_no_url_is_a_config_error(urls: list[str]) -> None:
    with pytest.raises(ConfigError, match="schema_registry_url"):
        SchemaRegistry(urls)


def test_subjects_are_percent_encoded(server: Loopback) -> None:
    server.says("/subjects/a%2Fb%20%23%C3%A9/versions", [2, 1])
    assert client(server).versions("a/b #é") == [1, 2]


def test_versions_are_cached_for_ever(server: Loopback) -> None:
    server.says("/subjects/order.placed/versions/1", REGISTERED | {"version": 1})
    registry = client(server)
    assert [registry.version("order.placed", 1).version for _ in range(2)] == [1, 1]
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [409, 40901, "40901"])
def test_an_incompatible_schema_is_rejected_with_the_registrys_reason(server: Loopback, code: Any) -> None:
    server.says("/subjects/order.placed/versions", {"error_code": code, "message": "field a is gone"}, 409)
    with pytest.raises(SchemaRejected, match="field a is gone"):
        client(server).register("order.placed", "string")


def test_an_invalid_schema_is_rejected(server: Loopback) -> None:
    server.says("/subjects/order.placed/versions", {"error_code": 42201, "message": "invalid"}, 422)
    with pytest.raises(SchemaRejected, match="422"):
        client(server).register("order.placed", "string")


COMPATIBILITY = "/compatibility/subjects/order.placed/versions/latest?verbose=true"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"is_compatible": True}, []),
        (200, {"is_compatible": False, "messages": ["a is gone"]}, ["a is gone"]),
        (200, {"is_compatible": False}, ["not compatible with the latest version"]),
        (404, {"error_code": 40401}, []),
    ],
)
def test_compatibility_is_a_list_of_faults(server: Loopback, status: int, body: Any, expected: list[str]) -> None:
    server.says(COMPATIBILITY, body, status)
    assert client(server).check_compatibility("order.placed", "string") == expected


def test_references_are_sent_and_come_back_in_order(server: Loopback) -> None:
    server.says("/subjects/a/versions", {"id": 3})
    registry = client(server)
    registry.register("a", "b", [Reference("b", "b", 1)])
    assert server.asked[0][2] == {
        "schema": '"b"',
        "references": [{"name": "b", "subject": "b", "version": 1}],
    }
    for subject, needs in (("a", ["b", "c"]), ("b", ["c"]), ("c", [])):
        references = [{"name": name, "subject": name, "version": 1} for name in needs]
        said = {"id": 1, "subject": subject, "version": 1, "schema": json.dumps({"name": subject})}
        server.says(f"/subjects/{subject}/versions/1", said | {"references": references})
    assert registry.references_of(registry.version("a", 1)) == [{"name": "c"}, {"name": "b"}]


def test_a_schema_of_another_type_is_the_events_fault(server: Loopback) -> None:
    server.says(LATEST, REGISTERED | {"schemaType": "PROTOBUF"})
    with pytest.raises(EventError, match="PROTOBUF"):
        client(server).latest("order.placed")


def test_a_deleted_subject_is_forgotten(server: Loopback) -> None:
    server.says(LATEST, REGISTERED)
    registry = client(server)
    registry.latest("order.placed")
    server.says("/subjects/order.placed", [1, 2])
    server.says("/subjects/order.placed?permanent=true", [1, 2])
    assert registry.delete_subject("order.placed") == [1, 2]
    assert registry.delete_subject("order.placed", permanent=True) == [1, 2]
    del server.answers[LATEST]
    with pytest.raises(SchemaNotFound):
        registry.latest("order.placed")


def test_many_threads_may_ask_at_once(server: Loopback) -> None:
    for number in range(20):
        server.says(f"/schemas/ids/{number}", {"schema": str(number)})
    registry = client(server)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: registry.by_id(number % 20).schema, range(200)))
    assert found == [number % 20 for number in range(200)]


def _in_child(registry: SchemaRegistry, answer: Any) -> None:
    answer.put(registry.by_id(2).schema)


def test_a_forked_child_makes_its_own_connection(server: Loopback) -> None:
    server.says("/schemas/ids/1", {"schema": "1"})
    server.says("/schemas/ids/2", {"schema": "2"})
    registry = client(server)
    registry.by_id(1)
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(registry, answer))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert answer.get() == 2
    assert registry.by_id(2).schema == 2
