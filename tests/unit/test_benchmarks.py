"""What the benchmarks make of their runs. Nothing is timed here."""

from __future__ import annotations

import ast
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.contestants import CONTESTANTS
from benchmarks.handling import HANDLERS, handled
from benchmarks.latency import percentiles
from benchmarks.plan import events_of, handlers, plan, titles
from benchmarks.results import Planned, Results, results_of_commit
from benchmarks.scaling import BASE, loads
from benchmarks.scene import RunFailed, note, say_failed
from benchmarks.steps import CHILD, STEPS, by_step
from benchmarks.table import markdown, spread, tables
from benchmarks.targets import TARGETS
from benchmarks.traffic import BYTES, encoded, of_size, payload

ABOUT = {"commit": "abc1234", "cores": 2, "system": "Linux x86_64", "python": "3.11.7"}


def results(file: Path, rates: dict[tuple[str, str], list[float]] | None = None) -> Results:
    found = Results(file, ABOUT)
    for (contestant, case), each in (rates or {}).items():
        for number, rate in enumerate(each, 1):
            found.add(Planned(contestant, case, number), {"per_s": rate})
    return found


def test_a_run_that_is_in_the_file_is_known_to_the_next_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "abc1234.json"
    results(file, {("quixstreams", "0 ms"): [20_000.0]})

    again = Results(file, {})

    assert again.found("quixstreams", "0 ms") == [20_000]
    assert [one for one in plan(2, only=["quixstreams"]) if one.case == "0 ms" and one not in again] == [
        Planned("quixstreams", "0 ms", 4)
    ]
    assert again.about == ABOUT


