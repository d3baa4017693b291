"""The event log: append, tail, store, live hub, replay. Knows a sandbox only as a string id."""
