"""Requests to URLs that somebody else chose: where they may not go, and what the other side cannot do to us."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jobline import outgoing
from jobline.addresses import Refused, Rules, check_address, parse
from jobline.errors import InvalidSettings
from jobline.outgoing import LARGEST_ANSWER, Outgoing, Unreachable
from tests.receiver import answer, drip, receiver, say

PUBLIC = "93.184.215.14"
NOWHERE = Rules()
LOCAL = Rules(frozenset({8181}))

# What a name in somebody's own domain may resolve to.
REBINDING = {
    "loopback.example": "127.0.0.1",
    "loopback-range.example": "127.8.8.8",
    "metadata.example": "169.254.169.254",
    "task-metadata.example": "169.254.170.2",
    "dns.example": "169.254.169.253",
    "ten.example": "10.0.0.1",
    "one-seven-two.example": "172.31.255.255",
    "one-nine-two.example": "192.168.1.1",
    "carrier.example": "100.64.0.1",
    "protocol.example": "192.0.0.8",
    "relay.example": "192.88.99.1",
    "benchmark.example": "198.18.0.1",
    "documentation.example": "203.0.113.9",
    "unspecified.example": "0.0.0.0",  # noqa: S104  an address to be refused
    "multicast.example": "224.0.0.1",
    "broadcast.example": "255.255.255.255",
    "reserved.example": "240.0.0.1",
    "loopback6.example": "::1",
    "unspecified6.example": "::",
    "mapped.example": "::ffff:127.0.0.1",
    "mapped-metadata.example": "::ffff:169.254.169.254",
    "compatible.example": "::7f00:1",
    "translated.example": "::ffff:0:7f00:1",
    "6to4.example": "2002:7f00:1::",
    "6to4-ten.example": "2002:a00:1::1",
    "nat64.example": "64:ff9b::a9fe:a9fe",
    "nat64-local.example": "64:ff9b:1::7f00:1",
    "teredo.example": "2001:0:7f00:1::",
    "unique-local.example": "fd00:ec2::254",
    "site-local.example": "fec0::1",
    "link-local.example": "fe80::1%eth0",
    "multicast6.example": "ff02::1",
    "documentation6.example": "2001:db8::1",
}
HOSTILE = [
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "https://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "https://127.1/",
    "https://0x7f.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://127.0.0.1%00.public.example/",
    "https://127。0。0。1/",
    "https://１２７.０.０.１/",
    "https://①②⑦.⓪.⓪.①/",
    "https://localhost.:8443/",
    "https://169.254.170.2/v2/credentials",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]:8443/",
    "https://[2001:0:7f00:1::]/",
    "https://[::]/",
    "https://[::127.0.0.1]/",
    "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "https://[v1.127.0.0.1]/",
    "https://[::1/",
    "https://[::ffff:127.0.0.1]:9001/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]:8443/",
    "https://[fe80::1%25eth0]/",
    "https://[64:ff9b::7f00:1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://sqs.eu-central-1.amazonaws.com/",
    "https://AMAZONAWS.com./",
    "https://s3.cn-north-1.amazonaws.com.cn/",
    "https://lambda.eu-central-1.api.aws/",
    "https://user:password@public.example/",
    "https://public.example@127.0.0.1/",
    "https://public.example:443@127.0.0.1/",
    "https://public.example%40127.0.0.1/",
    "https://@127.0.0.1/",
    "https://127.0.0.1#@public.example/",
    "https://127.0.0.1?@public.example/",
    "https:\\\\127.0.0.1/",
    "https:127.0.0.1/",
    "https://public.example\t/",
    " https://public.example/",
    "https://public.example\x00.127.0.0.1/",
    "https://public.example\\@127.0.0.1/",
    "https://public.example/\r\nHost: 127.0.0.1",
    "https://public.example:22/",
    "https://public.example:0x1bb/",
    "https://public.example:99999/",
    "http://public.example/",
    "ftp://public.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "//public.example/",
    "https:///path",
    "https://-public.example/",
    "https://public..example/",
    "https://ⓛocalhost/",
    "https://public.example/ü",
    "https://" + "a" * 2100 + ".example/",
    *(f"https://{name}/" for name in REBINDING),
]


def resolver(**more: str) -> outgoing.Resolver:
    """Names of this test as they are listed, everything else as the system resolves it."""
    known = {**REBINDING, "public.example": PUBLIC, **{name.replace("_", "."): address for name, address in more.items()}}

    def resolve(host: str, port: int) -> Sequence[str]:
        return [known[host]] if host in known else outgoing.resolve(host, port)

    return resolve


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that anything in this process tries to connect to; none of them is reached."""
    seen: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        seen.append(address)
        raise ConnectionRefusedError("this test connects to nothing")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


