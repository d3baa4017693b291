"""Connections into a sandbox's ports, made from outside its network."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from sandboxes.host.port_client import PortClient
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import ACTOR, Make, Sandboxed, both

WAIT = 10
#: Echoes what it is told on every address given, then the port.
ECHO = """cat > /tmp/echo.py <<'END'
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    servers = [await asyncio.start_server(echo, host, int(sys.argv[1])) for host in sys.argv[2:]]
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main())
END
(python3 /tmp/echo.py %d %s >/tmp/echo.log 2>&1 &) ; sleep 0"""


def ports_of(sandbox: Sandboxed) -> PortClient:
    return PortClient(str(sandbox.host.socket))


async def connect(sandbox: Sandboxed, port: int) -> socket.socket:
    return await ports_of(sandbox).connect(sandbox.id, port, address="192.0.2.7", actor=ACTOR)


async def listens(sandbox: Sandboxed, port: int, *hosts: str) -> None:
    await sandbox.output(ECHO % (port, " ".join(hosts)))
    async with asyncio.timeout(WAIT):
        while port not in await ports_of(sandbox).ports(sandbox.id):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def echoed(sock: socket.socket, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(data)
    async with asyncio.timeout(WAIT):
        answer = await reader.readexactly(len(data))
    writer.close()
    return answer


@both
@pytest.mark.parametrize("network", ["off", "restricted", "open"])
async def test_what_listens_on_its_loopback_is_reached(make_sandbox: Make, network: str) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare", network=network)
    assert await ports_of(sandbox).ports(sandbox.id) == []
    await listens(sandbox, 3000, "127.0.0.1")
    assert await ports_of(sandbox).ports(sandbox.id) == [3000]
    data = bytes(range(256)) * 4000
    assert await echoed(await connect(sandbox, 3000), data) == data


@both
async def test_localhost_may_mean_the_newer_protocol(make_sandbox: Make) -> None:
    """As it does to Node, and so to most servers of the front end's developers."""
    sandbox = await make_sandbox(template="python-3.12-bare")
    await listens(sandbox, 5173, "::1")
    assert await echoed(await connect(sandbox, 5173), b"hello") == b"hello"


@both
async def test_it_is_that_sandboxs_port_and_no_other(make_sandbox: Make) -> None:
    one = await make_sandbox(template="python-3.12-bare")
    other = await make_sandbox(template="python-3.12-bare")
    await listens(one, 3000, "127.0.0.1")
    with pytest.raises(HostError, match="Nothing listens on port 3000") as refused:
        await connect(other, 3000)
    assert refused.value.code == "not_listening"
    with socket.create_server(("127.0.0.1", 0)) as mine:
        with pytest.raises(HostError) as refused:
            await connect(other, mine.getsockname()[1])
        assert refused.value.code == "not_listening", "the machine's own ports are not there"


@pytest.mark.parametrize("port", [0, -1, 65536, 3128])
async def test_a_port_that_is_not_its_own_is_refused(make_sandbox: Make, port: int) -> None:
    """3128 is the egress proxy's: through it a visitor would get out in the sandbox's name."""
    sandbox = await make_sandbox(network="restricted")
    with pytest.raises(HostError) as refused:
        await connect(sandbox, port)
    assert refused.value.code == "invalid"


async def test_a_server_that_takes_no_connection_is_told(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare")
    await sandbox.output(
        '(python3 -c \'import socket, time; s = socket.create_server(("127.0.0.1", 3000),'
        " backlog=0); time.sleep(60)' >/dev/null 2>&1 &); sleep 0"
    )
    async with asyncio.timeout(WAIT):
        while not await ports_of(sandbox).ports(sandbox.id):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    held = [await connect(sandbox, 3000)]
    with pytest.raises(HostError) as refused:
        while len(held) < 8:
            held.append(await connect(sandbox, 3000))
    assert refused.value.code == "not_answering"
    for sock in held:
        sock.close()


async def test_a_port_in_use_is_told_once(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare")
    await listens(sandbox, 3000, "127.0.0.1")
    for _ in range(3):
        (await connect(sandbox, 3000)).close()
    event = sandbox.host.until_event(sandbox.id, "network.preview")
    assert event.data == {"port": 3000, "address": "192.0.2.7"}
    await sandbox.terminate()
    sandbox.host.until_event(sandbox.id, "sandbox.terminated")
    kinds = [one.kind for one in sandbox.host.events(sandbox.id)]
    assert kinds.count("network.preview") == 1


@both
async def test_a_connection_ends_with_its_sandbox(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="python-3.12-bare")
    await listens(sandbox, 3000, "127.0.0.1")
    reader, writer = await asyncio.open_connection(sock=await connect(sandbox, 3000))
    await sandbox.terminate()
    async with asyncio.timeout(WAIT):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    with pytest.raises(HostError) as refused:
        await connect(sandbox, 3000)
    assert refused.value.code == "not_running"
