"""The app of `bench.edge_load`: an HTTP server that keeps connections open and says which version and task it is.

`python _edge_app.py PORT VERSION`. It ends at once when it is told to: to let it finish what it has is the platform's job.
"""

import asyncio
import os
import sys


class Server(asyncio.Protocol):
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.begun = b""

    def data_received(self, data: bytes) -> None:
        self.begun += data
        while b"\r\n\r\n" in self.begun:  # GETs: a request ends with its head
            _, _, self.begun = self.begun.partition(b"\r\n\r\n")
            self.transport.write(self.answer)


async def main() -> None:
    body = f"version {sys.argv[2]} from {os.environ.get('MESOS_TASK_ID', '')}\n".encode()
    Server.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
