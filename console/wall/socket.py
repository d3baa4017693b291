"""The wall's websocket: frames of JSON down, nothing up.

``all``: every row as HTML, their order, the counters. ``some``: the same of what changed, with
single ``cells`` of rows that stay. ``beat``: nothing changed for a while. ``behind``: the database
cannot be read, what is shown is old. ``state`` is ``full``, ``still`` (nothing runs) or ``new``.
"""

from __future__ import annotations

from accounts.policy import Principal
from console.account_socket import AccountSocket
from console.wall.hub import get_walls


class FleetWall(AccountSocket):
    """What runs in the account of whoever is signed in."""

    async def serve(self, principal: Principal) -> None:
        """The same frames as everybody who looks at this account's."""
        with get_walls().watch(principal.account_id) as viewer:
            while True:
                await self.send(text_data=await viewer.next())
