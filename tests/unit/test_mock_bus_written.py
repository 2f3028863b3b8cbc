"""What MockBus writes itself, for another service: by nothing that this service plugs in."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from kaufmann_celery import Output
from kaufmann_celery.testing import MockBus
from tests.unit.test_mock_bus import Scene, confirm, message_of, placed, record, scene

__all__ = ["scene"]


def counted(output: Output, _meta: Any) -> int:
    return len(output.payload["items"])


def by_topic(name: str, topic: str) -> str:
    return name if topic == "orders" else f"{topic}-{name}"


def tenant(_name: str, context: Any) -> dict[str, Any]:
    return {"tenant": context["tenant"]}


@pytest.fixture(autouse=True)
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("plugged_in")
    vars(module).update(counted=counted, by_topic=by_topic, event_metadata=tenant)
    monkeypatch.setitem(sys.modules, "plugged_in", module)


def bus_of(scene: Scene, returned: Any = None, **settings: Any) -> MockBus:
    kaufmann = scene.service(**settings)
    kaufmann.on("order.placed")(lambda event: returned or confirm(event))
    return MockBus(kaufmann)


@pytest.mark.parametrize(
    "setting", [{"partition_strategy": "plugged_in.counted"}, {"metadata_mod": "plugged_in"}], ids=str
)
def test_a_given_event_owes_nothing_to_what_the_service_does_with_its_outputs(scene: Scene, setting: Any) -> None:
    bus = bus_of(scene, Output("order.counted", {"items": []}), **setting)
    placed(bus, meta={"tenant": "t"})

    bus.then_event("order.counted", {"items": []})


def test_an_expected_payload_owes_nothing_to_it_either(scene: Scene) -> None:
    bus = bus_of(scene, Output("order.counted", {"items": []}), partition_strategy="plugged_in.counted")
    placed(bus)

    message = message_of(lambda: bus.then_event("order.counted", {}))
    assert message.splitlines()[1].startswith("the payload expected here cannot be written: payload.items: missing")


def test_an_expected_payload_is_written_by_the_subject_of_its_topic(scene: Scene) -> None:
    scene.schemas(**{"out-order.confirmed": record("Other", number={"type": "int", "default": 7})})
    bus = bus_of(scene, Output("order.confirmed", {}, topic="out"), subject_strategy="plugged_in.by_topic")
    placed(bus)

    bus.then_event("order.confirmed", {}, topic="out")


def test_what_fails_is_named_and_not_the_schema(scene: Scene) -> None:
    message = message_of(lambda: placed(scene.bus, format="jsn"))

    assert message.splitlines() == [
        f"given_event: order.placed ({scene.directory}/order.placed.avsc) cannot be written",
        "  format: must be one of avro, json, did you mean json?",
    ]


def test_a_name_that_is_none_is_told(scene: Scene) -> None:
    nobody: Any = None

    assert "name: expected text, got NoneType" in message_of(lambda: scene.bus.given_event(nobody, {}))


def test_a_subject_that_is_not_there_is_named(scene: Scene) -> None:
    bus = bus_of(scene, subject_strategy="plugged_in.by_topic")
    message = message_of(lambda: placed(bus, topic="other"))

    assert "other-order.placed" in message
