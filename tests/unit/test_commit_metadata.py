from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaufmann_celery.partitions.commit_metadata import MAX_BODY_BYTES, Committed, parse, room, worst_size
from kaufmann_celery.partitions.watermark import Watermark

#: Kafka's default for `offset.metadata.max.bytes`.
MOST_CHARACTERS = 4096
#: As `ownership.py` makes it.
INCARNATION = "0123456789ab"

stable = settings(deadline=None, derandomize=True)


@st.composite
def commits(draw: st.DrawFn) -> Committed:
    offset = draw(st.integers(0, 2**62))
    span = draw(st.one_of(st.integers(0, 300), st.integers(0, 100_000)))
    inside = st.integers(offset, max(offset, offset + span - 1))
    unfinished = draw(st.sets(inside, max_size=80)) if span else set()
    return Committed(offset, offset + span - 1, tuple(sorted(unfinished)), INCARNATION)


#: Offsets delivered, ascending and with gaps.
deliveries = st.lists(st.integers(1, 400), min_size=1, max_size=200).map(
    lambda gaps: [sum(gaps[: at + 1]) for at in range(len(gaps))]
)


@stable
@given(commits())
def test_any_set_is_read_back_as_it_was_written(committed: Committed) -> None:
    assert parse(committed.offset, committed.metadata()) == committed


def test_both_forms_are_read_back() -> None:
    sparse = Committed(0, 100_000, (0, 50_000), INCARNATION)
    dense = Committed(0, 999, tuple(range(0, 999, 2)), INCARNATION)

    assert parse(0, sparse.metadata()) == sparse
    assert parse(0, dense.metadata()) == dense


def test_one_stuck_event_below_many_finished_ones_takes_no_bitmap_as_long_as_the_span() -> None:
    committed = Committed(0, 10_000_000, tuple(range(100)), INCARNATION)

    assert len(committed.metadata()) < 60


@pytest.mark.parametrize(
    ("offset", "held"), [(4, True), (5, False), (6, True), (7, False), (8, True), (9, False), (2**62, False)]
)
def test_a_commit_holds_what_is_below_it_and_what_it_does_not_name(*, offset: int, held: bool) -> None:
    assert Committed(5, 8, (5, 7), INCARNATION).holds(offset) == held


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "kc1",
        "kc1.",
        "kc1..AA",
        "kc2.a.AA",
        Committed(9, 11, (10,), "a").metadata().replace("kc1", "kc2"),
        "kc1.a.",
        "kc1.a.%%%%",
        "kc1.a.A",
        "kc1.\ud800.AAAAAAAA",
        "{}",
        "é",
    ],
)
def test_metadata_of_another_form_means_that_only_the_offset_is_known(metadata: str | None) -> None:
    assert parse(9, metadata) == Committed(9, 8)


@stable
@given(st.one_of(st.text(), st.text("kc1.abAB-_=", max_size=40).map("kc1.a.".__add__)))
def test_no_metadata_is_an_error(metadata: str) -> None:
    assert parse(9, metadata) == Committed(9, 8)


@stable
@given(commits(), st.data())
def test_metadata_that_was_cut_or_changed_is_not_believed(committed: Committed, data: st.DataObject) -> None:
    text = committed.metadata()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126))

    for damaged in (text[:at], text[:at] + other + text[at + 1 :]):
        read = parse(committed.offset, damaged)
        assert read in (committed, Committed(committed.offset, committed.offset - 1))
    assert parse(committed.offset, text[:at]) != committed


@stable
@given(commits(), st.integers(1, 1000))
def test_metadata_copied_to_another_offset_is_not_believed(committed: Committed, shift: int) -> None:
    """A tool that mirrors a group to another cluster translates the offset and copies the metadata."""
    elsewhere = committed.offset + shift

    assert parse(elsewhere, committed.metadata()) == Committed(elsewhere, elsewhere - 1)


@stable
@given(deliveries, st.data())
def test_the_bound_holds_whichever_events_finish_first(offsets: list[int], data: st.DataObject) -> None:
    finished_already = data.draw(st.sets(st.sampled_from(offsets)))
    watermark = Watermark(0)
    for offset in offsets:
        watermark.deliver(offset)
    for offset in finished_already:
        watermark.finish(offset)
    bound = watermark.metadata_size()
    assert bound == worst_size([one for one in offsets if one not in finished_already], watermark.safe_offset)

    for offset in data.draw(st.permutations(offsets)):
        assert body_size(watermark.committed(INCARNATION)) <= bound
        watermark.finish(offset)


@pytest.mark.parametrize(
    "unfinished",
    [
        tuple(range(0, 8 * (MAX_BODY_BYTES - 15), 1)),
        tuple(range(0, 2 * (MAX_BODY_BYTES - 15) * 100, 200)),
        tuple(range(2**62, 2**62 + (MAX_BODY_BYTES - 15) * 16000, 16000)),
    ],
    ids=["dense", "sparse", "very sparse"],
)
def test_what_is_within_the_bound_fits_into_kafkas_characters(unfinished: tuple[int, ...]) -> None:
    while worst_size(unfinished, unfinished[0]) > MAX_BODY_BYTES:
        unfinished = unfinished[: len(unfinished) * 99 // 100]
    committed = Committed(unfinished[0], unfinished[-1] + 10**6, unfinished, INCARNATION)

    assert worst_size(unfinished, unfinished[0]) > MAX_BODY_BYTES * 0.9
    assert len(committed.metadata()) <= MOST_CHARACTERS
    assert parse(committed.offset, committed.metadata()) == committed


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=400), st.sampled_from([100, 20_000, 40_000, 10**6]), st.data())
def test_as_many_more_as_there_is_room_for_still_fit(gaps: list[int], window: int, data: st.DataObject) -> None:
    unfinished = [sum(gaps[:at]) for at in range(len(gaps)) if sum(gaps[:at]) < window]
    more = room(lambda: unfinished, 0, max(unfinished, default=0), window)
    first = unfinished[-1] + 1 if unfinished else 0
    step = data.draw(st.integers(1, max(1, (window - first) // max(1, more))))
    added = range(first, window, step)[:more]

    assert worst_size([*unfinished, *added], 0) <= MAX_BODY_BYTES


def test_a_window_whose_bitmap_fits_leaves_room_for_all_of_it() -> None:
    assert room(lambda: range(5000), 0, 4999, 10_000) >= 5000


def body_size(committed: Committed) -> int:
    return len(committed.metadata().rpartition(".")[2]) * 3 // 4
