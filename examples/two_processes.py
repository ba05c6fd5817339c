"""Two processes, one tube: all that an application does which carries the signaling itself.

`python examples/two_processes.py` starts itself a second time, as the answering end. Descriptions and candidates pass
as JSON lines over a local TCP connection. Yours pass over a way that authenticates both ends: who can alter an offer
can take the tube over.
"""

import asyncio
import contextlib
import json
import sys

import perdure
from perdure.wire import ResetCode

TUBE = "example"


class End:
    """One end: its registry, what goes to the peer and what comes from it."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = perdure.TransportConfig(loopback=True)
        self.tubes = perdure.TubeRegistry(transport=transport, signal_handler=self.signal, on_stream=accept_echo)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._name, self._reader, self._writer = name, reader, writer

    def say(self, text: str) -> None:
        print(f"{self._name}: {text}\n", end="", flush=True)  # in one piece: both processes write here

    def send(self, kind: str, data: object) -> None:
        self._writer.write(json.dumps({"kind": kind, "data": data}).encode() + b"\n")

    async def signal(self, signal: perdure.Signal) -> None:
        """The signal handler. Async, so it runs on the loop, where registry and managers may be called."""
        match signal:
            case perdure.IceCandidate():
                self.send("candidate", signal.data)
            case perdure.IceRestartOffer():
                self.send("offer", signal.sdp)
            case perdure.ChannelClosed():
                self.say(f"{signal.state}: {signal.reason} ({signal.detail})")
                self.send("ended", signal.reason)  # a tube that fails cannot say so itself
                self.ended.set_result(signal.state)

    async def receive(self) -> None:
        """The receive loop: until the tube has ended, or the peer's process has."""
        with contextlib.closing(self._writer):
            while not self.ended.done() and (line := await self._reader.readline()):
                message = json.loads(line)
                try:
                    await self._take(message["kind"], message["data"])
                except perdure.ProtocolError as error:
                    # Late, or it crossed one of ours, or it is none of perdure's: nothing was changed. Ignore it.
                    self.say(f"ignores this {message['kind']}: {error}")
                except perdure.PeerError as error:
                    # It cannot be answered now. The tube lives on, and one of its ends will offer again.
                    self.say(f"has no answer now: {error}")
                except (ValueError, RuntimeError):
                    break  # there is no such tube any more
            # Where your signaling can come back: `set_signaling_available(False)`, `True` then. This one cannot.
            await self.tubes.close_all(detail="the other process has gone")
            await asyncio.wait([self.ended], timeout=5)  # its last signal, where there ever was a tube

    async def _take(self, kind: str, data: object) -> None:
        match kind, data:
            case "offer", str() if not len(self.tubes):  # the first
                self.tubes.create_tube(TUBE, offer=data)
                self.send("answer", await self.tubes.create_answer(TUBE))
            case "offer", str():
                self.send("answer", await self.tubes.set_remote_description(TUBE, data, "offer"))
            case "answer", str():
                await self.tubes.set_remote_description(TUBE, data, "answer")
            case "candidate", dict():
                self.tubes.add_ice_candidate(TUBE, data)
            case "ended", str():
                await self.tubes.close_tube(TUBE, detail=f"the other end: {data}")


class Stream:
    """A stream's user. What comes waits here until it is read, and so does the peer, 2 MiB later."""

    def __init__(self, manager: perdure.TunnelConnectionManager, stream_id: int | None = None) -> None:
        self._streams = manager.streams
        self._coming: asyncio.Queue[bytes | ResetCode] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._is_reset = False
        self._id = self._streams.open_stream(b"echo", self) if stream_id is None else stream_id

    async def write(self, data: bytes) -> None:
        self._has_room.clear()
        if not self._streams.write(self._id, data) and not self._is_reset:
            await self._has_room.wait()

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        data = await self._coming.get()
        if isinstance(data, ResetCode):
            raise ConnectionResetError(f"the stream was reset: {data.name}")
        self._streams.consume(self._id, len(data))
        return data

    def finish(self) -> None:
        self._streams.finish(self._id)  # this end writes no more; it still reads

    # What the tube calls, at once on the loop: none of it may block.

    def stream_accepted(self) -> None: ...
    def stream_data(self, data: memoryview) -> None:
        self._coming.put_nowait(bytes(data))

    def stream_writable(self) -> None:
        self._has_room.set()

    def stream_finished(self) -> None:
        self._coming.put_nowait(b"")

    def stream_reset(self, code: ResetCode) -> None:
        self._is_reset = True
        self._coming.put_nowait(code)
        self._has_room.set()


def accept_echo(manager: perdure.TunnelConnectionManager, stream_id: int, target: bytes) -> Stream | None:
    if target != b"echo":
        return None  # refused: NOT_ALLOWED
    manager.streams.accept(stream_id)
    stream = Stream(manager, stream_id)
    tasks.add(asyncio.create_task(echo(stream)))
    return stream


async def echo(stream: Stream) -> None:
    with contextlib.suppress(ConnectionResetError):  # the opener gave up, or the tube ended
        while data := await stream.read():
            await stream.write(data)
        stream.finish()


tasks = set[asyncio.Task[None]]()  # the loop refers to its tasks only weakly


async def talk(end: End) -> None:
    """The offering end: connects, says something before, during and after an ICE restart, and closes the tube."""
    manager, is_up = end.tubes.create_tube(TUBE), asyncio.Event()
    manager.add_state_change_callback(lambda change: is_up.set() if change.after.is_up else is_up.clear())
    end.send("offer", await end.tubes.create_offer(TUBE))
    stream = Stream(manager)  # before the tube is connected, too: what is written waits for it
    for words in b"before", b"during", b"after":
        await stream.write(words)
        if words == b"during":
            await end.tubes.restart_ice(TUBE)  # its offer comes as a signal too, and is sent there
        answer = b""
        while len(answer) < len(words):  # a stream is bytes, not messages
            answer += await stream.read()
        await is_up.wait()
        end.say(f"{answer.decode()} (ICE restarts: {manager.metrics.ice_restart_attempts})")
    stream.finish()
    await stream.read()
    await end.tubes.close_tube(TUBE, detail="all is said")


async def main() -> int:
    async with asyncio.timeout(60):
        if len(sys.argv) > 1:  # the second process
            end = End("answering", *await asyncio.open_connection("127.0.0.1", int(sys.argv[1])))
            await end.receive()
            return 0 if end.ended.done() and end.ended.result() == "closed" else 1
        met: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
        server = await asyncio.start_server(lambda *connection: met.set_result(connection), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        other = await asyncio.create_subprocess_exec(sys.executable, __file__, str(port))
        end = End("offering", *await met)
        server.close()
        await asyncio.gather(end.receive(), talk(end))  # both end after the last signal: until then the loop must run
        return await other.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
