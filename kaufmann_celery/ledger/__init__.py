"""The ledger: what is outstanding and what became of it, in Redis. All keys, TTLs and Lua scripts are here.

It survives the ingester, so that workers go on finishing while no ingester lives, and the next owner of the
partition adopts what runs and settles what is finished. Each step is one atomic script over many events:

    owner (ingester), fenced by the group's generation:  own  claim  turn  settle  conclude  refuse  forget  audit
    run (worker), by the run's id:                        begin  renew  vouch  finish  release

`lua/common.lua` lists the keys of a partition.
"""

from kaufmann_celery.ledger.address import UNTAGGED, LedgerAddress
from kaufmann_celery.ledger.connection import LedgerConnection, connect
from kaufmann_celery.ledger.owner import FIRST, Claimed, Fenced, OwnerLedger, Past, Raised, Turn, claims, forgets, turns
from kaufmann_celery.ledger.run import Report, RunLedger

__all__ = [
    "FIRST",
    "UNTAGGED",
    "Claimed",
    "Fenced",
    "LedgerAddress",
    "LedgerConnection",
    "OwnerLedger",
    "Past",
    "Raised",
    "Report",
    "RunLedger",
    "Turn",
    "claims",
    "connect",
    "forgets",
    "turns",
]
