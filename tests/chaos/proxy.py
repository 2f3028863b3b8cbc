"""A TCP proxy before one service on loopback: it can cut all connections, refuse new ones, or fall silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

HOST = "127.0.0.1"
_CHUNK = 64 * 1024


class Proxy:
    """Listens on one port, forwards to another. Its loop turns in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)
        self._thread.start()
        self._call(self._listen())

    def cut(self) -> None:
        """Cut every connection; new ones are taken."""
        self._soon(self._cut)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut every connection and refuse new ones for the length of the block."""
        self._call(self._close())
        self.cut()
        try:
            yield
        finally:
            self._call(self._listen())

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Forward nothing for the length of the block, and keep every connection."""
        self._soon(self._flows.clear)
        try:
            yield
        finally:
            self._soon(self._flows.set)

    def stop(self) -> None:
        """Close everything."""
        self._call(self._end())
        self._soon(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _soon(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, self._port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        await self._close()
        self._flows.set()
        # Connections that were just taken, or are being made, end with their tasks.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            self._cut()
            await asyncio.wait(tasks, timeout=0.05)
        await asyncio.sleep(0.01)

    def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
