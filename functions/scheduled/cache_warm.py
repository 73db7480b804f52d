"""Warming a cache: asking for pages before visitors do."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from functions.scheduled.sitemaps import MOST_SITEMAPS, read_sitemap
from jobline import Context, NonRetryable, job
from jobline.outgoing import Outgoing, Refused, Rules, Unreachable

LARGEST_SITEMAP: Final = 10 * 1024 * 1024
"""Bytes; the protocol allows 50 MB (https://www.sitemaps.org/protocol.html), which is more than one job can ask for."""
LARGEST_PAGE: Final = 16 * 1024 * 1024
"""Bytes of a page that are read: a cache may keep only what was read to its end."""
SITEMAP_TIMEOUT: Final = 30.0
ROOM: Final = 15.0
"""Seconds that are left for the report."""

Url = Annotated[str, Meta(min_length=8, max_length=2048)]


class CacheWarm(msgspec.Struct, forbid_unknown_fields=True):
    urls: Annotated[list[Url], Meta(max_length=2000, description="Pages to ask for; https, on port 443 or 8443 of a public address.")] = []
    sitemap: Annotated[
        Url | UnsetType,
        Meta(description="URL of a sitemap.xml, or of an index of at most 50; its pages on the sitemap's own host are asked for, too."),
    ] = UNSET
    concurrency: Annotated[int, Meta(ge=1, le=20, description="Pages that are asked for at the same time.")] = 5
    timeout: Annotated[float, Meta(ge=1, le=60, description="Seconds that a page may take.")] = 15
    limit: Annotated[int, Meta(ge=1, le=5000, description="Pages at most, the first ones.")] = 1000


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of one page."""

    url: str
    status: int | None
    """`None`: there was no answer, and `error` says why."""
    ms: int | None
    bytes: int = 0
    error: str = ""


class SitemapUnavailable(Exception):
    """The sitemap's server has no answer at the moment."""


@job("cache_warm", timeout=570, max_attempts=3, retry={"backoff": "exponential", "base_delay": 5000})
def cache_warm(payload: CacheWarm, ctx: Context) -> dict[str, Any]:
    """Asks for a list of pages, or those of a sitemap, a few at a time; returns counts and timings, and the report of every page.

    A page that fails is in the report and fails nothing else. When the time is over the rest is not asked for, and counted as `skipped`.
    """
    outgoing = Outgoing(Rules.of(ctx.stage, ctx.setting("ALLOWED_LOOPBACK_PORTS", "")))
    listed, elsewhere = ([], 0) if payload.sitemap is UNSET else _listed(payload.sitemap, outgoing, payload.limit)
    urls = list(dict.fromkeys([*payload.urls, *listed]))
    if not urls:
        raise NonRetryable("urls: there is no page to ask for, nor in a sitemap")
    urls, more = urls[: payload.limit], len(urls) > payload.limit
    warmed = _warmed(urls, payload, outgoing, ctx)
    key = f"results/{ctx.idempotency_key}/cache_warm.jsonl"
    report = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in warmed).encode()
    ctx.aws("s3").put_object(Bucket=ctx.bucket, Key=key, Body=report, ContentType="application/jsonl")
    ok = [one for one in warmed if one.status is not None and 200 <= one.status < 300]
    return {
        "pages": len(urls),
        "ok": len(ok),
        "failed": len(warmed) - len(ok),
        "skipped": len(urls) - len(warmed),
        "elsewhere": elsewhere,
        "more": more,
        "ms": _timings([one.ms for one in ok if one.ms is not None]),
        "report": key,
    }


def _warmed(urls: list[str], payload: CacheWarm, outgoing: Outgoing, ctx: Context) -> list[Warmed]:
    """What became of each page that there was time for."""
    warmed: list[Warmed] = []
    with ThreadPoolExecutor(payload.concurrency) as pool:
        for start in range(0, len(urls), payload.concurrency * 4):
            batch = urls[start : start + payload.concurrency * 4]
            if ctx.remaining() < 4 * payload.timeout + ROOM:
                break
            warmed += pool.map(lambda url: _ask(url, payload.timeout, outgoing), batch)
            ctx.progress(100 * len(warmed) / len(urls), f"{len(warmed)} of {len(urls)} pages")
            if ctx.cancelled:
                break
    return warmed


def _ask(url: str, timeout: float, outgoing: Outgoing) -> Warmed:
    try:
        answer = outgoing.request("GET", url, headers={"Accept": "*/*"}, timeout=timeout, largest=LARGEST_PAGE)
    except (Refused, Unreachable) as error:
        return Warmed(url, None, None, error=error.detail[:300])
    return Warmed(url, answer.status, round(answer.seconds * 1000), len(answer.body), "" if answer.status < 400 else answer.text[:100])


def _timings(ms: list[int]) -> dict[str, int]:
    """Median, 95th percentile and the most, of pages that were there."""
    if not ms:
        return {}
    cuts = quantiles(ms, n=20, method="inclusive") if len(ms) > 1 else ms * 19
    return {"p50": round(cuts[9]), "p95": round(cuts[18]), "max": max(ms)}


def _listed(url: str, outgoing: Outgoing, limit: int) -> tuple[list[str], int]:
    """The pages of a sitemap, or of an index's sitemaps, on the sitemap's own host, and how many were elsewhere."""
    found = read_sitemap(_fetched(url, outgoing))
    pages, elsewhere = list(found.pages), 0
    for number, other in enumerate(found.sitemaps):
        if number >= MOST_SITEMAPS or len(pages) > limit:
            break
        if _host(other) == _host(url):
            pages += read_sitemap(_fetched(other, outgoing)).pages
        else:
            elsewhere += 1
    own = [page for page in pages if _host(page) == _host(url)]
    return own, elsewhere + len(pages) - len(own)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _fetched(url: str, outgoing: Outgoing) -> bytes:
    try:
        answer = outgoing.request("GET", url, headers={"Accept": "application/xml"}, timeout=SITEMAP_TIMEOUT, largest=LARGEST_SITEMAP)
    except Refused as error:
        raise NonRetryable(f"sitemap: {error.detail}") from error
    if answer.status == 429 or answer.status >= 500:
        raise SitemapUnavailable(f"{url} answered {answer.status}")
    if answer.status != 200:
        raise NonRetryable(f"sitemap: {url} answered {answer.status}")
    if answer.truncated:
        raise NonRetryable(f"sitemap: {url} has more than {LARGEST_SITEMAP:,} bytes")
    return answer.body
