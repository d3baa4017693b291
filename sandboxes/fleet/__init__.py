"""What all sandboxes of an account do right now, kept current by reading only what is new."""
