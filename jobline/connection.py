"""The way to a deployment's HTTP API: who we are there, one request, and what its answers mean.

Where it is `discovery` says. Requests are signed by AWS's Signature Version 4 for the service `execute-api`, or carry a bearer token
(argument, or `JOBS_TOKEN` beside a deployment that was named), as the deployment's door for tokens asks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast
from urllib.parse import quote, urlsplit

from jobline.api_errors import NotConfigured, NotJobline, Unreachable, UploadRefused, error_of
from jobline.discovery import Place, checked, find, host_of, is_loopback

if TYPE_CHECKING:
    import httpx2

TOKEN_VARIABLE: Final = "JOBS_TOKEN"  # noqa: S105  # the name of a variable
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 35.0
"""An HTTP API itself gives up after 30 s (Amazon API Gateway quotas)."""


class Keys(NamedTuple):
    """AWS credentials, as a signature needs them."""

    access_key: str
    secret_key: str
    token: str | None = None


Token = str | Callable[[], str]
"""A bearer token, or what gives the one that is good now."""


class Answer(NamedTuple):
    """An answer that was a success."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any
    """The parsed JSON, `None` when there was none."""
    text: str
    """The JSON as it came, for whoever must not change a number's form."""


class Connection:
    """One deployment's API as one caller. A context manager: leaving it closes its connections.

    `keys`, or `token` in place of them, is asked at each request, since credentials may be short-lived.
    """

    def __init__(
        self, api_url: str, *, region: str = "", keys: Callable[[], Keys] | None = None, token: Callable[[], str] | None = None
    ) -> None:
        """Raises NotConfigured when `api_url` is no HTTP URL, or when a token would go over the net for all to read."""
        self.api_url = checked(api_url)
        self.region = region
        self._keys = keys or _keys_of_aws
        self._token = token
        if token and urlsplit(self.api_url).scheme != "https" and not is_loopback(self.api_url):
            raise NotConfigured(f"A token is not sent to {self.api_url}: everybody on the way could read it. Use https.")
        self._client: httpx2.Client | None = None
        self._opening = Lock()

    @classmethod
    def find(cls, *, token: Token | None = None, **named: Any) -> Self:
        """The API of the deployment that is meant: `named` is what `discovery.find` takes (`api_url`, `profile`, `stack` …).

        With `token`, or `JOBS_TOKEN` beside a deployment that was named, requests carry that. Raises NotConfigured.
        """
        environment = named.get("environment")
        return cls.to(find(**named), token=token, environment=os.environ if environment is None else environment)

    @classmethod
    def to(cls, place: Place, *, token: Token | None = None, environment: Mapping[str, str] = os.environ) -> Self:
        """The API of that deployment.

        Without a token requests are signed: for a local one (a loopback address) as its account's root, for any other with the
        credentials that AWS's own tools would use. Raises NotConfigured.
        """
        # A token in the environment is for a deployment that was named, not for whatever is found on this machine.
        token = token or (environment.get(TOKEN_VARIABLE) if place.named else None)
        if token:
            return cls(place.api_url, token=_asked(token))
        if place.local:
            from jobline.local_aws import ACCOUNT, SECRET

            return cls(place.api_url, region=place.region, keys=lambda: Keys(ACCOUNT, SECRET))
        if not place.region:
            raise NotConfigured(f"Which region is {host_of(place.api_url)} in? Its name does not say: set AWS_REGION.")
        return cls(place.api_url, region=place.region, keys=lambda: _keys_of_aws(place.aws_profile))

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends one request once, signed or with the token.

        `path` is unquoted and begins with a slash, `params` that are `None` are left out; the body is `json`, or `content` as it stands.
        Raises `Unreachable` when no answer came (the request may have had its effect), `NotJobline` when the answer is not this API's,
        and the error that the answer tells: see `api_errors.error_of`.
        """
        body = content if content is not None else _dumped(json)
        return self._understood(self._send(method, self.api_url + _quoted(path, params), body, _headers(body, headers)))

    def upload(self, content: bytes) -> str:
        """Puts a payload that is too large for a request where the API says (S3); answers the `payload_ref` that names it.

        Raises what `request` raises, and `UploadRefused`.
        """
        link = self.request("POST", "/uploads", json={"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}).body
        import httpx2

        with self._unreachable():
            response = httpx2.request(link["method"], link["url"], content=content, headers=link["headers"], **self._options())
        if not response.is_success:
            raise UploadRefused(f"The payload was not taken: {urlsplit(link['url']).hostname} answered with status {response.status_code}.")
        return str(link["upload"])

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        import httpx2

        with self._opening:
            if self._client is None:
                self._client = httpx2.Client(**self._options())
        request = self._client.build_request(method, url, content=body, headers=dict(headers))
        self._authorize(request, body, headers)
        with self._unreachable():
            return self._client.send(request)

    def _options(self) -> dict[str, Any]:
        """What httpx2's clients are made with. A proxy set for the world outside does not know this machine's own addresses."""
        import httpx2

        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return {"timeout": timeout, "trust_env": not is_loopback(self.api_url)}

    def _authorize(self, request: httpx2.Request, body: bytes, headers: Mapping[str, str]) -> None:
        """Signs what httpx2 will send, however it wrote the URL; or lets it carry the token."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {_checked_token(self._token())}"
            return
        request.headers.update(sign(request.method, str(request.url), body, headers, region=self.region, keys=self._keys()))

    @contextmanager
    def _unreachable(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.api_url} did not answer in time.") from error
        except httpx2.TransportError as error:
            raise Unreachable(f"Cannot reach {self.api_url}: {_reason(error)}.{self._advice()}") from error

    def _understood(self, response: httpx2.Response) -> Answer:
        document = _parsed(response.text)
        if not response.is_success and response.status_code != 304:
            error = error_of(response.status_code, document, self.api_url)
            if (seconds := response.headers.get("Retry-After", "")).isdigit():
                error.extra["retry_after"] = int(seconds)
            raise error
        if document is None and response.status_code not in (204, 304):
            raise NotJobline(f"{self.api_url} answered with something that is not JSON. Is it the URL of a Jobline API?")
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, document, response.text)

    def _advice(self) -> str:
        return " Is `make dev` running?" if is_loopback(self.api_url) else ""


