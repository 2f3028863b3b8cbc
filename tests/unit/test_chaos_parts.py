"""The parts of the chaos suite that need no service: schedule, events, journal, formats, and what they may import."""

from __future__ import annotations

import ast
import itertools
import struct
from pathlib import Path

import pytest

from kaufmann_celery.partitions.commit_metadata import Committed
from tests.chaos import commits, journal
from tests.chaos.evidence import Evidence
from tests.chaos.kafka_evidence import _published
from tests.chaos.kafka_log import read_partition
from tests.chaos.mutations import MUTATIONS, Mutation
from tests.chaos.options import Options
from tests.chaos.outstanding import Ledger, OwnClaims
from tests.chaos.production import orders
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import KINDS, lasts_s, schedule
from tests.unit.chaos_evidence import fault, good

CHAOS = Path(__file__).parents[1] / "chaos"
#: What judges a run, and what it judges by.
JUDGES = sorted(
    [*CHAOS.glob("checks/*.py"), *(CHAOS / f"{name}.py" for name in (
        "checker", "commits", "evidence", "journal", "kafka_evidence", "kafka_log", "outstanding", "report", "varint",
    ))]
)  # fmt: skip


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_the_judge_shares_no_code_with_what_it_judges(path: Path) -> None:
    judges = {f"tests.chaos.{one.relative_to(CHAOS).with_suffix('').as_posix().replace('/', '.')}" for one in JUDGES}
    ours = {name for name in imports_of(path) if name.startswith("tests.") and name != "tests.chaos"}

    assert not any(name.startswith("kaufmann_celery") for name in imports_of(path))
    assert {name for name in ours if not any(name.startswith(judge) for judge in judges)} == set()


