"""Where outgoing HTTP may go when a client named the URL: the rules, without any network.

A URL that somebody else wrote must not reach what only we can reach (server-side request forgery): the Lambda runtime API on
127.0.0.1:9001, the metadata addresses in 169.254/16, AWS's own endpoints, anything in a private network. Addresses that carry
an IPv4 address inside are judged by that one. See `outgoing` for the connection itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from jobline.errors import InvalidRequest, InvalidSettings
from jobline.fields import LONGEST_URL

Address = IPv4Address | IPv6Address

PUBLIC_PORTS: Final = frozenset({443, 8443})
LOCAL_STAGE: Final = "local"
RUNTIME_API_PORT: Final = 9001
"""Where a function's own runtime API listens on loopback (AWS_LAMBDA_RUNTIME_API, AWS Lambda developer guide)."""

_AWS: Final = ("amazonaws.com", "amazonaws.com.cn", "api.aws")
"""Domains of AWS's own endpoints, which take this function's position in the network as a recommendation."""
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_URL: Final = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII without the backslash: what every parser of URLs reads the same way."""

# Python's `is_global` is asked too, but its tables differ between 3.11 and 3.13; these are from IANA's special-purpose address registries.
_NOT_GLOBAL_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST_6: Final = IPv6Network("2000::/3")
_NOT_GLOBAL_6: Final = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Refused(InvalidRequest):
    """This URL leads where outgoing requests must not go."""

    slug = "refused-url"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed beyond public addresses over https: nothing, unless this is a local stage."""

    loopback_ports: frozenset[int] = frozenset()
    """Ports of this machine that may be reached, over plain http too."""

    @classmethod
    def of(cls, stage: str, loopback_ports: str) -> Rules:
        """The rules of a stage; `loopback_ports` is a setting such as `"4720, 4721"`, which counts in the local stage only.

        Raises InvalidSettings when it is no list of ports, or names the runtime API's.
        """
        try:
            ports = frozenset(int(text) for text in loopback_ports.replace(",", " ").split())
        except ValueError as error:
            raise InvalidSettings(f"the loopback ports are numbers with commas between them, not {loopback_ports!r}") from error
        if bad := sorted(port for port in ports if not 0 < port < 65536 or port == RUNTIME_API_PORT):
            raise InvalidSettings(f"the loopback port {bad[0]} cannot be allowed")
        return cls(ports if stage == LOCAL_STAGE else frozenset())


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be tried, in parts. Its addresses are still to be checked (`check_address`)."""

    scheme: str
    host: str
    """A name in lower case without the root's dot, or an address without brackets."""
    port: int
    path: str
    """Path and query, as the request line has them."""

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse(url: str, rules: Rules) -> Target:
    """The parts of `url`; raises Refused that says what is wrong with it."""
    if len(url) > LONGEST_URL or not _URL.fullmatch(url):
        raise Refused(f"a URL has at most {LONGEST_URL} characters, all of them visible ASCII and no backslash (write a name as xn--…)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused(f"this is no URL: {error}") from error
    if parts.scheme not in ("https", "http"):
        raise Refused("only https URLs are allowed")
    if "@" in parts.netloc:
        raise Refused("a URL with a user name or password is not allowed")
    port = port if port is not None else 443 if parts.scheme == "https" else 80
    if parts.scheme == "http" and port not in rules.loopback_ports:
        raise Refused("only https URLs are allowed")
    if port not in PUBLIC_PORTS | rules.loopback_ports:
        raise Refused(f"port {port} is not allowed; use 443 or 8443")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, _host(parts.hostname or "", bracketed="[" in parts.netloc), port, path)


def check_address(text: str, port: int, rules: Rules) -> None:
    """Raises Refused unless a connection to this address and port is allowed."""
    address = judged(text)
    if address is not None and address.is_loopback and port in rules.loopback_ports:
        return
    if address is None or port not in PUBLIC_PORTS or not _is_public(address):
        raise Refused(f"{text} is not a public address")


def judged(text: str) -> Address | None:
    """The address that decides: the IPv4 address inside an IPv4-mapped, 6to4 or NAT64 one, else itself; `None` for no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_GLOBAL_4)
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_GLOBAL_6)


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        if judged(host) is None:
            raise Refused(f"[{host}] is no IPv6 address")
        return host
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused(f"{host!r} is no host name")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        # Other programs read 127.1, 0x7f.1 and 2130706433 as addresses; only the plain form means the same to everybody.
        try:
            return str(IPv4Address(host))
        except AddressValueError as error:
            raise Refused(f"{host} is no IPv4 address") from error
    if any(host == domain or host.endswith(f".{domain}") for domain in _AWS):
        raise Refused(f"{host} is an endpoint of AWS itself")
    return host
