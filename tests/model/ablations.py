"""Each rule of the delivery protocol switched off, in a scenario small enough to show what then goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.tlc import SCENARIOS, with_constants


@dataclass(frozen=True, slots=True)
class Ablation:
    """A rule, as the specification names it in `Rule(...)`, and where its absence shows."""

    rule: str
    scenario: str
    story: str
    faults: tuple[str, ...] = ()
    #: Other values of constants than the scenario's.
    constants: dict[str, str] = field(default_factory=dict)

    def config(self) -> str:
        """Return the configuration for TLC."""
        faults = ", ".join(f'"{fault}"' for fault in self.faults)
        constants = {"Off": f'{{"{self.rule}"}}', "Faults": f"{{{faults}}}", "MostFaults": str(len(self.faults))}
        return with_constants(SCENARIOS[self.scenario], {**constants, **self.constants})


_ONE = {"Events": "1"}
_ONE_INGESTER = {"Ingesters": "{i1}"}
_ONE_WORKER = {**_ONE, "Workers": "{w1}"}
_ONE_EACH = {**_ONE_INGESTER, "Workers": "{w1}"}
_LONE = {**_ONE, **_ONE_EACH}

ABLATIONS = (
    Ablation(
        "1",
        "group_reset",
        "marks of before a reset finish what was never handled",
        ("ingester dies", "group reset"),
        _LONE,
    ),
    Ablation("2", "owners", "an old owner's late own locks the true owner out", ("ingester stops",), _ONE),
    Ablation(
        "2 vouched",
        "group_reset",
        "one of before a reset wakes and discards the new group's ledger",
        ("ingester dies", "ingester stops", "group reset"),
        _ONE_WORKER,
    ),
    Ablation(
        "2 empty",
        "loss_unheard",
        "an old owner makes an emptied ledger its own, and publishes again",
        ("rebalance", "rebalance", "emptied"),
        _ONE_WORKER,
    ),
    Ablation(
        "2 asked",
        "loss_unheard",
        "an old owner's answer is old too: it makes a ledger its own that was emptied since",
        ("rebalance", "emptied"),
        _ONE_WORKER,
    ),
    Ablation(
        "3", "exactly_once", "committed, and dead before the ledger hears: published again", ("ingester dies",), _LONE
    ),
    Ablation(
        "3 stable",
        "exactly_once",
        "the commit is read while a transaction is open: published again",
        ("rebalance",),
        _ONE,
    ),
    Ablation("4", "owners", "what was revoked is committed under the new generation", ("rebalance", "rebalance"), _ONE),
    Ablation(
        "5",
        "demand",
        "an adopted claim has the only slot, its payload is never read again",
        ("ingester dies", "task lost"),
        _ONE_EACH,
    ),
    Ablation(
        "6",
        "demand",
        "an adopted event whose record is gone waits for ever",
        ("ingester dies", "task lost", "compacted"),
        _LONE,
    ),
    Ablation("7", "owners", "published and finished, dead before the commit: run again", ("ingester dies",), _LONE),
    Ablation("8 begin", "workers", "two copies of a task run at a time", ("task twice",), _ONE),
    Ablation(
        "8 finish",
        "lanes",
        "a worker wakes and finishes what runs elsewhere: the next of its lane starts",
        ("worker stops",),
        _ONE_INGESTER,
    ),
    Ablation("8 given", "workers", "a worker runs what it gave back", ("slow",), _ONE_INGESTER),
    Ablation(
        "9 holder",
        "loss_and_death",
        "a dead child's lease is released, and with it another's",
        ("worker dies", "emptied"),
        _ONE_INGESTER,
    ),
    Ablation(
        "10",
        "away",
        "Redis was away, its data kept: runs that live count as deaths, and run again",
        ("redis away",),
        _ONE_INGESTER,
    ),
    Ablation("11", "attempts", "an event is blamed for the death of its company", (), _ONE_INGESTER),
    Ablation("12", "finishes", "a revoked task is dropped again and again", ("task revoked",), _LONE),
    Ablation(
        "13", "away", "a report is given up while Redis is away: a death, and run again", ("redis away",), _ONE_INGESTER
    ),
    Ablation("13 again", "workers", "a task that Celery lost is never sent again", ("task lost",), _LONE),
    Ablation("14", "loss", "Redis lost its tail, the outcome is back: published again", ("tail lost",), _LONE),
    Ablation("15", "refusals", "an output that Kafka never takes holds the partition up", (), _ONE_EACH),
    Ablation(
        "16",
        "exactly_once",
        "outputs and offsets apart: published, dead before the commit, published again",
        ("ingester dies",),
        _LONE,
    ),
    Ablation(
        "16 unknown",
        "exactly_once",
        "the answer to a commit is lost and held for a no: published again",
        ("answer lost",),
        _LONE,
    ),
    Ablation("17", "metadata", "more is unfinished than a commit's metadata can name", (), _ONE_INGESTER),
    Ablation("18", "loss", "Redis lost its tail, a claim with it: nothing goes on", ("tail lost",), _LONE),
    Ablation("18 drop", "loss", "Redis lost its tail: a finished event stays claimed for ever", ("tail lost",), _LONE),
    Ablation(
        "19", "lanes", "the second runs while the first, whose outcome is lost, runs again", ("emptied",), _ONE_INGESTER
    ),
    Ablation(
        "19 send",
        "lanes",
        "after the death of their common task both are sent at once",
        ("worker dies",),
        _ONE_INGESTER,
    ),
    Ablation(
        "19 begin",
        "lanes",
        "a late copy of both begins the second while the first waits for its retry",
        ("task late", "retry"),
        _ONE_INGESTER,
    ),
    Ablation(
        "19 tag",
        "lanes",
        "a task of before Redis was emptied begins the second while the first runs again",
        ("emptied", "ingester dies"),
        _ONE_INGESTER,
    ),
    Ablation("20", "demand", "an ingester that hangs keeps the partition", ("ingester hangs",), _LONE),
)
