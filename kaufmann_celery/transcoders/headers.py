"""Record headers of our own. Every name begins with `kaufmann-`."""

#: On every output of a handler: the group that wrote it, so that its own globs pass over it.
EMITTER = "kaufmann-emitter"
#: An event's meta as JSON, where its schema has no place for it.
META = "kaufmann-meta"
