"""Pages that are asked for: which, a few at a time, through the guard, and what the report says (S3 is moto's)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from moto import mock_aws

from functions.scheduled.cache_warm import CacheWarm, SitemapUnavailable, cache_warm
from functions.scheduled.sitemaps import read_sitemap
from jobline import NonRetryable
from jobline.testing import make_context
from tests.aws import REGION, client

BUCKET = "data"


@cache
def s3_client() -> Any:
    """Made once: making a client takes longer than a test."""
    return client("s3")


class Site(ThreadingHTTPServer):
    """A website on a loopback port: its pages by path, and how many were asked for at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def warm(self, **payload: Any) -> Any:
        port = str(self.server_address[1])
        ctx = make_context(
            "cache_warm", client={"s3": s3_client()}.__getitem__, bucket=BUCKET, settings={"ALLOWED_LOOPBACK_PORTS": port}, timeout=570
        )
        return cache_warm(CacheWarm(**payload), ctx)


class _Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site = self.server
        with site.lock:
            site.asked.append(self.path)
            site.now += 1
            site.most = max(site.most, site.now)
        time.sleep(0.02)
        with site.lock:
            site.now -= 1
        status, body = site.pages.get(self.path, (404, b"no such page"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9001/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()
        thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    with mock_aws(), serving(Site()) as site:
        s3_client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield site


def report(result: Any) -> list[Any]:
    return [json.loads(line) for line in s3_client().get_object(Bucket=BUCKET, Key=result["report"])["Body"].read().splitlines()]


def sitemap(*urls: str, kind: str = "urlset", entry: str = "url") -> bytes:
    entries = "".join(f"<{entry}><loc> {url} </loc><lastmod>2026-01-01</lastmod></{entry}>" for url in urls)
    return f'<?xml version="1.0"?><{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{kind}>'.encode()


def test_pages_are_asked_for_a_few_at_a_time_and_reported_one_by_one(site: Site) -> None:
    site.pages = {f"/{number}": (200, b"x" * number) for number in range(12)}
    result = site.warm(urls=[f"{site.url}/{number}" for number in range(12)], concurrency=3)
    assert (result["pages"], result["ok"], result["failed"], result["skipped"]) == (12, 12, 0, 0)
    assert 1 < site.most <= 3
    lines = report(result)
    assert [line["url"] for line in lines] == [f"{site.url}/{number}" for number in range(12)]
    assert [line["bytes"] for line in lines] == list(range(12))
    assert all(line["ms"] >= 20 for line in lines)
    assert 20 <= result["ms"]["p50"] <= result["ms"]["p95"] <= result["ms"]["max"]


def test_a_page_that_fails_is_reported_and_stops_no_other(site: Site) -> None:
    site.pages = {"/good": (200, b"x"), "/broken": (500, b"oops"), "/moved": (302, b"")}
    urls = [f"{site.url}/{name}" for name in ("broken", "missing", "moved", "good")] + [
        "http://169.254.169.254/latest",
        "https://10.0.0.1/",
    ]
    result = site.warm(urls=urls)
    assert (result["ok"], result["failed"]) == (1, 5)
    assert [line["status"] for line in report(result)] == [500, 404, 302, 200, None, None]
    assert all(line["error"] for line in report(result)[-2:])


def test_the_pages_of_a_sitemap_are_those_of_its_own_host(site: Site) -> None:
    site.pages = {"/sitemap.xml": (200, sitemap(f"{site.url}/a", f"{site.url}/b?x=1&amp;y=2", "https://example.com/c")), "/a": (200, b"")}
    result = site.warm(sitemap=f"{site.url}/sitemap.xml")
    assert (result["pages"], result["ok"], result["elsewhere"]) == (2, 1, 1)
    assert sorted(site.asked) == ["/a", "/b?x=1&y=2", "/sitemap.xml"]


def test_an_index_of_sitemaps_is_followed_one_level(site: Site) -> None:
    index = sitemap(f"{site.url}/one.xml", f"{site.url}/two.xml", kind="sitemapindex", entry="sitemap")
    nested = sitemap(f"{site.url}/never.xml", kind="sitemapindex", entry="sitemap")
    site.pages = {"/index.xml": (200, index), "/one.xml": (200, sitemap(f"{site.url}/a")), "/two.xml": (200, nested), "/a": (200, b"")}
    assert site.warm(sitemap=f"{site.url}/index.xml")["ok"] == 1
    assert "/never.xml" not in site.asked


def test_a_limit_is_kept_and_said(site: Site) -> None:
    result = site.warm(urls=[f"{site.url}/{number}" for number in range(5)], limit=2)
    assert (result["pages"], result["more"], len(site.asked)) == (2, True, 2)


def test_a_sitemap_that_is_down_is_tried_again_and_one_that_is_not_there_is_not(site: Site) -> None:
    site.pages = {"/down.xml": (503, b"")}
    with pytest.raises(SitemapUnavailable, match="503"):
        site.warm(sitemap=f"{site.url}/down.xml")
    with pytest.raises(NonRetryable, match="404"):
        site.warm(sitemap=f"{site.url}/missing.xml")
    with pytest.raises(NonRetryable, match="sitemap: "):
        site.warm(sitemap="https://169.254.169.254/sitemap.xml")
    with pytest.raises(NonRetryable, match="no page to ask for"):
        site.warm()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no XML"),
        (b"<urlset><url>", "no XML"),
        (b"<html></html>", "names no page"),
        (b'<!DOCTYPE urlset [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>', "document type"),
        (b'<!DOCTYPE u [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><u><url><loc>&b;</loc></url></u>', "document type"),
        (b"<urlset><url><loc>&nbsp;</loc></url></urlset>", "no XML"),
    ],
)
def test_what_is_no_harmless_sitemap_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(NonRetryable, match=reason):
        read_sitemap(data)
