from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.outputs.outcome import HANDLED, Outcome, OutRecord, decode

texts = st.text(st.characters(codec="utf-8"), max_size=20)
records = st.builds(
    OutRecord,
    topic=texts,
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    headers=st.lists(st.tuples(texts, st.binary(max_size=20)), max_size=3).map(tuple),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    partition=st.none() | st.integers(0, 2**31 - 1),
    spread=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(["output", "error", "dead_letter"]),
)
outcomes = st.builds(
    Outcome,
    records=st.lists(records, max_size=4).map(tuple),
    error_type=texts,
    error=texts,
    attempts=st.integers(1, 2**31 - 1),
)


@given(outcomes)
def test_an_outcome_that_says_anything_is_read_back_as_it_was(outcome: Outcome) -> None:
    if outcome.records or outcome.failed:
        assert decode(outcome.encode()) == outcome
    else:
        assert outcome.encode() == b""


@given(outcomes)
def test_encoding_twice_gives_the_same_bytes(outcome: Outcome) -> None:
    assert outcome.encode() == decode(outcome.encode()).encode()


def test_a_handled_event_without_outputs_takes_no_bytes() -> None:
    assert HANDLED.encode() == b""
    assert decode(b"") is HANDLED


def test_a_failure_without_records_is_no_success() -> None:
    outcome = Outcome((), "ValueError", "no", 3)

    assert outcome.failed
    assert decode(outcome.encode()) == outcome


def test_a_message_that_is_no_text_does_not_keep_the_failure_from_being_reported() -> None:
    outcome = decode(Outcome((), "FileNotFoundError", "no such file: '\udcff.csv'").encode())

    assert outcome.error == r"no such file: '\udcff.csv'"


def test_a_records_size_counts_key_value_and_headers() -> None:
    assert OutRecord("t", b"12", b"345", (("67", b"8"),)).size == 8
    assert OutRecord("t", None, None).size == 0


def test_neither_values_nor_messages_show_in_a_repr() -> None:
    outcome = Outcome((OutRecord("t", b"k", b"secret", (("h", b"secret"),)),), "ValueError", "secret")

    assert "secret" not in repr(outcome)
