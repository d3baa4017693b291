"""A webhook's secret, and what it signs.

The secret is never stored. It is derived from the row's salt and the server's pepper whenever it
is needed, so a copy of the database signs nothing; a new salt is a new secret.
"""

from __future__ import annotations

import hmac
import secrets

from django.conf import settings

PREFIX = "whsec_"
_HEX_DIGITS = 48  # 192 bits


def new_salt() -> str:
    """128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


def secret_of(*, webhook_id: str, salt: str) -> str:
    """What the webhook's owner was shown once. Losing the pepper changes every one of them."""
    # A token's digest has the same key, but what it is made of holds no NUL.
    message = f"webhook\0{webhook_id}\0{salt}".encode()
    digest = hmac.digest(settings.TOKEN_PEPPER.encode(), message, "sha256").hex()
    return PREFIX + digest[:_HEX_DIGITS]


def signature(secret: str, body: bytes) -> str:
    """The value of ``X-Orkestr-Signature``; it covers the body's exact bytes."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
