"""An HTTP server that answers every GET with what a test sets, or with what it sets for that path."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Answering:
    url: str = ""
    body: str = ""
    status: int = 200
    content_type: str = "application/json"
    at: dict[str, str] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)  # where it is cleared, no answer comes


MOST = 60.0  # seconds without an answer, however unready


@contextlib.contextmanager
def answering() -> Iterator[Answering]:
    said = Answering()
    said.ready.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.ready.wait(MOST)
            body = said.at.get(self.path, said.body).encode()
            self.send_response_only(said.status)  # without a date: a test has its own time
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield said
    finally:
        said.ready.set()
        server.shutdown()
        thread.join()
        server.server_close()
