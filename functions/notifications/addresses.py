"""Mail addresses and other values, as a header can carry them."""

from __future__ import annotations

import re
from email.utils import formataddr, getaddresses, parseaddr
from typing import Final

from jobline import NonRetryable

UNFIT_FOR_A_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
"""What could begin another header, or end this one early: line breaks, whoever calls them so, and other control characters."""


def header_address(address: str) -> str:
    """The address as SES takes it: a name with other letters than ASCII's is encoded (RFC 2047), and so is such a domain (IDNA).

    Raises NonRetryable for what could become another header, or another recipient. Whether the rest is an address is SES's to say.
    """
    if UNFIT_FOR_A_HEADER.search(address):
        raise NonRetryable(f"{address!r} is no address: it has a line break or another control character")
    if len(getaddresses([address])) > 1:
        raise NonRetryable(f"{address!r} is more than one address: write a list")
    if address.isascii():
        return address
    name, bare = parseaddr(address)
    local, _, domain = bare.rpartition("@")
    try:
        return formataddr((name, f"{local}@{domain.encode('idna').decode('ascii')}"))
    except UnicodeError as error:
        raise NonRetryable(f"{address!r} is no address that SES takes: before the @ it has other letters than ASCII's") from error
