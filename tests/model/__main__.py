"""`make model` and `make model-ablations`: the delivery protocol's model, checked by TLC, as tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from tests.model.ablations import ABLATIONS, Ablation
from tests.model.tlc import SCENARIOS, Result, check, jar, with_constants

One = TypeVar("One")


def main() -> int:
    """Check what is asked for; return the process' exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", help="names of files in docs/protocol/scenarios, or rules; default: all"
    )
    parser.add_argument("--ablations", action="store_true", help="switch each rule off and look for a counterexample")
    parser.add_argument("--set", action="append", default=[], metavar="CONSTANT=VALUE", help="other bounds")
    parser.add_argument("--trace", action="store_true", help="print TLC's output where something is violated")
    arguments = parser.parse_args()
    jar()
    if arguments.ablations:
        return _ablations([one for one in ABLATIONS if not arguments.scenarios or one.rule in arguments.scenarios])
    constants = dict(one.split("=", 1) for one in arguments.set)
    return _scenarios(arguments.scenarios or list(SCENARIOS), constants, trace=arguments.trace)


def _scenarios(names: Iterable[str], constants: dict[str, str], *, trace: bool) -> int:
    print(f"{'scenario':<24}{'states':>10}{'distinct':>10}{'depth':>7}{'time':>9}  result")
    failed = False
    for name, result in _each(lambda name: check(with_constants(SCENARIOS[name], constants)), names):
        said = f"VIOLATED: {result.violated}, trace of {result.trace}" if result.violated else "holds"
        print(f"{name:<24}{_figures(result)}  {said}", flush=True)
        if result.violated and trace:
            print(result.output)
        failed = failed or result.violated is not None
    return int(failed)


def _ablations(ablations: Iterable[Ablation]) -> int:
    print(f"{'without':<14}{'violated':<24}{'trace':>5}{'time':>9}  what goes wrong")
    failed = False
    for ablation, result in _each(lambda one: check(one.config()), ablations):
        said = f"{result.violated or 'NOTHING':<24}{result.trace:>5}{result.seconds:>7.0f} s"
        print(f"{ablation.rule:<14}{said}  {ablation.story}", flush=True)
        failed = failed or result.violated is None
    return int(failed)


def _figures(result: Result) -> str:
    return f"{result.states:>10}{result.distinct:>10}{result.depth:>7}{result.seconds:>7.0f} s"


def _each(check_one: Callable[[One], Result], items: Iterable[One]) -> Iterator[tuple[One, Result]]:
    """Check two at a time; yield each when it is done."""
    with ThreadPoolExecutor(2) as pool:
        futures = {pool.submit(check_one, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()


if __name__ == "__main__":
    sys.exit(main())
