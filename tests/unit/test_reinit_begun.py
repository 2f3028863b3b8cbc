"""What is kept in Kafka of a reinit that was begun."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kafka import TopicPartition

from kaufmann_celery.operations.begun import Asked, Part, Reinit, read_back

PLAN = Reinit(
    Asked("24h", "latest", publish=True, topics=("orders:0",)),
    (Part("orders", 0, 10, 100, 10, first=5, committed=90), Part("orders", 1, 0, 7, 0, first=0, committed=None)),
    goes_on=False,
)
A, B = (part.where for part in PLAN.parts)


def kept(plan: Reinit) -> dict[TopicPartition, tuple[int, str]]:
    metadata = plan.as_metadata()
    return {part.where: (part.end, metadata[part.where]) for part in plan.parts}


def test_it_is_read_back_with_how_far_it_has_come() -> None:
    first, second = PLAN.parts
    begun = read_back(kept(PLAN), {A: (40, ""), B: (7, "kc1.x.y")})

    assert begun == Reinit(PLAN.asked, (replace(first, reached=40), replace(second, reached=7)), goes_on=True)
    assert begun.left == 60


def test_offsets_from_before_it_was_begun_do_not_count() -> None:
    begun = read_back(kept(PLAN), {A: (3, ""), B: (1000, "")})

    assert begun is not None
    assert [part.reached for part in begun.parts] == [10, 7]


def test_what_is_finished_or_somebody_elses_is_not_begun() -> None:
    for metadata in ("", "{", "null", "[]", '{"form": "another"}'):
        assert read_back({A: (5, metadata)}, {}) is None
    assert read_back({}, {}) is None


def test_only_partitions_of_the_last_one_are_begun() -> None:
    begun = read_back(kept(PLAN) | {A: (3, "")}, {})

    assert begun is not None
    assert [part.where for part in begun.parts] == [B]


def test_what_is_new_to_the_group_and_what_is_not_is_known() -> None:
    part = PLAN.parts[0]

    assert (part.never_handled, part.handled_again) == (10, 0)
    assert (replace(part, committed=120).never_handled, replace(part, committed=120).handled_again) == (0, 20)
    assert (PLAN.parts[1].never_handled, PLAN.parts[1].handled_again) == (7, 0)


@pytest.mark.parametrize(
    ("starting_offset", "begin"), [(0, "earliest"), ("earliest", "earliest"), (5, "5"), ("0", "0"), ("24h", "24h")]
)
def test_kaufmann_exs_default_is_to_start_at_what_is_there(starting_offset: str | int, begin: str) -> None:
    assert Asked.between(starting_offset, "latest", publish=True) == Asked(begin, "latest", publish=True)


def test_what_was_asked_for_is_said_as_it_is_typed() -> None:
    assert str(PLAN.asked) == "--from 24h --to latest --publish --topic orders:0"
    assert str(Asked()) == "--from earliest --to latest"
