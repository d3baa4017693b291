"""Terminals: shells on a PTY of the agent's, watched by many, driven by one, recorded whole."""
