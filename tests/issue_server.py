"""A pocket-sized GitHub and GitLab on the loopback: issues, labels, states, and what was asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "right"  # noqa: S105 - of the pretended service


@dataclass
class Service:
    """What the service holds. ``answer``: instead of an answer of its own, (status, headers)."""

    url: str = ""
    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: tuple[int, dict[str, str]] | None = None

    def add(self, body: str, *, labels: tuple[str, ...] = ("q8a8-patch",), **more: Any) -> dict[str, Any]:
        """An issue that was there before."""
        number = len(self.issues) + 1
        issue = {
            "number": number, "iid": number, "title": "t", "body": body, "description": body, "state": "open",
            "labels": list(labels), "html_url": f"{self.url}/issues/{number}", "web_url": f"{self.url}/issues/{number}",
        }  # fmt: skip
        self.issues.append(issue | more)
        return self.issues[-1]

    @property
    def open(self) -> list[dict[str, Any]]:
        """The issues that are open."""
        return [one for one in self.issues if one["state"] == "open"]


@contextmanager
def serving() -> Iterator[Service]:
    """The service, as long as the block lasts."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def _say(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            service.asked.append((self.command, parts.path))
            service.headers.append(dict(self.headers))
            if service.answer is not None:
                return self._say(service.answer[0], {"message": "as told"}, service.answer[1])
            known = (self.headers.get("Authorization"), self.headers.get("PRIVATE-TOKEN"))
            if known not in ((f"Bearer {TOKEN}", None), (None, TOKEN)):
                return self._say(401, {"message": "Bad credentials"})
            found = re.fullmatch(
                r"/(?:repos/o/n|projects/7)/issues(?:/(\d+))?(?:/(comments|notes))?", parts.path
            )
            if found is None:
                return self._say(404, {"message": "Not Found"})
            if found[2]:
                service.comments.append((int(found[1]), sent["body"]))
                return self._say(201, {})
            if self.command == "GET":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                wanted = [one for one in service.open if asked["labels"] in one["labels"]]
                start = (int(asked["page"]) - 1) * int(asked["per_page"])
                return self._say(200, wanted[start : start + int(asked["per_page"])])
            if self.command == "POST":
                labels = sent["labels"] if isinstance(sent["labels"], list) else sent["labels"].split(",")
                made = service.add(
                    sent.get("body") or sent.get("description"), labels=tuple(labels), title=sent["title"]
                )
                return self._say(201, made)
            issue = service.issues[int(found[1]) - 1]
            text = sent.get("body") or sent.get("description")
            closed = sent.get("state") == "closed" or sent.get("state_event") == "close"
            issue |= {"title": sent.get("title", issue["title"])}
            issue |= {"body": text, "description": text} if text else {}
            issue |= {"state": "closed"} if closed else {}
            service.issues[int(found[1]) - 1] = issue
            return self._say(200, issue)

        do_GET = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815 - the base class's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
