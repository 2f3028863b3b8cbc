"""Celery as its users know it: pools, an app with tasks of its own, queues, routes, modules."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually
from tests.integration.user_commands import ONE_WORKER, WORKER, Commands, commands, send_good

SERVICE = """
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery
"""

NOTE = """
def note(*words):
    with open("runs", "a") as runs:
        runs.write(" ".join(map(str, words)) + "\\n")
"""

#: An app that was there before, with a task of its own and its own mind about everything.
SHOP = (
    """
import json, os
from celery import Celery, current_task
from kaufmann_celery import Kaufmann, Output
from kombu import Queue
from kombu.serialization import register

register("own", json.dumps, json.loads, "application/x-own", "utf-8")
"""
    + NOTE
    + """
celery = Celery("shop", broker=os.environ["KAUFMANN_REDIS_URL"])
celery.conf.update(SETTINGS)
kaufmann = Kaufmann("NAME", celery=celery)

@celery.task
def mail(address):
    info = current_task.request.delivery_info
    note("mail", address, info["routing_key"], current_task.acks_late)
"""
)
OPINIONATED = """{
    "task_acks_late": True,
    "task_serializer": "own",
    "accept_content": ["own"],
    "task_default_queue": "shop.NAME",
    "task_routes": {"service.mail": {"queue": "mail.NAME"}},
    "task_queues": [Queue("shop.NAME"), Queue("mail.NAME")],
    "task_track_started": True,
    "control_exchange": "shop.NAME",
    "worker_prefetch_multiplier": 4,
}"""


def handles_all(one: Scene, count: int) -> None:
    """Write events; each has one output, and the group's offsets reach the end."""
    check_each_has_one_output(one, send_good(one, count))


def check_each_has_one_output(one: Scene, ids: list[str]) -> None:
    one.handled(*ids, name="good.handled")
    one.kafka.await_all_committed(one.name, one.name)
    outputs = Counter(json.loads(found.value or b"")["id"] for found in one.kafka.read(one.out))
    assert {each: outputs[each] for each in ids} == dict.fromkeys(ids, 1)


@pytest.mark.parametrize(
    "flags",
    [(), ("-P", "prefork", "-c", "1"), ("-P", "threads", "-c", "4"), ("-P", "solo")],
    ids=["no flags", "prefork", "threads", "solo"],
)
def test_every_pool_handles_each_event_once(tmp_path: Path, stack: dict[str, str], flags: tuple[str, ...]) -> None:
    with scene(tmp_path, stack, SERVICE, name="pools", schemas={}) as one, commands(one) as typed:
        typed.start_service(*flags)

        handles_all(one, 200)


def test_a_task_of_the_apps_own_runs_in_the_same_worker_by_the_celery_queue(
    tmp_path: Path, stack: dict[str, str]
) -> None:
    source = SHOP.replace("SETTINGS", "{}")
    with scene(tmp_path, stack, source, name="shop", schemas={}) as one, commands(one) as typed:
        typed.start_service()
        sent = typed.run("python", "-c", "from service import mail; mail.delay('anna')")

        assert sent.returncode == 0, sent.stderr
        handles_all(one, 20)
        eventually(typed.notes, "the app's own task has run", gives_up=typed.has_died)
        assert typed.notes() == ["mail anna celery False"]


@pytest.fixture(scope="module")
def shop(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Commands]]:
    source = SHOP.replace("SETTINGS", OPINIONATED)
    directory = tmp_path_factory.mktemp("shop")
    with scene(directory, stack, source, name="opinion", schemas={}) as one, commands(one) as typed:
        typed.start_service()
        yield one, typed


def test_an_app_that_takes_no_json_handles_events(shop: tuple[Scene, Commands]) -> None:
    one, _ = shop

    handles_all(one, 50)


def test_the_apps_own_task_keeps_its_route_and_its_serializer_and_acknowledges_late(
    shop: tuple[Scene, Commands],
) -> None:
    one, typed = shop
    sent = typed.run("python", "-c", "from service import mail; mail.delay('ben')")

    assert sent.returncode == 0, sent.stderr
    eventually(typed.notes, "the app's own task has run", gives_up=typed.has_died)
    assert typed.notes() == [f"mail ben mail.{one.name} True"]


def test_the_apps_own_settings_are_untouched(shop: tuple[Scene, Commands]) -> None:
    one, typed = shop

    conf = typed.run("celery", "-A", "service", "inspect", *ONE_WORKER, "conf", "-j")

    (found,) = json.loads(conf.stdout[conf.stdout.index("{") :]).values()
    assert found["task_acks_late"] is True
    assert found["task_serializer"] == "own"
    assert found["task_default_queue"] == f"shop.{one.name}"
    assert found["task_routes"] == {"service.mail": {"queue": f"mail.{one.name}"}}
    assert found["task_track_started"] is True
    assert found["worker_prefetch_multiplier"] == 4


