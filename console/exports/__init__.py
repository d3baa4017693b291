"""A whole run as a file: JSON Lines, an asciicast, or a page that plays it anywhere.

Each is written page by page while it is sent, so a run of any length takes the same memory.
"""
