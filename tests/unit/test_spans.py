"""Offsets as the scripts of the ledger take and give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.ledger.spans import spans, spread


@pytest.mark.parametrize(
    ("offsets", "text"),
    [([], ""), ([7], "7-7"), ([5, 6, 7, 9], "5-7 9-9"), ([9, 5, 6], "9-9 5-6"), ([3, 3, 4], "3-3 3-4")],
)
def test_offsets_that_follow_one_another_are_one_span(offsets: list[int], text: str) -> None:
    assert spans(offsets) == text
    assert spread(text.encode()) == offsets


@given(st.lists(st.integers(0, 2**53) | st.integers(0, 40)))
def test_what_is_written_is_read_in_its_order(offsets: list[int]) -> None:
    assert spread(spans(offsets).encode()) == offsets
