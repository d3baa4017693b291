"""Pages that list an account's sandboxes are told of every change."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from channels.layers import get_channel_layer

from accounts.announce import account_group
from tests.cast import Cast
from tests.stack import Stack


async def test_making_and_ending_a_sandbox_is_told_to_its_account(
    stack: Stack, account: Cast, other_account: Cast, token: str
) -> None:
    layer = get_channel_layer()
    assert layer is not None
    name = await layer.new_channel()
    await layer.group_add(account_group(account.account.id), name)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as http:
        made = await http.post("/v1/sandboxes", json={"template": "debian-12"})
        sandbox_id = made.json()["id"]
        changed = {"type": "sandbox.changed", "sandbox_id": sandbox_id}
        assert [await _next(layer, name) for _ in range(2)] == [changed] * 2
        await http.delete(f"/v1/sandboxes/{sandbox_id}")
        assert await _next(layer, name) == changed
    await layer.group_discard(account_group(account.account.id), name)


async def _next(layer: Any, name: str) -> Any:
    return await asyncio.wait_for(layer.receive(name), 20)
