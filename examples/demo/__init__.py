"""`make demo`: the example service on real Kafka, Redis and schema registry, under load and with faults in it."""