def test_every_round_has_all_runs_and_each_its_own_order() -> None:
    runs = plan(3)

    rounds = [[(one.contestant, one.case) for one in runs if one.round == number] for number in (1, 4, 7)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == sorted(rounds[2])
    assert rounds[0] != rounds[1] != rounds[2]
    assert runs[: len(rounds[0])] == [Planned(*kind, 1) for kind in rounds[0]]


def test_what_targets_compare_runs_three_times_as_often_where_the_handler_does_nothing() -> None:
    often = Counter((one.contestant, one.case) for one in plan(3))

    compared = {need for target in TARGETS for need in target.needs if need[1] == "0 ms"}
    assert {kind for kind, count in often.items() if count == 9} == compared
    assert set(often.values()) == {3, 9}


def test_the_order_is_the_same_when_a_benchmark_goes_on() -> None:
    assert plan(3) == plan(3)


def test_a_quick_plan_has_what_the_targets_are_made_of() -> None:
    planned = {(one.contestant, one.case) for one in plan(1, quick=True)}

    assert {need for target in TARGETS for need in target.needs} - planned == {("backlog", "2,000,000")}
    assert len(planned) < len(plan(1))


def test_the_memory_that_a_target_asks_for_is_measured_by_the_other_benchmark() -> None:
    assert ("backlog", "2,000,000") in [(what, value) for what, value, _ in loads()]


def test_a_run_has_as_many_events_as_its_handler_allows_in_its_time() -> None:
    ours, bare, slow = CONTESTANTS["ours"], CONTESTANTS["bare"], HANDLERS["10 ms"]

    assert events_of(ours, slow) == 6_400  # 8 processes, 100 a second each, 8 s
    assert events_of(bare, slow) == 800  # one process
    assert events_of(ours, HANDLERS["0 ms"], share=0.5) == 60_000


def test_a_target_stands_beside_what_was_reached(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", {("ours", "0 ms"): [9_000, 30_000, 12_000], ("naive", "0 ms"): [600]})

    lines = tables(found, titles(), handlers()).splitlines()

    cells = [[cell.strip() for cell in line.split("|")[2:5]] for line in lines if TARGETS[0].what in line]
    assert cells == [["≥ 40 x", "20 x", "50%"]]


def test_a_target_without_its_runs_is_not_measured(tmp_path: Path) -> None:
    assert all(target.shown(results(tmp_path / "r.json")) == "not measured" for target in TARGETS)


def test_of_a_target_that_is_a_most_less_is_more(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json")
    found.add(Planned("latency", "idle", 1), {"p50_ms": 7.5, "p99_ms": 100.0, "p99.9_ms": 120.0})

    shares = {target.what: target.share(found) for target in TARGETS if ("latency", "idle") in target.needs}

    assert list(shares.values()) == [2.0, 0.5]


def test_percentiles_are_by_the_nearest_rank_in_milliseconds() -> None:
    found = percentiles([number / 1000 for number in range(1000, 0, -1)])

    expected = {"p50_ms": 500.0, "p99_ms": 990.0, "p99.9_ms": 999.0, "mean_ms": 500.5, "most_ms": 1000.0}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "shown"),
    [([], ""), ([1_234.4], "1,234"), ([3.0, 1.0, 2.0], "2 (1 to 3)"), ([1.0, 2.0, 4.0, 8.0], "3 (1 to 8)")],
)
def test_several_runs_are_shown_as_their_median_and_spread(found: list[float], shown: str) -> None:
    assert spread(found) == shown


def test_a_tables_columns_are_as_wide_as_their_widest_cell() -> None:
    assert markdown(["a", "bc"], [["def", ""]]) == "| a   | bc |\n| --- | -- |\n| def |    |"


def test_contestants_run_with_handlers_that_there_are() -> None:
    assert {case for one in CONTESTANTS.values() for case in one.handlers} == set(HANDLERS)


def test_one_thing_at_a_time_differs_from_the_base() -> None:
    names = BASE.__dataclass_fields__
    for what, _, load in loads():
        differing = {name for name in names if getattr(load, name) != getattr(BASE, name)} - {"backlog"}
        assert differing <= set(what.split(" and "))


@pytest.mark.parametrize("size", [100, BYTES, 1_000, 100_000])
def test_an_event_is_as_large_as_asked_for(size: int) -> None:
    assert abs(len(encoded(of_size(7, size))) - size) <= 2
    assert len(encoded(payload(7))) == BYTES


def test_what_processes_have_counted_is_added_up(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes((3).to_bytes(8, "little"))
    (tmp_path / "2").write_bytes((4).to_bytes(8, "little"))
    (tmp_path / "3").touch()

    assert handled(tmp_path) == 7


def test_results_of_other_versions_are_not_mixed_with_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results_of_commit(tmp_path).add(Planned("ours", "0 ms", 1), {"per_s": 20_000.0})
    assert results_of_commit(tmp_path).found("ours", "0 ms") == [20_000]

    monkeypatch.setattr("benchmarks.results._version", lambda _: "0.0.1")

    with pytest.raises(SystemExit, match="other versions"):
        results_of_commit(tmp_path)


def test_a_run_that_failed_has_no_figure_and_ends_the_benchmark_with_an_error(tmp_path: Path) -> None:
    def fails() -> dict[str, float]:
        raise RunFailed("it lost an event")

    found = results(tmp_path / "r.json")
    made = [note(found, Planned("ours", "0 ms", number), "", run) for number, run in enumerate([dict, fails], 1)]

    assert Planned("ours", "0 ms", 2) not in found
    with pytest.raises(SystemExit, match="1 runs FAILED"):
        say_failed(made)
    say_failed([True, True])


def test_a_sample_belongs_to_the_step_of_the_innermost_function_known() -> None:
    lines = [
        "Worker.workloop (billiard/pool.py:365);TaskRun.run (handle.py:82);unpack (envelope.py:77);loads (c.py:9) 7",
        "Worker.workloop (billiard/pool.py:365);TaskRun.run (handle.py:82) 2",
        "Worker.workloop (billiard/pool.py:365);KeptLease.drop (leases.py:52) 1",
        "somebody (else.py:1) 4",
    ]

    assert by_step(lines, CHILD) == {"unpacking": 7, "around the handler": 2, "keeping the lease": 1}


def test_every_function_that_says_a_step_is_there() -> None:
    others = [
        "kafka.net.selector", "kafka.producer.sender", "kombu.transport.redis", "celery.concurrency.asynpool",
        "celery.app.trace", "celery.worker.consumer.consumer", "billiard.pool",
    ]  # fmt: skip
    origins = [found.origin for name in others if (found := find_spec(name)) and found.origin]
    files = [*(Path(__file__).parents[2] / "kaufmann_celery").rglob("*.py"), *map(Path, origins)]
    there = {name for file in files for name in _qualified(ast.parse(file.read_text()))}

    named = {one for steps in STEPS.values() for functions in steps.values() for one in functions}
    assert {one.replace(".<locals>", "") for one in named} - there == set()


def _qualified(node: ast.AST, within: str = "") -> list[str]:
    """Return the names of all functions and classes, as Python qualifies them, without its `<locals>`."""
    found: list[str] = []
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{within}.{child.name}" if within else child.name
            found.append(name)
        found += _qualified(child, name)
    return found
