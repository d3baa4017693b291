"""The default allowlist of restricted networks."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models


class DomainSource(models.TextChoices):
    """Where a row of the default allowlist comes from."""

    REGISTRY = "registry", "Package registry"
    CODE_HOSTING = "code_hosting", "Code hosting"
    LLM_API = "llm_api", "LLM API"
    OPERATOR = "operator", "Operator"


def tls_port() -> list[int]:
    """What a domain is open on unless its row says more."""
    return [443]


class AllowedDomain(models.Model):
    """A row of the default allowlist of restricted networks: a domain with all below it.

    ``ports`` are open to TLS, ``http_ports`` to plain HTTP. Rows of ``registry`` follow the package
    clients of the host's machine: switch one off rather than delete it, or it comes back.
    """

    domain = models.CharField(primary_key=True, max_length=253)
    source = models.CharField(
        max_length=16, choices=DomainSource.choices, default=DomainSource.OPERATOR
    )
    ports = ArrayField(models.PositiveIntegerField(), default=tls_port)
    http_ports = ArrayField(models.PositiveIntegerField(), default=list, blank=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["source", "domain"]

    def __str__(self) -> str:
        return self.domain