# Where requests may not go


@pytest.mark.parametrize("rules", [NOWHERE, LOCAL], ids=["deployed", "local"])
@pytest.mark.parametrize("url", HOSTILE)
def test_no_hostile_target_is_ever_connected_to(url: str, rules: Rules, connects: list[object]) -> None:
    with pytest.raises(Refused):
        Outgoing(rules, resolve=resolver()).request("POST", url, body=b"{}", headers={}, timeout=5)
    assert connects == []


def test_there_are_more_than_forty_hostile_targets() -> None:
    assert len(set(HOSTILE)) > 40


@pytest.mark.parametrize(
    ("address", "host_header"),
    [(PUBLIC, "public.example"), ("2606:4700::1111", "public.example"), ("64:ff9b::5db8:d70e", "public.example")],
)
def test_a_public_target_is_connected_to_at_the_address_that_was_checked(address: str, host_header: str, connects: list[object]) -> None:
    out = Outgoing(NOWHERE, resolve=resolver(public_example=address))
    with pytest.raises(Unreachable, match=f"{host_header} took no connection"):
        out.request("POST", "https://public.example/hook", headers={}, timeout=5)
    assert [target[0] for target in connects if isinstance(target, tuple)] == [address]


def test_one_private_address_among_public_ones_refuses_them_all(connects: list[object]) -> None:
    out = Outgoing(NOWHERE, resolve=lambda host, port: [PUBLIC, "10.0.0.1"])
    with pytest.raises(Refused, match=r"10\.0\.0\.1 is not a public address"):
        out.request("GET", "https://public.example/", headers={}, timeout=5)
    assert connects == []


def test_a_name_is_resolved_once_whatever_it_says_later(connects: list[object]) -> None:
    told = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    out = Outgoing(NOWHERE, resolve=lambda host, port: told.pop(0))
    with pytest.raises(Unreachable):
        out.request("GET", "https://public.example/", headers={}, timeout=5)
    assert connects == [(PUBLIC, 443)]
    assert len(told) == 2


def test_a_name_with_a_private_address_in_either_family_is_refused(connects: list[object]) -> None:
    told = [[PUBLIC, "fd00::1"], ["::ffff:10.0.0.1", PUBLIC], [*[PUBLIC] * 20, "169.254.169.254"]]
    out = Outgoing(NOWHERE, resolve=lambda host, port: told.pop())
    while told:
        with pytest.raises(Refused):
            out.request("GET", "https://public.example/", headers={}, timeout=5)
    assert connects == []


def test_a_name_server_that_is_silent_ends_with_the_time(connects: list[object]) -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        time.sleep(2)
        return [PUBLIC]

    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"public\.example cannot be resolved: the time was over"):
        Outgoing(NOWHERE, resolve=resolve).request("GET", "https://public.example/", headers={}, timeout=0.2)
    assert time.monotonic() - began < 1
    assert connects == []


def test_what_the_resolver_says_that_is_no_address_is_refused(connects: list[object]) -> None:
    out = Outgoing(NOWHERE, resolve=lambda host, port: ["/run/secret.sock"])
    with pytest.raises(Refused):
        out.request("GET", "https://public.example/", headers={}, timeout=5)
    assert connects == []


