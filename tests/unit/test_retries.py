from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import Retry as CeleryRetry
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.errors import Retry
from kaufmann_celery.tasks.retries import RetryPolicy, as_ours, cause_of

EXACT: Any = {"retry_jitter": False}


@pytest.mark.parametrize(
    ("policy", "error", "delays"),
    [
        (RetryPolicy(), ValueError(), []),
        (RetryPolicy(max_retries=0), ValueError(), []),
        (RetryPolicy(max_retries=3, **EXACT), ValueError(), [1, 2, 4]),
        (RetryPolicy(max_retries=2, retry_backoff=10, **EXACT), ValueError(), [10, 20]),
        (RetryPolicy(max_retries=2, retry_backoff=0.5, **EXACT), ValueError(), [0.5, 1]),
        (RetryPolicy(max_retries=2, retry_backoff=False), ValueError(), [0, 0]),
        (RetryPolicy(max_retries=4, retry_backoff_max=3, **EXACT), ValueError(), [1, 2, 3, 3]),
        (RetryPolicy(autoretry_for=(OSError,), **EXACT), OSError(), [1, 2, 4]),
        (RetryPolicy(autoretry_for=(OSError,), **EXACT), FileNotFoundError(), [1, 2, 4]),
        (RetryPolicy(autoretry_for=(OSError,), **EXACT), ValueError(), []),
        (RetryPolicy(autoretry_for=(OSError,), max_retries=1, **EXACT), OSError(), [1]),
        (RetryPolicy(max_retries=3, dont_autoretry_for=(ValueError,)), ValueError(), []),
        (RetryPolicy(max_retries=3), SystemExit(), []),
    ],
)
def test_celerys_options_decide_how_often_and_when_it_runs_again(
    policy: RetryPolicy, error: BaseException, delays: list[float]
) -> None:
    found = [policy.countdown(error, attempt) for attempt in range(1, len(delays) + 2)]

    assert found == [*delays, None]


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(7.5, 7.5), (0, 0.0), (-3, 0.0), (timedelta(minutes=2), 120.0), (math.nan, 0.0), (math.inf, 1e9)],
)
def test_a_raised_retry_waits_as_long_as_it_asks(asked: float | timedelta, seconds: float) -> None:
    assert RetryPolicy().countdown(Retry(countdown=asked), 1) == seconds


def test_a_raised_retry_needs_no_options_and_ends_as_celerys_does() -> None:
    delays = [RetryPolicy(**EXACT).countdown(Retry(), attempt) for attempt in (1, 2, 3, 4)]

    assert delays == [1, 2, 4, None]


def test_a_raised_retry_counts_against_max_retries() -> None:
    assert RetryPolicy(max_retries=1).countdown(Retry(countdown=5), 2) is None


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True), st.floats(0.001, 1e6), st.floats(0, 1e6))
def test_jitter_draws_between_nothing_and_the_delay(attempt: int, draw: float, first: float, most: float) -> None:
    exact = RetryPolicy(max_retries=10**6, retry_backoff=first, retry_backoff_max=most, retry_jitter=False)
    jittered = RetryPolicy(max_retries=10**6, retry_backoff=first, retry_backoff_max=most)

    longest = exact.countdown(ValueError(), attempt)
    drawn = jittered.countdown(ValueError(), attempt, lambda: draw)
    assert longest is not None
    assert drawn == longest * draw <= most


def test_celerys_own_retry_counts_as_ours() -> None:
    ours = as_ours(CeleryRetry("later", when=5))

    assert isinstance(ours, Retry)
    assert ours.countdown == 5.0
    assert RetryPolicy().countdown(ours, 1) == 5.0


def test_what_a_retry_was_raised_from_is_its_cause() -> None:
    cause = OSError("away")

    assert cause_of(as_ours(CeleryRetry("later", exc=cause))) is cause
    assert cause_of(cause) is cause
    alone = as_ours(CeleryRetry("later"))
    assert cause_of(alone) is alone


def test_other_errors_stay_what_they_are() -> None:
    error = ValueError("no")

    assert as_ours(error) is error
