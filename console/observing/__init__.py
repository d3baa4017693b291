"""Metrics for Prometheus, of every process of the platform, on one page: ``/metrics``."""
