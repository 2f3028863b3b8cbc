"""Dead letters: a service that handles what others failed to handle, event.error.*, and raises an alert for each."""

from __future__ import annotations

from pathlib import Path

from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann("dead-letters", subscription_topics=["stock"], schema_path=Path(__file__).parent / "schemas")
celery = kaufmann.celery


@kaufmann.on("event.error.*")
def raise_alert(event: Event):
    # The headers are there whatever schema the error event has: who failed, at what, and where the original stands.
    about = {name: value.decode() for name, value in event.headers if name.startswith("kaufmann-")}
    position = ":".join(about[f"kaufmann-original-{part}"] for part in ("topic", "partition", "offset"))
    why = f"{about['kaufmann-error-type']}: {about['kaufmann-error-message']}"
    return ("event.alert.raised", {"failed": event.name.removeprefix("event.error."), "why": why, "position": position})
