"""Ports of sandboxes for browsers, straight from ASGI, before anything of the console."""
