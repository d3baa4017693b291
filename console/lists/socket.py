"""The list's websocket: HTML down as htmx swaps it in, nothing up.

The first frame is the whole list, so that what changed before the socket was open shows. Those
after it hold the rows that are new, changed or gone; the whole list where that says less.
"""

from __future__ import annotations

from django.http import QueryDict

from accounts.policy import Principal, Scope, allows
from console import boards
from console.account_socket import AccountSocket
from console.consumers import FORBIDDEN
from console.lists.hub import get_lists
from console.lists.picture import View
from sandboxes.errors import InvalidRequest
from sandboxes.selectors import cursor_check


class SandboxLists(AccountSocket):
    """The list that the address of the socket narrows."""

    async def serve(self, principal: Principal) -> None:
        """The same frames as everybody who may do and sees the same."""
        filters = boards.filters_from(QueryDict(self.scope["query_string"]))
        try:
            cursor_check(filters.cursor)
        except InvalidRequest:
            await self.close(code=FORBIDDEN)
            return
        view = View(
            account_id=principal.account_id,
            query=filters.query,
            may_act=allows(principal, Scope.SANDBOXES_WRITE),
            base=self._base(),
        )
        with get_lists().watch(view) as viewer:
            while True:
                await self.send(text_data=await viewer.next())

    def _base(self) -> str:
        """The address the browser used, as its page shows it."""
        headers: dict[bytes, bytes] = dict(self.scope["headers"])
        return headers.get(b"origin", b"").decode("latin1")
