"""Commands as OpenTelemetry spans, sent to a collector that the installation names."""
