from __future__ import annotations

from dataclasses import replace

import pytest
from redis.crc import key_slot

from kaufmann_celery.ledger import LedgerAddress
from kaufmann_celery.ledger.address import keys_of

ADDRESS = LedgerAddress("kaufmann", "cluster", "group", "topic", 0)


@pytest.mark.parametrize(
    "other", [{"prefix": "staging"}, {"cluster_id": "b"}, {"group": "b"}, {"topic_id": "b"}, {"partition": 1}]
)
def test_offsets_of_another_history_have_another_ledger(other: dict[str, object]) -> None:
    another = replace(ADDRESS, **other)  # type: ignore[arg-type] # one field of either type

    assert not {*keys_of(another.base)} & {*keys_of(ADDRESS.base)}


def test_all_of_a_ledger_is_in_one_hash_slot() -> None:
    assert len({key_slot(key.encode()) for key in keys_of(ADDRESS.base)}) == 1
