"""Schemas: the registry's client, and the files under `schema_path`."""
