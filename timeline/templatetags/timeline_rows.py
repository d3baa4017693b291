"""How a row says times, sizes and endings. What an event does not say is left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django import template
from django.utils.safestring import SafeString

from timeline import ansi, pictures
from timeline.commands import ending_of
from timeline.highlighting import highlighted
from timeline.inert import inert as inert_name

register = template.Library()

#: Characters of code that are worth their colours to a page.
MARKED_CODE: Final = 16 * 1024
_KIB = 1024
_SECOND = 1000


@register.filter
def moment(at: int) -> str:
    """Microseconds since the epoch as ISO-8601 in UTC, for ``<time datetime>``."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="milliseconds")


@register.filter
def clock(at: int) -> str:
    """Microseconds since the epoch as the hour of the day in UTC, until a script says it better."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%H:%M:%S")


@register.filter
def size(count: object) -> str:
    """Bytes in the largest unit that keeps a digit before the point: 312 B, 9.1 KB, 64 MB."""
    if not isinstance(count, (int, float)):
        return ""
    amount, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if amount < _KIB:
            break
        amount, unit = amount / _KIB, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"


@register.filter
def megabytes(count: object) -> str:
    """Megabytes as a size is named: 512 MB, 4 GB."""
    if not isinstance(count, (int, float)):
        return ""
    return f"{count / _KIB:g} GB" if count >= _KIB else f"{count:g} MB"


@register.filter
def duration(ms: object) -> str:
    """Milliseconds as 840 ms, 4.3 s, 2 min 08 s or 1 h 04 min."""
    if not isinstance(ms, (int, float)):
        return ""
    if ms < _SECOND:
        return f"{ms:.0f} ms"
    seconds = ms / _SECOND
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@register.filter
def span_of(seconds: object) -> str:
    """A setting in seconds as 45 s, 10 min or 1 h 30 min."""
    if not isinstance(seconds, (int, float)):
        return ""
    minutes, rest = divmod(int(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes % 60 else f"{minutes // 60} h"


@register.filter
def ending(data: Mapping[str, Any]) -> str:
    """How a command ended, as the row's ``data-state``: ``ok``, ``late`` or ``bad``."""
    return ending_of(data).state


_CELL_STATES = {"ok": "ok", "interrupted": "late"}


@register.filter
def cell_state(status: object) -> str:
    """How a cell ended, as the row's ``data-state``: ``ok``, ``late`` or ``bad``."""
    return _CELL_STATES.get(str(status), "bad")


@register.filter
def python(code: object) -> SafeString:
    """Code with its words marked by what they are; long code is shown plain, as it is in a row that
    is made for everybody at once."""
    text = str(code)
    language = "python" if len(text) <= MARKED_CODE else ""
    return SafeString("\n".join(highlighted(text, language)))


@register.filter
def output(text: object) -> SafeString:
    """Text as a terminal would show it, by the rules of every output."""
    return SafeString(ansi.to_html(str(text)))


@register.filter
def picture(png: object) -> pictures.Picture | None:
    """An image that a page may show, or None."""
    return pictures.picture(png)


@register.filter
def inert(name: object) -> str:
    """A path or name that a sandbox made up, as one harmless line."""
    return inert_name(name) if isinstance(name, str) else ""


@register.filter
def closing(data: Mapping[str, Any]) -> str:
    """How a terminal ended, as the row's ``data-state``; a shell's last exit code is no failure."""
    return "bad" if data.get("exit_code") is None and not data.get("signal") else "ok"


_KEYS: Final = {"\r": " ⏎", "\n": " ⏎", "\t": "⇥", "\x7f": "⌫", "\b": "⌫", "\x1b": "⎋"}
_ARROWS: Final = (("\x1b[A", "↑"), ("\x1b[B", "↓"), ("\x1b[C", "→"), ("\x1b[D", "←"))


@register.filter
def keys(text: object) -> str:
    """What was typed, with the keys that leave no letter as signs: ``ls ⏎``, ``^C``, ``↑``."""
    if not isinstance(text, str):
        return ""
    shown = text.replace("\x1b[200~", "").replace("\x1b[201~", "")
    for sequence, sign in _ARROWS:
        shown = shown.replace(sequence, sign).replace(sequence.replace("[", "O"), sign)
    return "".join(map(_key, shown)).strip()


def _key(letter: str) -> str:
    if letter in _KEYS:
        return _KEYS[letter]
    if letter < " ":
        return "^" + chr(ord(letter) + 64)
    return letter if letter.isprintable() else "\ufffd"


@register.filter
def words(name: object) -> str:
    """A machine's word for people: ``idle_timeout`` as idle timeout."""
    return name.replace("_", " ") if isinstance(name, str) else ""


_SIGNALS: Final = {
    "repeated": "Same command again",
    "loop": "Going in circles",
    "failing": "Failing streak",
    "quiet": "No output",
    "waiting": "Waits for input",
    "denied": "Denied again and again",
    "reverted": "Edited and reverted",
}


@register.filter
def signal_name(rule: object) -> str:
    """What a rule by which a run may be stuck is called."""
    return _SIGNALS.get(str(rule), "May be stuck")


@register.filter
def octal(mode: int | str | None) -> str:
    """A file's permission bits as people type them: 0644."""
    if mode is None or mode == "":
        return ""
    return f"{mode & 0o7777:04o}" if isinstance(mode, int) else mode
