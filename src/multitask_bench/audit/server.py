"""The page as a local server: loopback only, behind a random token, with no request to anywhere else.

A page in another tab could send requests to a port of this machine. Hence the token in the path (it is in no
Referer), the check of Host against a name that was bound to loopback (DNS rebinding), and of Origin and content type
on whatever changes something. Texts of models go out as JSON and are set as text, under a policy that runs no
script but the page's own.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, get_args

from typing_extensions import override

from multitask_bench.audit.folder import Said
from multitask_bench.audit.session import CHOICES, Session
from multitask_bench.errors import ConfigError, MtbError

HOST = "127.0.0.1"
LARGEST = 10_000
"""Bytes of a request's body; a label has some sixty."""
PATIENCE_S = 30
"""A connection that says nothing for so long is closed: browsers open some in advance."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASSETS = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}

Summary = dict[str, Any]


class AuditServer(ThreadingHTTPServer):
    """Serves one session; ``finishing`` holds requests to compute the rates, ``told`` is set once one is answered."""

    daemon_threads = True

    def __init__(self, session: Session, port: int) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(16)
        self.finishing: queue.Queue[Future[Summary]] = queue.Queue()
        self.told = threading.Event()
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"


def serve(session: Session, *, port: int, say: Callable[[str], None], finish: Callable[[], Summary]) -> bool:
    """Serve the page until the labeller finishes; False where Ctrl-C came first.

    ``finish`` runs on the calling thread and returns what the page then shows: ``{"rows": [[...], ...]}``.
    ``port`` 0 takes a free one. Raises: ConfigError: the port is taken; what ``finish`` raises.
    """
    try:
        server = AuditServer(session, port)
    except OSError as err:
        raise ConfigError(f"--port {port}: cannot be used ({err.strerror}); leave it out to take a free one.") from err
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    say(server.url)
    try:
        asked = _wait(server)
        try:
            asked.set_result(finish())
        except BaseException as err:
            asked.set_exception(err)
            raise
        finally:
            server.told.wait(timeout=5)
    except KeyboardInterrupt:
        return False
    finally:
        server.shutdown()
        server.server_close()
    return True


def _wait(server: AuditServer) -> Future[Summary]:
    while True:
        try:
            return server.finishing.get(timeout=0.5)  # wakes up, so that Ctrl-C is seen on every system
        except queue.Empty:
            continue


class _Handler(BaseHTTPRequestHandler):
    server: AuditServer
    timeout = PATIENCE_S
    server_version, sys_version = "mtb", ""

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: the token is in them."""

    def do_GET(self) -> None:
        name = self._name()
        if name is None:
            return
        if name == "":
            self._send(HTTPStatus.OK, page(self.server.session), "text/html; charset=utf-8")
        elif name in ASSETS:
            text = resources.files("multitask_bench.audit").joinpath(name).read_text(encoding="utf-8")
            self._send(HTTPStatus.OK, text, ASSETS[name])
        elif name == "progress":
            self._json({**self.server.session.state(), "item": None})  # no text before the warning was read
        elif name == "state":
            self._json(self.server.session.state())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        name = self._name()
        if name is None:
            return
        if self.headers.get("Origin") not in self._origins():
            self._refuse(HTTPStatus.FORBIDDEN, "another origin")
            return
        body = self._body()
        if body is None:
            self._refuse(HTTPStatus.BAD_REQUEST, "not a request of this page")
        elif name == "label":
            self._label(body)
        elif name == "undo":
            self._json(self.server.session.undo())
        elif name == "finish":
            self._finish()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def _label(self, body: dict[str, Any]) -> None:
        if body.get("label") not in get_args(Said) or not isinstance(body.get("answer"), str):
            self._refuse(HTTPStatus.BAD_REQUEST, "not a label")
            return
        state = self.server.session.label(body["answer"], body["label"])
        if state is None:
            self._json(self.server.session.state(), HTTPStatus.CONFLICT)
        else:
            self._json(state)

    def _finish(self) -> None:
        asked: Future[Summary] = Future()
        self.server.finishing.put(asked)
        try:
            self._json(asked.result())
        except MtbError as err:
            self._json({"error": " ".join(str(err).split())}, HTTPStatus.INTERNAL_SERVER_ERROR)
        finally:
            self.server.told.set()

    def _name(self) -> str | None:
        """What is asked for under the token; None, and refused, where Host or token are wrong."""
        hosts = [origin.removeprefix("http://") for origin in self._origins()]
        _, _, rest = self.path.partition("/")
        token, slash, name = rest.partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if self.headers.get("Host") not in hosts or not known or not slash:
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that mtb audit printed")
            return None
        return name

    def _origins(self) -> list[str]:
        return [f"http://{name}:{self.server.server_port}" for name in (HOST, "localhost")]

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal() or int(length) > LARGEST:
            return None
        if self.headers.get("Content-Type") != "application/json":
            return None
        try:
            found = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _json(self, value: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(value), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, why, "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        raw = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(raw)


def page(session: Session) -> str:
    """The page without any answer; those come one at a time, after the warning."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("multitask_bench.audit", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        choices=CHOICES, total=session.total, labeller=session.labeller, by=session.by
    )
