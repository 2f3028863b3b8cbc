"""`python -m tests.chaos`: runs the service on real services, breaks these and its processes by a schedule, and judges.

`--again DIRECTORY` judges the evidence of an earlier run once more.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.conductor import run
from tests.chaos.evidence import Evidence
from tests.chaos.options import Options
from tests.chaos.report import is_good, report, table, write
from tests.chaos.schedule import KINDS


def main() -> int:
    """Run, print the table, and return the exit code."""
    arguments = _arguments()
    directory = arguments.again or arguments.directory / str(arguments.seed)
    options = Options(
        seed=arguments.seed, directory=directory.absolute(), events=arguments.events, faults=arguments.faults,
        delivery=arguments.delivery, ordering=arguments.ordering, kinds=tuple(arguments.kinds), calm=arguments.calm,
        package=arguments.package,
    )  # fmt: skip
    print(f"seed {options.seed}", flush=True)
    if arguments.again:
        evidence = Evidence.load(directory / "evidence.json")
    else:
        evidence = run(options, lambda line: print(line, flush=True))
    verdicts = check(evidence)
    asked = {"seed": options.seed, "delivery": evidence.setting.delivery, "ordering": evidence.setting.ordering}
    data = report(evidence, verdicts, asked)
    write(directory / "report.json", data)
    print(table(data))
    return 0 if is_good(verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="at_least_once")
    parser.add_argument("--ordering", choices=("unordered", "key", "partition"), default="unordered")
    parser.add_argument("--kinds", nargs="*", choices=tuple(KINDS), default=(), help="only these faults")
    parser.add_argument("--calm", type=float, default=0.5, help="share of faults after which all may recover")
    parser.add_argument("--directory", type=Path, default=Path(".kaufmann/chaos"))
    parser.add_argument("--package", type=Path, help="where to find another kaufmann_celery")
    parser.add_argument("--again", type=Path, metavar="DIRECTORY", help="judge the evidence of an earlier run")
    return parser.parse_args()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Clients of services that were killed may leave threads behind that wait for these.
    os._exit(code)
