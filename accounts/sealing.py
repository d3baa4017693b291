"""Secrets that have to be read again, encrypted under a key that is not in the database."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


def sealed(text: str) -> str:
    """What the database keeps."""
    return _fernet().encrypt(text.encode()).decode()


def opened(text: str) -> str | None:
    """The reverse; None where the key is another one."""
    try:
        return _fernet().decrypt(text.encode()).decode()
    except InvalidToken:
        return None


def _fernet() -> Fernet:
    key = hashlib.sha256(b"sealing " + settings.TOKEN_PEPPER.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
