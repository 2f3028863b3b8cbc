"""Kafka besides the consumer: records out, groups and offsets, and kafka-python's options and faults."""
