"""The list of sandboxes, kept current: read, rendered and told once for all who see the same."""
