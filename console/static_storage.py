"""How static files are named when they are collected."""

from __future__ import annotations

from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # has no types
    """By their content, also where one of our scripts imports another.

    Under two names a module would be fetched and run twice: all it listens for would happen twice.
    """

    support_js_module_import_aggregation = True
    max_post_process_passes = 12
    """One for each step of the longest chain of imports, and one that finds nothing to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What others wrote imports nothing here, and says so in ways that look as if it did.
        self._patterns["console/*.js"] = self._patterns.pop("*.js")
