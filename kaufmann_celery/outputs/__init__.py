"""From what a handler emits, or how it failed, to records ready for Kafka."""
