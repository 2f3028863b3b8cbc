"""The stock service's ingester inside a process that does other things too, such as a web server.

Beside it runs `celery -A stock worker`: handlers run there, and everything else here.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stock import kaufmann


def place_order(order_id: str, item: str, quantity: int) -> str:
    """What a web request would call: returns where Kafka has the command."""
    order = {"order_id": order_id, "item": item, "quantity": quantity}
    return str(kaufmann.publish("command.stock.reserve", order))


@contextmanager
def ingesting() -> Iterator[None]:
    """Consume in a thread of this process, for the length of the block."""
    ingester = kaufmann.ingester()
    thread = threading.Thread(target=ingester.run, name="ingester")
    thread.start()
    try:
        yield
    finally:
        # Stops taking, publishes and commits what is finished, and leaves the group.
        ingester.stop()
        thread.join()


def main() -> None:
    # Before any thread starts, so that each of them leaves these signals to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with ingesting():
        # The web server would run here.
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