def test_a_proxy_of_the_environment_is_not_used(connects: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://10.0.0.1:3128")
    with pytest.raises(Unreachable):
        Outgoing(NOWHERE, resolve=resolver()).request("GET", "https://public.example/", headers={}, timeout=5)
    assert connects == [(PUBLIC, 443)]


# Loopback ports of a local stage


def test_a_named_loopback_port_is_for_the_local_stage_only() -> None:
    assert Rules.of("local", "8181, 8182") == Rules(frozenset({8181, 8182}))
    assert Rules.of("dev", "8181") == Rules.of("local", "") == NOWHERE


@pytest.mark.parametrize("ports", ["9001", "8181,9001", "0", "70000", "http", "8181;8182"])
def test_a_port_that_may_never_be_allowed_is_refused_as_a_setting(ports: str) -> None:
    with pytest.raises(InvalidSettings):
        Rules.of("local", ports)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8181/", "http://localhost:8181/", "https://[::1]:8181/"])
def test_a_named_loopback_port_can_be_reached_over_plain_http_too(url: str) -> None:
    target = parse(url, LOCAL)
    check_address("::1" if "::1" in url else "127.0.0.1", target.port, LOCAL)
    with pytest.raises(Refused):
        parse(url, NOWHERE)


@pytest.mark.parametrize("address", [PUBLIC, "10.0.0.1", "169.254.169.254"])
def test_a_named_loopback_port_opens_no_other_address(address: str) -> None:
    with pytest.raises(Refused):
        check_address(address, 8181, LOCAL)


# Reading URLs


def test_the_parts_of_a_url_are_what_is_sent() -> None:
    target = parse("https://Public.Example:8443/a%20b?c=d#fragment", NOWHERE)
    assert (target.host, target.port, target.path, target.host_header) == ("public.example", 8443, "/a%20b?c=d", "public.example:8443")
    assert parse("https://public.example", NOWHERE).path == "/"
    assert parse("https://public.example:443?x", NOWHERE).host_header == "public.example"
    assert parse("https://[2606:4700::1111]:8443/", NOWHERE).host_header == "[2606:4700::1111]:8443"


# What the other side cannot do


def local(port: int, tls: ssl.SSLContext | None = None) -> Outgoing:
    return Outgoing(Rules(frozenset({port})), resolve=lambda host, port: ["127.0.0.1"], tls=tls)


def test_the_request_arrives_as_it_was_given() -> None:
    with receiver(answer(201, b'{"ok":true}', X_Kind="good")) as server:
        got = local(server.port).request("POST", server.url("/hook?a=b"), body=b'{"n":1.0}', headers={"X-Test": "yes"}, timeout=5)
    (request,) = server.received
    assert (request.line, request.body) == ("POST /hook?a=b HTTP/1.1", b'{"n":1.0}')
    assert (request.headers["host"], request.headers["x-test"]) == (f"127.0.0.1:{server.port}", "yes")
    assert request.headers["user-agent"] == "Jobline"
    assert (got.status, got.text, got.headers["x-kind"], got.truncated) == (201, '{"ok":true}', "good", False)
    assert 0 < got.seconds < 5


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    with receiver(answer(200)) as elsewhere, receiver(answer(status, Location=elsewhere.url())) as server:
        got = local(server.port).request("POST", server.url(), headers={}, timeout=5)
    assert (got.status, elsewhere.received) == (status, [])


def test_no_more_than_the_largest_answer_is_read() -> None:
    with receiver(answer(200, b"x" * (LARGEST_ANSWER + 1)), answer(200, b"x" * LARGEST_ANSWER)) as server:
        over = local(server.port).request("GET", server.url(), headers={}, timeout=5)
        exact = local(server.port).request("GET", server.url(), headers={}, timeout=5)
    assert (len(over.body), over.truncated) == (LARGEST_ANSWER, True)
    assert (len(exact.body), exact.truncated) == (LARGEST_ANSWER, False)


def test_a_caller_that_can_bear_more_may_read_more() -> None:
    with receiver(answer(200, b"x" * (LARGEST_ANSWER + 1))) as server:
        got = local(server.port).request("GET", server.url(), headers={}, timeout=5, largest=2 * LARGEST_ANSWER)
    assert (len(got.body), got.truncated) == (LARGEST_ANSWER + 1, False)


def test_a_compressed_answer_is_not_unpacked() -> None:
    with receiver(answer(200, b"\x1f\x8b not really gzip", Content_Encoding="gzip")) as server:
        got = local(server.port).request("GET", server.url(), headers={}, timeout=5)
    assert got.body == b"\x1f\x8b not really gzip"


START = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "script",
    [
        drip(b"", endless=b"H", pause=0.1),
        drip(START, endless=b"X-More: more\r\n", pause=0.1),
        drip(b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.1),
        drip(START + b"\r\n", endless=b"x", pause=0.1),
        drip(START + b"Content-Length: 60000\r\n\r\n", endless=b"x", pause=0.1),
        drip(START + b"Transfer-Encoding: chunked\r\n\r\n", endless=b"1\r\nx\r\n", pause=0.1),
        lambda connection: time.sleep(2),
    ],
    ids=["status line", "headers", "continue", "body", "body of known length", "chunks", "silence"],
)
def test_a_slow_answer_ends_with_the_time_for_all_of_it(script: object) -> None:
    with receiver(script) as server:  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(Unreachable, match="gave no complete answer: the time was over"):
            local(server.port).request("GET", server.url(), headers={}, timeout=0.6)
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense\r\n\r\n", START + b"Content-Length: 10\r\n\r\nshort", START + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
    ids=["nothing", "no HTTP", "cut short", "broken chunks"],
)
def test_a_broken_answer_is_none(data: bytes) -> None:
    with receiver(say(data)) as server, pytest.raises(Unreachable, match="gave no complete answer"):
        local(server.port).request("GET", server.url(), headers={}, timeout=5)


