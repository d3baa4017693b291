"""The names of previews, and what opens them.

A name is ``<port>-<ULID in lower case>.<base>``. It opens the port to whoever has it, because the
ULID cannot be guessed; with ``preview_auth`` the sandbox's token is asked for too. Token and cookie
follow from the sandbox's id under the installation's key, so neither is stored anywhere.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

#: The parameter by which a link carries the token.
QUERY: Final = "ork_preview_token"
_SALT: Final = "sandboxes.previews"


def preview_host_base(sandbox_id: str) -> str | None:
    """What follows the port in a sandbox's names; None where there are no previews."""
    base = settings.ORKESTR_PREVIEW_BASE
    return f"{sandbox_id[4:].lower()}.{base}" if base else None


def scheme() -> str:
    """Of every address: previews are served beside the console."""
    return urlsplit(settings.ORKESTR_BASE_URL).scheme


def base_name() -> str:
    """The base without its port."""
    return str(settings.ORKESTR_PREVIEW_BASE).partition(":")[0]


def preview_token(sandbox_id: str) -> str:
    """What ``preview_auth`` asks for."""
    return _mac("token", sandbox_id)


def preview_cookie(sandbox_id: str, port: int) -> str:
    """What a browser gets for the token: good for that port alone, and no token itself."""
    return _mac("cookie", sandbox_id, str(port))


def same(shown: bytes, wanted: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(shown, wanted.encode())


def _mac(kind: Literal["token", "cookie"], *fields: str) -> str:
    digest = salted_hmac(f"{_SALT}.{kind}", "/".join(fields), algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
