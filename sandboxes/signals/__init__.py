"""What says that a run may be stuck: plain rules over its events, and where they stand."""
