"""GitHub's and GitLab's issues by REST, with the token and the addresses that their runners set."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from patcher import __version__
from patcher.base.errors import SourceError, UsageError
from patcher.guard.issue import LABEL, MARKER, Issue, Tracker

SECONDS = 30.0
PAGE = 100
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would be handed the token."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Api:
    """JSON over HTTPS to one service."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise UsageError(
                f"{url}: looked for an https:// address, to which a token may be sent",
                hint="set the address of the service to https://",
            )
        self._url = url.rstrip("/")
        self._headers = {**headers, "User-Agent": f"q8a8-patch/{__version__}"}
        # a proxy is as trusted as the user's environment is; a redirect is not
        self._opener = urllib.request.build_opener(_NoRedirect())

    def ask(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises :class:`SourceError` for anything but success."""
        body = json.dumps(data).encode() if data is not None else None
        headers = {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", body, headers, method=method)  # noqa: S310 - checked
        what = f"{method} {urlsplit(self._url).hostname}{path.partition('?')[0]}"
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as why:
            with why:
                raise SourceError(f"{what}: {why.code} {_reason(why)}", hint=_HINTS.get(why.code)) from why
        except (OSError, ValueError) as why:
            raise SourceError(
                f"{what}: {why}", hint="check the network, and the address of the API in the environment"
            ) from why

    def pages(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Every entry of a list."""
        for page in range(1, 101):
            found = self.ask("GET", f"{path}?{urlencode({**query, 'per_page': PAGE, 'page': page})}")
            if not isinstance(found, list):
                raise SourceError(
                    f"GET {path}: looked for a list, found {type(found).__name__}",
                    hint="check the address of the API in the environment: another server answers there",
                )
            yield from found
            if len(found) < PAGE:
                return


_HINTS = {
    401: "the token isn't known there",
    403: "the token needs leave to write issues (GitHub: permissions: issues: write)",
    404: "is the repository's name right, and may the token see it?",
    410: "issues are switched off for this repository",
}


def _reason(why: urllib.error.HTTPError) -> str:
    try:
        said = json.loads(why.read(65536)).get("message", "")
    except (OSError, ValueError, AttributeError):
        said = ""
    return str(said) or str(why.reason)


class GitHub:
    """Issues of a repository at GitHub, or at a server that speaks its API."""

    def __init__(self, api: str, repository: str, token: str, marker: str = MARKER) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
            raise UsageError(
                f"GITHUB_REPOSITORY {repository!r}: looked for OWNER/NAME",
                hint="set it as GitHub Actions does, to OWNER/NAME of the repository whose issues are kept",
            )
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        self._api = _Api(api, headers | {"X-GitHub-Api-Version": "2022-11-28"})
        self._path = f"/repos/{repository}/issues"
        self._marker = marker

    def mine(self) -> Issue | None:
        query = {"state": "open", "labels": LABEL, "sort": "created", "direction": "asc"}
        for one in self._api.pages(self._path, query):
            if "pull_request" not in one and self._marker in (one.get("body") or ""):
                return self._issue(one)
        return None

    def open(self, title: str, body: str) -> Issue:
        return self._issue(
            self._api.ask("POST", self._path, {"title": title, "body": body, "labels": [LABEL]})
        )

    def change(self, issue: Issue, title: str, body: str) -> Issue:
        path = f"{self._path}/{issue.number}"
        return self._issue(self._api.ask("PATCH", path, {"title": title, "body": body}))

    def close(self, issue: Issue, comment: str) -> None:
        self._api.ask("POST", f"{self._path}/{issue.number}/comments", {"body": comment})
        self._api.ask(
            "PATCH", f"{self._path}/{issue.number}", {"state": "closed", "state_reason": "completed"}
        )

    @staticmethod
    def _issue(one: Mapping[str, Any]) -> Issue:
        return Issue(int(one["number"]), str(one["title"]), str(one.get("body") or ""), str(one["html_url"]))


class GitLab:
    """Issues of a project at GitLab."""

    def __init__(self, api: str, project: str, token: str, marker: str = MARKER) -> None:
        if not re.fullmatch(r"\d+", project, re.ASCII):
            raise UsageError(
                f"CI_PROJECT_ID {project!r}: looked for a number",
                hint="set it as GitLab CI does, to the project's number, which its page shows",
            )
        self._api = _Api(api, {"PRIVATE-TOKEN": token})
        self._path = f"/projects/{project}/issues"
        self._marker = marker

    def mine(self) -> Issue | None:
        query = {"state": "opened", "labels": LABEL, "order_by": "created_at", "sort": "asc"}
        found = (
            one
            for one in self._api.pages(self._path, query)
            if self._marker in (one.get("description") or "")
        )
        first = next(found, None)
        return self._issue(first) if first is not None else None

    def open(self, title: str, body: str) -> Issue:
        return self._issue(
            self._api.ask("POST", self._path, {"title": title, "description": body, "labels": LABEL})
        )

    def change(self, issue: Issue, title: str, body: str) -> Issue:
        path = f"{self._path}/{issue.number}"
        return self._issue(self._api.ask("PUT", path, {"title": title, "description": body}))

    def close(self, issue: Issue, comment: str) -> None:
        self._api.ask("POST", f"{self._path}/{issue.number}/notes", {"body": comment})
        self._api.ask("PUT", f"{self._path}/{issue.number}", {"state_event": "close"})

    @staticmethod
    def _issue(one: Mapping[str, Any]) -> Issue:
        return Issue(
            int(one["iid"]), str(one["title"]), str(one.get("description") or ""), str(one["web_url"])
        )


def tracker(service: str, environment: Mapping[str, str], marker: str = MARKER) -> Tracker:
    """The tracker that ``environment`` leads to, for the issue with ``marker``.

    Raises :class:`UsageError` for what the environment lacks.
    """
    if service == "github":
        token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN") or ""
        _require({"GITHUB_TOKEN": token, "GITHUB_REPOSITORY": environment.get("GITHUB_REPOSITORY", "")})
        api = environment.get("GITHUB_API_URL") or "https://api.github.com"
        return GitHub(api, environment["GITHUB_REPOSITORY"], token, marker)
    names = ("CI_API_V4_URL", "CI_PROJECT_ID", "Q8A8_GITLAB_TOKEN")
    _require({name: environment.get(name, "") for name in names})
    api, project, token = (environment[name] for name in names)
    return GitLab(api, project, token, marker)


def _require(values: Mapping[str, str]) -> None:
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise UsageError(
            f"--issue: looked for {', '.join(missing)} in the environment, found none",
            hint="GitHub Actions and GitLab CI set all but the token: docs/how-to/guard-a-repository.md"
            " says where it goes",
        )
