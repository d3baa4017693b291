"""What people call the program behind a user agent: enough to tell one's own devices apart."""

from __future__ import annotations

from typing import Final

# In this order: most browsers claim to be the ones below them, too.
_PROGRAMS: Final = (
    *(("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("FxiOS", "Firefox")),
    *(("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"), ("curl", "curl")),
)
_SYSTEMS: Final = (
    *(("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("CrOS", "ChromeOS")),
    *(("Windows", "Windows"), ("Mac OS X", "macOS"), ("Linux", "Linux")),
)


def device_of(user_agent: str) -> str:
    """``Firefox on Linux``; the first words of what is unknown."""
    program = next((name for mark, name in _PROGRAMS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if program and system:
        return f"{program} on {system}"
    return program or system or user_agent[:40] or "Unknown device"
