"""The Celery side: the app, its tasks, how events are grouped and sent, found lost, and run again."""
