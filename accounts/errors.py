"""Why accounts say no, beside ``policy.Forbidden`` and ``tokens.Refused``."""

from __future__ import annotations


class Invalid(Exception):  # noqa: N818 - reads as what it says
    """What was asked for cannot be. The message is one sentence for the person who asked."""


class NotFound(Exception):  # noqa: N818 - reads as what it says
    """Nothing of that id here, or another account's: 404, on pages as in the API."""
