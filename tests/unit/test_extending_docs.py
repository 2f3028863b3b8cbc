"""docs/extending.md: its examples do what they say, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kaufmann_celery import Middleware, Output, PublishError
from kaufmann_celery.config import load_config
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.producing import RecordsOut, records_out
from kaufmann_celery.transcoders.transcoder import Transcoder
from tests.unit.test_outputs import NOW, Scene
from tests.unit.test_transcoders import Scene as Formats

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """The example with this number, as the module that its first line names."""
    source = EXAMPLES[request.param]
    named = re.match(r"# (\w+(?:/\w+)*)\.py\n", source)
    module = ModuleType(named[1].replace("/", ".") if named else "example")
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("example", [0], indirect=True)
def test_functions_choose_topics_partition_and_meta(example: ModuleType) -> None:
    scene = Scene(
        topic_strategy="strategies.topic", partition_strategy="strategies.partition", metadata_mod="strategies"
    )
    made = scene.composer.compose(Output("order.placed", {"customer": "c1"}, format="json"), message_id="m1", now=NOW)

    assert [one.topic for one in made] == ["audit", "orders"]
    assert {one.spread for one in made} == {example.partition(Output("", {"customer": "c1"}), {})}
    assert b'"tenant": "none"' in (made[0].value or b"")
    assert example.subject("order.placed", "orders") == "orders-value"


@pytest.mark.parametrize("example", [1], indirect=True)
def test_a_class_makes_a_format(example: ModuleType, tmp_path: Path) -> None:
    made: Transcoder = example.Msgpack(load_config("orders", keywords={}, conf={}, environ={}))
    scene = Formats(tmp_path)
    scene.transcoders._tried["msgpack"] = made
    written = made.write("order.noted", "orders", {"id": 1}, {})

    assert scene.read(written.value, "order.placed", dict(written.headers))[0] == {"id": 1}


@pytest.mark.parametrize("example", [2], indirect=True)
def test_a_module_publishes(example: ModuleType) -> None:
    out: RecordsOut = records_out(load_config("orders", keywords={"producer_mod": "producer"}, conf={}, environ={}))
    published, refused = out.publish([OutRecord("a", None, b""), OutRecord("a", None, bytes(101))])

    assert published is None
    assert isinstance(refused, PublishError)


@pytest.mark.parametrize("example", [3], indirect=True)
def test_middleware_is_registered(example: Any) -> None:
    assert example.kaufmann.faults() == []
    assert [type(one).__name__ for one in example.kaufmann.middleware] == ["LogEvents", "Timing"]


def test_every_hook_is_in_the_table() -> None:
    hooks = {name: inspect.signature(hook) for name, hook in vars(Middleware).items() if inspect.isfunction(hook)}
    listed = re.findall(r"^\| `(\w+)\((\w+)\)` \|", PAGE, re.MULTILINE)

    assert listed == [(name, next(iter([*signature.parameters][1:]))) for name, signature in hooks.items()]
