"""Bytes to payload and back: Avro by the registry's schemas, and how a record says which of them."""
