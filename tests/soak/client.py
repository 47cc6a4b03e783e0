"""An HTTP client on asyncio streams that can do what a well-behaved one cannot: stop in the middle, send anything."""
from __future__ import annotations

import asyncio
import json
import socket

PATIENCE = 200  # seconds without a byte: whoever needs them has failed; a sanitizer is slow


class Gone(Exception):
    """The server ended the connection, or said nothing for too long."""


def exact(text):
    """JSON whose numbers stay the text that was printed, so that equal means equal to the last digit."""
    return json.loads(text, parse_float=str)


class Client:
    """One connection. After reply() or the end of chunks() another request may be sent on it."""

    def __init__(self, port: int):
        self.port, self.reader, self.writer = port, None, None

    async def connect(self, receive_buffer: int = 0):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=1 << 16)

    async def send(self, data: bytes):
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise Gone(str(error)) from error

    async def post(self, path: str, body, chunked: bool = False):
        if self.writer is None:
            await self.connect()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: soak\r\n"
        if chunked:
            await self.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for at in range(0, len(data), 1000):
                part = data[at:at + 1000]
                await self.send(b"%x\r\n%s\r\n" % (len(part), part))
            await self.send(b"0\r\n\r\n")
        else:
            await self.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def _get(self, awaitable):
        try:
            return await asyncio.wait_for(awaitable, PATIENCE)
        except asyncio.TimeoutError as error:
            raise AssertionError(f"nothing came for {PATIENCE} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Gone(repr(error)) from error

    async def head(self):
        """Status and headers (names in lower case)."""
        text = (await self._get(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        first, *lines = text.split("\r\n")
        return int(first.split()[1]), {k.lower(): v for k, v in (x.split(": ", 1) for x in lines if x)}

    async def chunks(self):
        """The pieces of a chunked body."""
        while True:
            size = int(await self._get(self.reader.readuntil(b"\r\n")), 16)
            piece = await self._get(self.reader.readexactly(size + 2))
            if size == 0:
                return
            yield piece[:-2]

    async def reply(self):
        """Status and text of an answer that is complete."""
        status, headers = await self.head()
        if "transfer-encoding" in headers:
            return status, b"".join([piece async for piece in self.chunks()]).decode()
        return status, (await self._get(self.reader.readexactly(int(headers.get("content-length", 0))))).decode()

    def close(self, reset: bool = False):
        if self.writer is not None:
            # Bytes that are not read yet make a close a reset in any case.
            self.writer.transport.abort() if reset else self.writer.close()
        self.reader = self.writer = None


async def ask(port: int, path: str, body, chunked: bool = False):
    """Status and text of one request on a connection of its own."""
    client = Client(port)
    try:
        await client.post(path, body, chunked)
        return await client.reply()
    finally:
        client.close()


async def get(port: int, path: str):
    client = Client(port)
    try:
        await client.connect()
        await client.send(f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())
        return await client.reply()
    finally:
        client.close()
