"""`python -m tests.chaos.mutations [NAME …]`: switches off one protection at a time; the suite is then to fail.

Each mutation is a change of text in a copy of the package, which the ingesters and workers import instead.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.conductor import ROOT, run
from tests.chaos.options import Options
from tests.chaos.report import report, table, write

DIRECTORY = Path(".kaufmann/chaos/mutations")


@dataclass(frozen=True)
class Mutation:
    """One protection that is switched off, and the faults from which it protects."""

    name: str
    #: What in which file becomes what.
    patches: tuple[tuple[str, str, str], ...]
    kinds: tuple[str, ...]
    #: At least one of these figures is to be off.
    caught_by: tuple[str, ...]
    faults: int = 6
    events: int = 4000

    def apply(self, directory: Path) -> Path:
        """Copy the package, patch the copy, and return where it is to be found."""
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(ROOT / "kaufmann_celery", directory / "kaufmann_celery")
        for name, old, new in self.patches:
            path = directory / "kaufmann_celery" / name
            text = path.read_text()
            if text.count(old) != 1:
                raise LookupError(f"{self.name}: {name} holds {old!r} {text.count(old)} times: bring it up to date")
            path.write_text(text.replace(old, new))
        return directory


_REPEATS, _LOST, _RECOVERY = "unexplained repeats", "lost events", "slow recoveries"
_COMMITS, _OUTPUTS = "commits over unfinished events", "outputs that should not be"
_OLDER = "generation < theirs or (generation == theirs and member ~= owner[2])"

MUTATIONS = (
    Mutation(
        "owner",
        (
            ("ledger/lua/fence.lua", f"if {_OLDER} then", "if false then"),
            ("ledger/lua/own.lua", f"local older = {_OLDER}", "local older = false"),
        ),
        ("ingester-freeze",),
        (_REPEATS, _LOST, _COMMITS, _OUTPUTS, _RECOVERY),
    ),
    Mutation(
        "begin",
        (
            (
                "ledger/lua/begin.lua",
                "if d_of(claims[i]) == ARGV[at[i] + 1] and (is_free or (again and holders[i] == ARGV[2])) then",
                "if true then",
            ),
        ),
        ("worker-freeze", "worker-kill"),
        (_REPEATS,),
        events=15_000,
    ),
    Mutation(
        "watchdog",
        (("tasks/watchdog.py", "if now - self._looked_at < _LOOK_EVERY_S:", "if True:"),),
        ("redis-tail-lost", "worker-kill"),
        (_LOST, _RECOVERY),
        events=15_000,
    ),
    Mutation(
        "metadata read",
        (
            (
                "partitions/commit_metadata.py",
                "    return Committed(offset, highest, unfinished, incarnation)",
                "    return Committed(offset, offset - 1, (), incarnation)",
            ),
        ),
        ("redis-emptied-and-ingester-kill",),
        (_REPEATS, _COMMITS),
        events=15_000,
    ),
    Mutation(
        "metadata written",
        (
            (
                "partitions/commit_metadata.py",
                "        body = min(_varint_body(self), _bitmap_body(self), key=len)",
                "        body = _varint_body(Committed(self.offset, self.highest))",
            ),
        ),
        ("ingester-kill",),
        (_COMMITS,),
        faults=2,
    ),
    Mutation(
        "finished marks",
        (("ledger/lua/common.lua", "add_marks(marks)", ""),),
        ("ingester-kill",),
        (_REPEATS,),
    ),
)


def is_caught(mutation: Mutation, seed: int) -> bool:
    """Run with the mutation; return whether the suite found it."""
    name = mutation.name.replace(" ", "-")
    package = mutation.apply((DIRECTORY / f"{name}-package").absolute())
    options = Options(
        seed=seed,
        directory=(DIRECTORY / name).absolute(),
        events=mutation.events,
        faults=mutation.faults,
        kinds=mutation.kinds,
        calm=1.0,
        package=package,
    )
    evidence = run(options, lambda line: print(f"  {line}", flush=True))
    verdicts = check(evidence)
    data = report(evidence, verdicts, {"seed": seed, "delivery": options.delivery, "ordering": options.ordering})
    write(options.directory / "report.json", data)
    print(table(data), flush=True)
    return any(verdict.count for verdict in verdicts if verdict.name in mutation.caught_by)


def main(names: list[str]) -> int:
    """Run the mutations *names*, or all, and return the exit code."""
    if unknown := set(names) - {one.name for one in MUTATIONS}:
        print(f"no such mutation: {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in MUTATIONS)}")
        return 2
    caught = {}
    for mutation in MUTATIONS:
        if not names or mutation.name in names:
            print(f"--- {mutation.name}", flush=True)
            caught[mutation.name] = is_caught(mutation, seed=1)
    for name, found in caught.items():
        print(f"{'found    ' if found else 'NOT FOUND'} {name}")
    return 0 if all(caught.values()) else 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # As in __main__.
    os._exit(code)