def test_nobody_there_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match="took no connection"):
        local(port).request("GET", f"http://127.0.0.1:{port}/", headers={}, timeout=5)


def test_a_name_that_does_not_exist_may_exist_later() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Unreachable, match=r"public\.example cannot be resolved"):
        Outgoing(NOWHERE, resolve=resolve).request("GET", "https://public.example/", headers={}, timeout=5)


def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    with receiver(answer(200)) as server:
        out = Outgoing(Rules(frozenset({server.port})), resolve=lambda host, port: ["127.0.0.99", "127.0.0.1"])
        assert out.request("GET", server.url(), headers={}, timeout=5).status == 200


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that is `hooks.example`, and of a client that trusts its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "hooks.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


def test_the_address_is_connected_to_and_the_name_is_asked_for(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    theirs, ours = certificate
    with receiver(answer(200, b"hello"), tls=theirs) as server:
        got = local(server.port, tls=ours).request("GET", f"https://hooks.example:{server.port}/", headers={}, timeout=5)
    assert (got.status, server.names) == (200, ["hooks.example"])
    assert server.received[0].headers["host"] == f"hooks.example:{server.port}"


@pytest.mark.parametrize("trusting", [True, False], ids=["another name", "unknown issuer"])
def test_a_certificate_that_does_not_prove_the_name_ends_it(certificate: tuple[ssl.SSLContext, ssl.SSLContext], trusting: bool) -> None:
    theirs, ours = certificate
    host, tls = ("other.example", ours) if trusting else ("hooks.example", None)
    with receiver(answer(200), tls=theirs) as server:
        with pytest.raises(Unreachable, match=f"{host}:{server.port} took no connection"):
            local(server.port, tls).request("POST", f"https://{host}:{server.port}/", body=b"secret", headers={}, timeout=5)
        assert server.received == []


def test_a_slow_answer_over_tls_ends_with_the_time_for_all_of_it(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    theirs, ours = certificate
    with receiver(drip(START + b"\r\n", endless=b"x", pause=0.1), tls=theirs) as server:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="the time was over"):
            local(server.port, tls=ours).request("GET", f"https://hooks.example:{server.port}/", headers={}, timeout=0.6)
        assert time.monotonic() - began < 1.5


def test_a_server_that_never_finishes_the_handshake_ends_with_the_time(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(Unreachable, match="took no connection"):
            local(port, tls=certificate[1]).request("GET", f"https://hooks.example:{port}/", headers={}, timeout=0.6)
        assert time.monotonic() - began < 1.5
