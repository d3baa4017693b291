# mypy: ignore-errors
"""What runs in the sandbox of these tests: HTTP by hand and websockets, with nothing installed."""

import asyncio
import base64
import hashlib
import json
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return writer.close()
    first, *lines = head.decode("latin1").split("\r\n")
    method, target, _ = first.split(" ")
    fields = [line.split(": ", 1) for line in lines if line]
    headers = {name.lower(): value for name, value in fields}
    path = target.partition("?")[0]
    await PATHS.get(path, echo)(reader, writer, method, target, headers)
    await writer.drain()
    writer.close()


async def echo(reader, writer, method, target, headers):
    body = await body_of(reader, headers)
    seen = {"method": method, "target": target, "headers": headers, "size": len(body)}
    seen["sum"] = hashlib.sha256(body).hexdigest()
    answer(writer, json.dumps(seen).encode(), "content-type: application/json")


async def body_of(reader, headers):
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", 0)))


async def page(reader, writer, method, target, headers):
    html = b"""<!doctype html><title>Inside</title><h1>Hello from the sandbox</h1><p id=ws></p>
<p id=sse></p><script>
const ws = new WebSocket(`ws://${location.host}/ws?x=1`);
ws.onopen = () => ws.send('from the page');
ws.onmessage = (e) => document.getElementById('ws').textContent = e.data;
const sse = new EventSource('/sse');
sse.onmessage = (e) => { document.getElementById('sse').textContent += e.data; };
document.cookie = 'mine=1';
</script>"""
    answer(writer, html, "content-type: text/html", "set-cookie: app=1; Path=/")


async def cookies(reader, writer, method, target, headers):
    answer(
        writer,
        b"ok",
        "set-cookie: app=1; Domain=localhost; Path=/",
        "set-cookie: orkestr_session=stolen; Path=/",
        "set-cookie: __Host-ork_preview=stolen",
        "set-cookie: other=2; HttpOnly; DOMAIN = .localhost; Max-Age=5",
        "alt-svc: h3=':443'",
        "keep-alive: timeout=5",
        "x-kept: yes",
    )


def answer(writer, body, *fields, status="200 OK"):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)


async def sse(reader, writer, method, target, headers):
    """An event, then silence until it is asked to go on by a file."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    for number in range(1000):
        writer.write(b"data: %d\n\n" % number)
        await writer.drain()
        await asyncio.sleep(0.05 if number else 0.5)


async def flood(reader, writer, method, target, headers):
    """As many megabytes as asked for, chunked."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b"x" * 65536
    for _ in range(16 * int(target.partition("=")[2])):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def gone(reader, writer, method, target, headers):
    """Tells whether the one before was left: its reader came to an end."""
    answer(writer, json.dumps(LEFT).encode())


async def wait(reader, writer, method, target, headers):
    """Begins an answer and notes that its reader left."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegun")
    await writer.drain()
    await reader.read()
    LEFT.append(target)


async def ws(reader, writer, method, target, headers):
    """Echoes messages; ``close`` closes with 3456, ``empty`` sends an empty one."""
    key = headers["sec-websocket-key"].encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
    protocols = headers.get("sec-websocket-protocol", "")
    chosen = f"sec-websocket-protocol: {protocols.split(',')[-1].strip()}\r\n" if protocols else ""
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-accept: {accept}\r\n{chosen}\r\n".encode()
    )
    while True:
        opcode, payload = await frame_of(reader)
        if opcode == 8:
            return
        if payload == b"close":
            return send(writer, 8, struct.pack("!H", 3456) + b"bye")
        if payload == b"empty":
            send(writer, 1, b"")
        elif payload == b"headers":
            send(writer, 1, json.dumps({"target": target, **headers}).encode())
        elif payload.startswith(b"flood"):
            for _ in range(int(payload[5:])):
                send(writer, 2, b"x" * 65536)
                await writer.drain()
        elif payload == b"stall":
            await asyncio.sleep(3600)
        else:
            send(writer, opcode, payload)
        await writer.drain()


async def frame_of(reader):
    first, second = await reader.readexactly(2)
    size = second & 127
    if size == 126:
        size = struct.unpack("!H", await reader.readexactly(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", await reader.readexactly(8))[0]
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def send(writer, opcode, data):
    size = len(data)
    if size < 126:
        head = bytes([128 | opcode, size])
    elif size < 65536:
        head = bytes([128 | opcode, 126]) + struct.pack("!H", size)
    else:
        head = bytes([128 | opcode, 127]) + struct.pack("!Q", size)
    writer.write(head + data)


LEFT = []
PATHS = {
    "/page": page,
    "/cookies": cookies,
    "/sse": sse,
    "/flood": flood,
    "/ws": ws,
    "/wait": wait,
    "/left": gone,
}


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=2**20)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
