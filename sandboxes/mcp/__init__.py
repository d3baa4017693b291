"""Sandboxes as tools of the Model Context Protocol, over the services that `/v1` stands on."""
