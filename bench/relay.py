"""A line with delay: a relay on loopback that hands on what comes, both ways, some milliseconds later, at any rate.

    python bench/relay.py TARGET-PORT MILLISECONDS        prints its own port, and runs until it is stopped

What is asked waits half of the time, what is answered the other half, as on a line of that round trip; a new connection waits for
all of it.  Kernels without ``sch_netem`` have no other.
"""

from __future__ import annotations

import asyncio
import sys

PIECE = 1 << 18
AHEAD = 4096
"""So many pieces are on the way at most: as good as a window that is never full."""


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Everything from one to the other, each piece ``seconds`` after it came, in order."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(AHEAD)

    async def take() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(PIECE)
            except OSError:
                data = b""
            await pieces.put((loop.time() + seconds, data))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        taking.cancel()
        writer.close()


async def serve(target: int, delay: float) -> None:
    """Relay to ``target`` with a round trip of ``delay`` seconds more."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target, limit=PIECE)
        except OSError:
            writer.close()
            return
        await asyncio.gather(hand_on(reader, back, delay / 2), hand_on(there, writer, delay / 2))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