class AsyncConnection(Connection):
    """The same for programs that use asyncio; an asynchronous context manager."""

    _async_client: httpx2.AsyncClient | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As `request`, without blocking the event loop while it waits."""
        import httpx2

        if self._async_client is None:
            self._async_client = httpx2.AsyncClient(**self._options())
        body = _dumped(json)
        given = _headers(body, headers)
        request = self._async_client.build_request(method, self.api_url + _quoted(path, params), content=body, headers=given)
        self._authorize(request, body, given)
        with self._unreachable():
            response = await self._async_client.send(request)
        return self._understood(response)

    async def aclose(self) -> None:
        if self._async_client is not None:
            await self._async_client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _headers(body: bytes, headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {}) | dict(headers or {})


def sign(method: str, url: str, body: bytes, headers: Mapping[str, str], *, region: str, keys: Keys) -> dict[str, str]:
    """The headers that sign a request for API Gateway (Signature Version 4): `Authorization`, the date, and the session's token."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method, url, data=body, headers=dict(headers))
    SigV4Auth(cast("Any", keys), "execute-api", region).add_auth(request)
    return {
        name: value for name, value in request.headers.items() if name.lower() in ("authorization", "x-amz-date", "x-amz-security-token")
    }


def _quoted(path: str, params: Mapping[str, Any] | None) -> str:
    query = "&".join(f"{quote(name, safe='')}={quote(str(value), safe='')}" for name, value in (params or {}).items() if value is not None)
    return quote(path, safe="/~") + (f"?{query}" if query else "")


# ---------------------------------------------------------------------------------------------------- who


def _keys_of_aws(profile: str | None = None) -> Keys:
    """What AWS's own tools would use: environment, profile, single sign-on, container or instance role. Raises NotConfigured."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        credentials = Session(profile=profile).get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except BotoCoreError as error:
        raise NotConfigured(f"AWS credentials cannot be used: {error}") from error
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise NotConfigured("There are no AWS credentials: set AWS_PROFILE, run `aws sso login`, or set AWS_ACCESS_KEY_ID and its secret.")
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _asked(token: Token) -> Callable[[], str]:
    return token if callable(token) else lambda: token


def _checked_token(token: str) -> str:
    """The token as a header can carry it (RFC 6750, section 2.1). Raises NotConfigured, without saying what it is."""
    token = token.strip()
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise NotConfigured("The token has characters that no bearer token has; give it as your identity provider issued it.")
    return token


# ---------------------------------------------------------------------------------------------------- what came


def _dumped(document: Any) -> bytes:
    if document is None:
        return b""
    import msgspec

    return msgspec.json.encode(document)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    """The system's own words for a connection that failed, without its error number."""
    return re.sub(r"^\[[^\]]*\]\s*", "", str(error)).rstrip(".") or type(error).__name__
