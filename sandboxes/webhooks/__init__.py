"""Telling an account's own servers what became of its sandboxes."""
