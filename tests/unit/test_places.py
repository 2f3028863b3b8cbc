from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kaufmann_celery.operations.places import Bounds, NoSuchPlace, Place, milliseconds, place_of, time_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOUNDS = Bounds(first=10, end=100, committed=40)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("earliest", Place("earliest")),
        ("latest", Place("latest")),
        ("committed", Place("committed")),
        ("17", Place("offset", 17)),
        ("24h", Place("time", milliseconds(datetime(2026, 1, 30, 12, tzinfo=UTC)))),
        ("2026-01-31T12:00:00", Place("time", milliseconds(NOW))),
        ("2026-01-31T14:00:00+02:00", Place("time", milliseconds(NOW))),
        ("1900-01-01", Place("time", 0)),
    ],
)
def test_a_place_is_read(text: str, place: Place) -> None:
    assert place_of(text, lambda: NOW) == place


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "24", "24 h", "99999999999999d", "2026-13-01", "yesterday"])
def test_what_is_no_time_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(NoSuchPlace, match="24h"):
        time_of(text, lambda: NOW)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604800)])
def test_how_long_ago_has_a_unit(text: str, seconds: int) -> None:
    assert (NOW - time_of(text, lambda: NOW)).total_seconds() == seconds


@pytest.mark.parametrize(
    ("place", "at_time", "offset"),
    [
        (Place("earliest"), None, 10),
        (Place("latest"), None, 100),
        (Place("committed"), None, 40),
        (Place("offset", 10), None, 10),
        (Place("offset", 100), None, 100),
        (Place("time", 1), 70, 70),
        (Place("time", 1), None, 100),
        (Place("time", 1), 3, 10),
        (Place("shift", 20), None, 60),
        (Place("shift", -20), None, 20),
        (Place("shift", 1000), None, 100),
        (Place("shift", -1000), None, 10),
    ],
)
def test_a_place_has_an_offset_in_each_partition(place: Place, at_time: int | None, offset: int) -> None:
    assert place.offset_in(BOUNDS, at_time) == offset


@pytest.mark.parametrize(
    ("place", "bounds", "said"),
    [
        (Place("offset", 101), BOUNDS, "beyond its end, 100"),
        (Place("offset", 9), BOUNDS, "before its first record, 10"),
        (Place("shift", 1), Bounds(0, 5), "not committed"),
        (Place("committed"), Bounds(0, 5), "not committed"),
    ],
)
def test_a_place_that_a_partition_does_not_have_is_told(place: Place, bounds: Bounds, said: str) -> None:
    with pytest.raises(NoSuchPlace, match=said):
        place.offset_in(bounds)


def test_a_place_is_shown_as_people_write_it() -> None:
    shown = [str(Place("shift", -3)), str(Place("offset", 7)), str(Place("latest")), str(Place("time", 0))]

    assert shown == ["-3", "7", "latest", "1970-01-01T00:00:00+00:00"]
