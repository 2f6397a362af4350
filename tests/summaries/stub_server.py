"""A chat server for tests: it answers, fails, dawdles or talks rubbish, as a script says."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SUMMARY = "They care for small useful things. A few makers come up again. Lately they look for brighter ones."
Reply = dict[str, Any]  # "status", "body" (text, or None for a good reply), "wait" seconds, "finish"


def completion(text: str, finish: str = "stop") -> str:
    """The body of a good reply."""
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": "1", "object": "chat.completion", "created": 0, "model": "stub",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        }
    )  # fmt: skip


class Stub:
    """What the server was asked (the user's messages, in order of arrival), and the most requests at a time.

    script: the reply to a request, from its prompt and how often that prompt came before
    """

    def __init__(self, script: Callable[[str, int], Reply]) -> None:
        self.script = script
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        prompt = body["messages"][-1]["content"]
        with self._lock:
            before = self.asked.count(prompt)
            self.asked.append(prompt)
            self.headers.append(headers)
            self.bodies.append(body)
            self._now += 1
            self.most = max(self.most, self._now)
        reply = self.script(prompt, before)
        time.sleep(reply.get("wait", 0))
        with self._lock:
            self._now -= 1
        return reply


@contextmanager
def serve(script: Callable[[str, int], Reply]) -> Iterator[tuple[str, Stub]]:
    """Give the base URL and what the server sees."""
    stub = Stub(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = stub.reply(body, {name.lower(): value for name, value in self.headers.items()})
            content = reply.get("body")
            content = completion(SUMMARY) if content is None else content
            try:
                self.send_response(reply.get("status", 200))
                self.send_header("Content-Type", "application/json")
                self.send_header("retry-after-ms", "1")
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())
            except OSError:  # the client has gone
                return

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", stub
    finally:
        server.shutdown()
        server.server_close()
