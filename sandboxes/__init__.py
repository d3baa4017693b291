"""Sandboxes: models, services, selectors, limits, metering, the `/v1` API and the MCP tools."""