@pytest.mark.parametrize("path", sorted(CHAOS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def options(seed: int = 1, **fields: object) -> Options:
    return Options(seed=seed, directory=Path(), **fields)  # type: ignore[arg-type] # any field


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another() -> None:
    assert schedule(options(1)) == schedule(options(1)) != schedule(options(2))


def test_every_kind_of_fault_comes_once_before_any_comes_twice() -> None:
    faults = schedule(options(faults=len(KINDS)))

    assert {one.kind for one in faults} == set(KINDS)
    assert [one.at_s for one in faults] == sorted(one.at_s for one in faults)
    assert lasts_s(faults) > faults[-1].at_s


def test_a_seed_gives_the_same_events_again_with_skewed_keys() -> None:
    some = list(itertools.islice(orders(1, 32), 5000))
    keys = [one.key for one in some]

    assert some == list(itertools.islice(orders(1, 32), 5000))
    assert keys.count("key-0") > 10 * keys.count("key-500")
    assert len({one.partition for one in some}) == 32
    assert {one.kind for one in some} >= {"plain", "failing", "flaky", "broken", "unwanted", "deadly"}
    assert len({(one.key, one.partition) for one in some}) == len(set(keys))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_every_mutation_still_finds_what_it_changes(mutation: Mutation, tmp_path: Path) -> None:
    mutation.apply(tmp_path / "package")


def test_the_journal_tells_runs_that_ended_from_those_that_did_not(tmp_path: Path) -> None:
    written = journal.Journal(str(tmp_path / "journal"))
    first, second = written.start(3, 7, 1, "task"), written.start(3, 8, 2, "task")
    written.end(first, "retry")
    written.dies(second)
    with (tmp_path / "journal").open() as lines:
        (one, other), shift = journal.read(lines)

    assert (one.partition, one.offset, one.attempt, one.status, one.dies) == (3, 7, 1, "retry", False)
    assert one.ended is not None
    assert one.started <= one.ended
    assert (other.attempt, other.status, other.ended, other.dies) == (2, None, None, True)
    assert other.died is not None
    assert other.started <= other.died
    assert shift < 0.01


def test_evidence_is_the_same_once_saved_and_loaded(tmp_path: Path) -> None:
    evidence = good()
    evidence.incidents.append(fault("child-kill", 1.0, killed=[21]))
    evidence.save(tmp_path / "evidence")

    assert Evidence.load(tmp_path / "evidence") == evidence


@pytest.mark.parametrize("unfinished", [(), (100,), (101, 105, 300), tuple(range(100, 400, 2))])
def test_metadata_is_read_as_it_was_written(unfinished: tuple[int, ...]) -> None:
    written = Committed(100, 500, unfinished, "abc").metadata()

    assert commits.parse_metadata(100, written) == (500, frozenset(unfinished))


@pytest.mark.parametrize("metadata", ["", "kc2.abc.dgA", "kc1..dgA"])
def test_metadata_of_another_form_is_unreadable(metadata: str) -> None:
    with pytest.raises(commits.Unreadable):
        commits.parse_metadata(1, metadata)


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


@pytest.mark.parametrize(
    "value",
    [
        struct.pack(">hq", 1, 42) + text("meta") + struct.pack(">qq", 5000, -1),
        struct.pack(">hqi", 3, 42, 0) + text("meta") + struct.pack(">q", 5000),
        struct.pack(">hqi", 4, 42, 0) + b"\x05meta" + struct.pack(">q", 5000) + b"\x00",
    ],
)
def test_commits_are_read_in_each_version(value: bytes) -> None:
    assert commits.parse_value(value) == (42, "meta")


def test_a_commits_key_names_group_topic_and_partition() -> None:
    key = struct.pack(">h", 1) + text("group") + text("topic") + struct.pack(">i", 3)

    assert commits.parse_key(key) == commits.CommitKey("group", "topic", 3)
    assert commits.parse_key(struct.pack(">h", 2) + text("group")) is None


@pytest.mark.parametrize(
    "value",
    [
        struct.pack(">h", 3) + text("consumer") + struct.pack(">i", 7) + b"rest",
        struct.pack(">h", 4) + b"\x09consumer" + struct.pack(">i", 7) + b"rest",
    ],
)
def test_a_groups_generation_is_read_in_each_version(value: bytes) -> None:
    assert commits.parse_group(struct.pack(">h", 2) + text("group")) == "group"
    assert commits.parse_group(struct.pack(">h", 1) + text("group")) is None
    assert commits.parse_generation(value) == 7


def test_what_an_ingester_took_over_is_told_from_what_it_claimed() -> None:
    claims = OwnClaims()

    def seen(member: str, *offsets: int) -> tuple[int, int]:
        (sample,) = claims.observe(1.0, [Ledger(0, member, 1, frozenset(offsets))])
        return sample.own, sample.all

    assert seen("one", 1, 2) == (0, 2)  # whose they are is not known yet
    assert seen("one", 1, 2, 3) == (1, 3)
    assert seen("two", 2, 3) == (0, 2)
    assert seen("two", 3, 4, 5) == (2, 3)
    assert seen("one", 3, 4, 5, 6) == (0, 4)
    assert seen("two", 4, 5, 6) == (0, 3)
    assert [one.member for one in claims.owners] == ["one", "two", "one", "two"]


def test_what_an_ingester_has_let_go_of_is_not_outstanding_there() -> None:
    ledgers = [Ledger(0, "one", 1, frozenset({1, 2})), Ledger(1, "one", 2, frozenset({3}))]

    assert [one.all for one in OwnClaims().observe(1.0, ledgers)] == [1]


def test_a_proxy_that_is_away_refuses_and_then_takes_connections_again() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        proxy = Proxy(port, target.getsockname()[1])
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                there, _ = target.accept()
                client.sendall(b"hello")
                assert there.recv(5) == b"hello"
                with proxy.away():
                    client.settimeout(10)
                    assert client.recv(1) == b""
                    with pytest.raises(ConnectionError):
                        socket.create_connection(("127.0.0.1", port), 5)
                there.close()
            with socket.create_connection(("127.0.0.1", port), 5):
                target.accept()[0].close()
        finally:
            proxy.stop()


def test_an_output_and_an_error_event_name_their_event() -> None:
    class Record:
        topic, partition, offset, timestamp, key, value = "out", 1, 2, 3000, b"k", b'{"meta": {"message_id": "b"}}'
        headers: tuple[tuple[str, bytes], ...] = (("chaos-source", b"4:5:1"), ("kaufmann-meta", b'{"message_id": "a"}'))

    class ErrorRecord(Record):
        headers = (
            ("kaufmann-original-partition", b"4"), ("kaufmann-original-offset", b"5"), ("kaufmann-error-type", b"Oops"),
        )  # fmt: skip

    one, other = _published(Record()), _published(ErrorRecord())

    assert (one.partition, one.offset, one.index, one.message_id, one.at) == (4, 5, 1, "a", 3.0)
    assert (other.partition, other.offset, other.index, other.message_id, other.error_type) == (4, 5, -1, "b", "Oops")
    assert one.digest != other.digest


def zigzag(number: int) -> bytes:
    number, out = number << 1 ^ number >> 63, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def batch(value: bytes, *, at_ms: int, attributes: int = 0, producer: int = -1, key: bytes = b"k") -> bytes:
    body = b"\0" + zigzag(0) + zigzag(0) + zigzag(len(key)) + key + zigzag(len(value)) + value + zigzag(0)
    record = zigzag(len(body)) + body
    fields = (0, 49 + len(record), 0, 2, 0, attributes, 0, at_ms, at_ms, producer, 0, 0, 1)
    return struct.pack(">qiibIhiqqqhii", *fields) + record


def test_a_transactions_records_take_effect_when_it_is_committed(tmp_path: Path) -> None:
    abort, commit = struct.pack(">hh", 0, 0), struct.pack(">hh", 0, 1)
    log = [
        batch(b"plain", at_ms=1000),
        batch(b"first", at_ms=2000, attributes=0x10, producer=7),
        batch(b"other", at_ms=2500, attributes=0x10, producer=8),
        batch(b"between", at_ms=3000),
        batch(b"", at_ms=4000, attributes=0x30, producer=7, key=commit),
        batch(b"", at_ms=5000, attributes=0x30, producer=8, key=abort),
    ]
    (tmp_path / "00.log").write_bytes(b"".join(log) + bytes(40))

    found = [(one.value, one.at) for one in read_partition(tmp_path)]

    assert found == [(b"plain", 1.0), (b"between", 3.0), (b"first", 4.0)]
