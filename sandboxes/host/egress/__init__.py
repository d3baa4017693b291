"""Restricted egress: a proxy process of its own that lets a sandbox reach allowed names only.

The process parses hostile bytes and therefore runs without rights; ``client.EgressClient`` is what
the sandbox host uses to start it, to hand it listeners and to hear of every connection.
"""