def test_settings_come_from_a_configuration_object_in_a_namespace(tmp_path: Path, stack: dict[str, str]) -> None:
    source = """
from celery import Celery
from kaufmann_celery import Kaufmann, Output

celery = Celery("NAME")
celery.config_from_object("configuration", namespace="CELERY")
kaufmann = Kaufmann("NAME", celery=celery)
"""
    with scene(tmp_path, stack, source, name="namespace", schemas={}) as one, commands(one) as typed:
        settings = {key: value for key, value in typed.env.items() if key.startswith("KAUFMANN_")}
        lines = [f"CELERY_{key} = {value!r}" for key, value in settings.items()]
        lines.append(f"CELERY_BROKER_URL = {settings['KAUFMANN_REDIS_URL']!r}")
        (tmp_path / "configuration.py").write_text("\n".join(lines))
        typed.env = {key: value for key, value in typed.env.items() if key not in settings}
        typed.start_service()

        handles_all(one, 20)


QUEUES = (
    SERVICE
    + "from celery import current_task\n"
    + NOTE
    + """
celery.conf.task_routes = {"event:routed.*": {"queue": "routed.NAME"}}

@kaufmann.on("good.queued", queue="named.NAME")
def queued(event):
    note("queued", current_task.request.delivery_info["routing_key"])

@kaufmann.on("routed.sent")
def routed(event):
    note("routed", current_task.request.delivery_info["routing_key"])
"""
)


def test_the_plain_worker_consumes_the_queues_that_handlers_name_and_routes_hold_for_event_names(
    tmp_path: Path, stack: dict[str, str]
) -> None:
    schemas = {"good.queued": GOOD, "routed.sent": GOOD}
    with scene(tmp_path, stack, QUEUES, name="queues", schemas=schemas) as one, commands(one) as typed:
        typed.start_service("-c", "1")
        for name in (b"routed.sent", b"good.queued"):
            one.send(name, avro(GOOD, {"id": "1"}))
        eventually(typed.notes, "the queue that the handler names is consumed", gives_up=typed.has_died)
        assert typed.notes() == [f"queued named.{one.name}"]

        typed.start("router", *WORKER, "-P", "solo", "-Q", f"routed.{one.name}", "-n", "router")

        one.kafka.await_all_committed(one.name, one.name)
        assert typed.notes() == [f"queued named.{one.name}", f"routed routed.{one.name}"]


@pytest.mark.parametrize(
    ("source", "settings"),
    [(SERVICE, {}), (SERVICE.replace("NAME", "same"), {"redis_prefix": "NAME"})],
    ids=["two names", "one name and two prefixes"],
)
def test_two_services_on_one_redis_leave_each_others_tasks_alone(
    tmp_path: Path, stack: dict[str, str], source: str, settings: dict[str, str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        scene(tmp_path / "one", stack, source, name="one", schemas={}, settings=settings) as one,
        scene(tmp_path / "two", stack, source, name="two", schemas={}, settings=settings) as two,
        commands(one) as ones,
        commands(two) as twos,
    ):
        ones.start_service("-P", "solo", "-l", "INFO")
        twos.start_service("-P", "solo", "-l", "INFO")
        sent = {one.name: send_good(one, 60), two.name: send_good(two, 60)}

        for each, typed in ((one, ones), (two, twos)):
            check_each_has_one_output(each, sent[each.name])
            handled = set(re.findall(r"good\.sent@([^:]+):", typed.log("worker")))
            assert handled == {each.name}


def test_what_is_asked_of_one_services_workers_does_not_reach_anothers(tmp_path: Path, stack: dict[str, str]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        scene(tmp_path / "one", stack, SERVICE, name="one", schemas={}) as one,
        scene(tmp_path / "two", stack, SERVICE, name="two", schemas={}) as two,
        commands(one) as ones,
        commands(two) as twos,
    ):
        ones.start_service("-P", "threads")
        twos.start_service("-P", "threads")
        for each in (one, two):
            check_each_has_one_output(each, send_good(each, 2))

        limited = ones.run("celery", "-A", "service", "control", "-t", "5", "rate_limit", "event:good.sent", "1/h")

        assert limited.returncode == 0, limited.stderr
        assert limited.stdout.count("->") == 1
        check_each_has_one_output(two, send_good(two, 20))


MODULE = """
from kaufmann_celery import Output
from service import kaufmann

@kaufmann.on("good.sent")
def good(event):
    return Output("good.handled", {"id": event.payload["id"]}, format="json")
"""


@pytest.mark.parametrize("option", ["include", "imports"])
def test_handlers_in_another_module_are_found_as_celery_finds_tasks(
    tmp_path: Path, stack: dict[str, str], option: str
) -> None:
    # What stands in the module `service` itself is put out of the way, so that only the other module handles.
    source = f"""{SERVICE}
celery.conf.{option} = ["handlers_of_ours"]
class Elsewhere:
    def on(self, name):
        return lambda function: function
service_itself, kaufmann = kaufmann, Elsewhere()
"""
    other = MODULE.replace("import kaufmann", "import service_itself as kaufmann")
    with (
        scene(tmp_path, stack, source, name="modules", schemas={}, handlers_of_ours=other) as one,
        commands(one) as typed,
    ):
        typed.start_service("-c", "1")

        handles_all(one, 20)
