"""What our ASGI server offers beyond ASGI, by its key in ``scope["extensions"]``."""

from __future__ import annotations

from typing import Final

#: ``Callable[[bytes], bool]``: send a text message (UTF-8) over an open websocket without waiting
#: for anything. False: nothing was sent, because the peer is behind or gone; ``send`` tells which.
WRITE: Final = "orkestr.write"
