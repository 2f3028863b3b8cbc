"""What people do to a consumer group besides running it: move its offsets, replay events."""
