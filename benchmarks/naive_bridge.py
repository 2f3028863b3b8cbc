"""The Celery side of a bridge that sends one task for each event."""

import os

from celery import Celery

app = Celery("naive", broker=os.environ.get("BENCH_BROKER"))
app.conf.update(task_default_queue=os.environ.get("BENCH_QUEUE", "naive"), task_ignore_result=True)


@app.task
def handle(event: object) -> None:
    """Do nothing."""
