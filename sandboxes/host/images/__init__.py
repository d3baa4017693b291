"""Templates: what a sandbox's root is made of, and how they are built from what this machine has.

``python -m sandboxes.host.images build`` builds them; the daemon only reads them.
"""
