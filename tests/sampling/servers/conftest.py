"""A small server that speaks OpenAI's protocol over real sockets, and fails when it is told to."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

EOS = 2


def completion(body: dict[str, Any], vllm: bool) -> dict[str, Any]:
    """The answer: tokens that are a function of the prompt, the seed and the settings."""
    chat = "messages" in body
    prompt = body["messages"] if chat else body["prompt"]
    said = json.dumps(
        [prompt, body["seed"], *(body.get(name, 1.0) for name in ("temperature", "top_p"))]
    )
    rng = np.random.default_rng(list(hashlib.sha256(said.encode()).digest()))
    longest = body.get("max_tokens") or body["max_completion_tokens"]
    ids = rng.integers(6, 96, size=rng.integers(0, longest + 4)).tolist()
    stopped = len(ids) < longest
    ids = [*ids, EOS] if stopped else ids[:longest]
    logprobs = np.log(rng.uniform(size=len(ids))).tolist()
    text = " ".join(f"w{i - 6}" for i in ids if i != EOS)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if stopped else "length"}
    whole: dict[str, Any] = {
        "choices": [choice],
        "usage": {"completion_tokens": len(ids), "prompt_tokens": 3},
    }
    if chat:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    wanted = body.get("logprobs")
    if wanted is not None and wanted is not False:  # 0 is a number of alternatives
        content = [{"token": "w", "logprob": value} for value in logprobs]
        choice["logprobs"] = {"content": content} if chat else {"token_logprobs": logprobs}
    if vllm and body.get("return_token_ids"):
        choice["token_ids"] = ids
        told = whole if chat else choice
        told["prompt_token_ids"] = [7, 8] if chat or isinstance(prompt, str) else prompt
    return whole


class Server:
    """Answers on a port of this machine; `fault` says what happens to a request.

    Parameters
    ----------
    fault : callable
        Given the number of the request (from 0) and its body, the name of a
        fault (see `answer`), a status with a message ``(400, "too long")``, or None.
    vllm : bool
        Whether it is like vLLM: token ids in and out.
    port : int
    """

    def __init__(
        self,
        fault: Callable[[int, dict[str, Any]], Any] = lambda number, body: None,
        vllm: bool = True,
        port: int = 0,
    ) -> None:
        self.fault, self.vllm = fault, vllm
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.keys: set[str | None] = set()
        self.answered = 0
        self.busy = self.most_busy = 0
        self.pause = 0.0
        self.retry_after = 0.02
        self.dead = False
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return what this server says to a request."""
        return completion(body, self.vllm)

    def die(self) -> None:
        """Refuse connections from now on, and leave the open ones without an answer."""
        with self.lock:
            if self.dead:
                return
            self.dead = True
        self._http.shutdown()
        self._http.server_close()

    def close(self) -> None:
        self.released.set()
        self.die()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected here."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            models = [{"id": "tiny", "owned_by": "vllm" if server.vllm else "me"}]
            self.reply(200, json.dumps({"object": "list", "data": models}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                if server.dead:
                    return self.hang_up()
                number = len(server.bodies)
                server.bodies.append(body)
                server.times.append(time.monotonic())
                server.paths.append(self.path)
                server.keys.add(self.headers.get("Authorization"))
                server.busy += 1
                server.most_busy = max(server.most_busy, server.busy)
            try:
                time.sleep(server.pause)
                self.answer(server.fault(number, body), body)
            finally:
                with server.lock:
                    server.busy -= 1

        def answer(self, fault: Any, body: dict[str, Any]) -> None:
            whole = server.completion(body)
            text = json.dumps(whole)
            match fault:
                case None:
                    with server.lock:
                        alive = not server.dead
                        server.answered += alive
                    if alive:
                        self.reply(200, text)
                    else:
                        self.hang_up()
                case "die":
                    threading.Thread(target=server.die, daemon=True).start()
                    self.hang_up()
                case "429":
                    self.reply(
                        429,
                        '{"error": {"message": "slow down"}}',
                        {"Retry-After": str(server.retry_after)},
                    )
                case "429-later":
                    self.reply(429, '{"error": {"message": "slow down"}}')
                case "500" | "503":
                    self.reply(int(fault), '{"error": {"message": "oh"}}')
                case "hang":
                    server.released.wait(20)
                    self.hang_up()
                case "malformed":
                    self.reply(200, text[: len(text) // 2])
                case "html":
                    self.reply(200, "<html>Bad gateway</html>", {"Content-Type": "text/html"})
                case "no-choice":
                    self.reply(200, json.dumps({**whole, "choices": []}))
                case "abort":
                    whole["choices"][0]["finish_reason"] = "abort"
                    self.reply(200, json.dumps(whole))
                case "short-logprobs":
                    whole["choices"][0]["logprobs"]["token_logprobs"] = [-1.0] * 99
                    self.reply(200, json.dumps(whole))
                case "truncated":
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text[: len(text) // 2].encode())
                    self.hang_up()
                case "close":
                    self.hang_up()
                case (int() as status, str() as message):
                    self.reply(status, json.dumps({"error": {"message": message}}))
                case _:
                    raise AssertionError(fault)

        def reply(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers, which end with the test."""
    servers = []

    def start(*args: Any, **options: Any) -> Server:
        servers.append(Server(*args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def forty() -> pa.Table:
    """Forty prompts, with a column that travels along."""
    return pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(40)],
            "prompt": [f"w{i} w{(3 * i) % 90}" for i in range(40)],
            "level": pa.array([[i, i + 1] for i in range(40)]),
        }
    )
