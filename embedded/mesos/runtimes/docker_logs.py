"""Copies a container's output into its sandbox, and goes on where it was after a restart."""

import asyncio
import contextlib
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from daemonkit.backoff import Backoff
from daemonkit.logs import get_logger
from embedded.mesos.durable import read_json, write_json
from embedded.mesos.runtimes.base import Launch
from embedded.mesos.runtimes.docker_stream import STDERR, STDOUT, DockerStreamError, DockerStreams, Frame
from embedded.mesos.runtimes.shim import Log

log = get_logger(__name__)
Json = dict[str, Any]
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


@dataclass
class Position:
    """How far one of the two streams is copied: the stamp of its last frame, and how many frames have that stamp, as those of a line that
    is too long for one. Stamps grow within a stream, not from one to the other."""

    stamp: str = ""
    frames: int = 0


class Reading:
    """One reading of the output, which begins with frames that are copied already."""

    def __init__(self, positions: dict[int, Position]) -> None:
        self.positions = positions
        self._seen = {stream: Position() for stream in positions}

    @property
    def since(self) -> str:
        return min(position.stamp for position in self.positions.values())

    def fresh(self, frames: list[Frame]) -> list[Frame]:
        """Those that are not copied yet; they count as copied from now on."""
        fresh = []
        for frame in frames:
            position, seen = self.positions[frame.stream], self._seen[frame.stream]
            seen.frames = seen.frames + 1 if frame.stamp == seen.stamp else 1
            seen.stamp = frame.stamp
            if (frame.stamp, seen.frames) > (position.stamp, position.frames):
                position.stamp, position.frames = frame.stamp, seen.frames
                fresh.append(frame)
        return fresh


class LogCopier:
    """`run` ends when the container has, or when its output cannot be read."""

    def __init__(self, streams: DockerStreams, container: str, launch: Launch, log_bytes: int, log_files: int) -> None:
        self._streams = streams
        self._container = container
        self._position_file = launch.directory / "logs.json"
        saved = read_json(self._position_file)
        self._positions = {stream: Position(**(saved or {}).get(name, {})) for stream, name in _NAMES.items()}
        self._paths = {stream: launch.sandbox / name for stream, name in _NAMES.items()}
        self._bounds = log_bytes, log_files
        self._outputs: dict[int, Log] = {}
        self._resumed = saved is not None

    async def run(self) -> None:
        try:
            self._launch_files()
            await self._copy_until_end()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning(
                "a container's output cannot be copied", container=self._container, error=str(error) or repr(error)
            )
        finally:
            for output in self._outputs.values():
                output.close()

    def _launch_files(self) -> None:
        self._position_file.parent.mkdir(parents=True, exist_ok=True)
        for stream, path in self._paths.items():
            self._outputs[stream] = Log(str(path), *self._bounds, None, fresh=not self._resumed)

    async def _copy_until_end(self) -> None:
        waits = Backoff(most=5.0)
        while True:
            try:
                reading = Reading(self._positions)
                async for frames in self._streams.logs(self._container, reading.since):
                    self._write(reading.fresh(frames))
                return
            except (aiohttp.ClientError, OSError) as error:
                log.info("a container's output broke off", container=self._container, error=str(error))
            except DockerStreamError as error:
                if error.status != 404:
                    self._say(f"The output of this container cannot be read: {error}\n")
                return
            await asyncio.sleep(waits.next())

    def _write(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._outputs[frame.stream].write(frame.data)
        if frames:
            positions = {_NAMES[stream]: asdict(position) for stream, position in self._positions.items()}
            with contextlib.suppress(OSError):
                write_json(self._position_file, positions, durable=False)

    def _say(self, text: str) -> None:
        self._outputs[STDERR].write(text.encode())
