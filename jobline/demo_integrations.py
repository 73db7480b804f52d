"""What `make demo` shows of the integrations worker, and the vendors that its jobs talk to; tests/e2e has them too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from jobline.demo_jobs import LOOPBACK_PORTS, Act, Json, expect
from jobline.local_crm import LocalCrm, local_crm
from jobline.local_server import serving
from jobline.local_stack import LocalStack
from jobline.local_stripe import LocalStripe, local_stripe

CONTACTS_KEY: Final = "crm/contacts.jsonl"
CONTACTS: Final = 150
LOOKS: Final = 3


class Export(ThreadingHTTPServer):
    """Somebody's API with something in the making: it is ready at the third look."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Look)
        self.url = f"http://127.0.0.1:{self.server_port}/exports/17"
        self.looks = 0


class _Look(BaseHTTPRequestHandler):
    server: Export

    def do_GET(self) -> None:
        self.server.looks += 1
        state = {"status": "ready" if self.server.looks >= LOOKS else "running", "looks": self.server.looks}
        body = json.dumps(state).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the demo's screen is its own."""


@dataclass(frozen=True)
class Vendors:
    """Other people's systems, on this machine."""

    crm: LocalCrm
    stripe: LocalStripe
    export: Export


@contextmanager
def vendors(stack: LocalStack) -> Iterator[Vendors]:
    """Starts them on free ports, and tells the worker where they are."""
    with local_crm() as crm, local_stripe() as stripe, serving(Export()) as export:
        ports = ", ".join(map(str, (*LOOPBACK_PORTS, crm.server_port, export.server_port)))
        stack.configure("integrations", CRM_API_BASE=crm.url, STRIPE_API_BASE=stripe.url, ALLOWED_LOOPBACK_PORTS=ports)
        yield Vendors(crm, stripe, export)


def contacts() -> bytes:
    """A file of contacts, one of which has no address that a CRM would take."""
    emails = ("nobody" if number == 7 else f"{number}@example.com" for number in range(CONTACTS))
    return "".join(json.dumps({"id": f"c-{n}", "properties": {"email": email}}) + "\n" for n, email in enumerate(emails)).encode()


def acts(vendors: Vendors) -> list[Act]:
    """The family's jobs; `contacts()` is in the data bucket, at `CONTACTS_KEY`."""
    return [
        Act(
            request={
                "queue": "integrations",
                "type": "sync_to_crm",
                "payload": {"object": "contacts", "id_property": "external_id", "source": CONTACTS_KEY},
            },
            attempts=1,
            result=lambda job: _contacts_are_there(job, vendors.crm),
        ),
        Act(
            request={
                "queue": "integrations",
                "type": "api_polling",
                "payload": {"url": vendors.export.url, "until": "status == 'ready'", "interval": 1},
            },
            attempts=1,
            result=_export_is_ready,
        ),
        Act(
            request={
                "queue": "payments",
                "type": "payment_process",
                "payload": {"amount": 1099, "currency": "eur", "payment_method": "pm_card_visa", "metadata": {"order": "4711"}},
            },
            attempts=1,
            result=lambda job: _charged_once(job, vendors.stripe),
        ),
    ]


def _contacts_are_there(job: Json, crm: LocalCrm) -> str:
    result, there = job["result"], crm.portal.objects["contacts"]
    counts = (result["records"], result["upserted"], result["rejected"], len(there))
    expect(counts == (CONTACTS, CONTACTS - 1, 1, CONTACTS - 1), f"sync_to_crm counted otherwise: {result}, and the CRM has {len(there)}")
    return f"{CONTACTS} from S3: {CONTACTS - 1} in the CRM, 1 refused and listed"


def _export_is_ready(job: Json) -> str:
    answer = job["result"]["answer"]
    expect(answer == {"status": "ready", "looks": LOOKS}, f"api_polling returned {answer}")
    return f"ready at look {LOOKS}; put off in between"


def _charged_once(job: Json, stripe: LocalStripe) -> str:
    charges = [charge["id"] for charge in stripe.account.charged("order", "4711")]
    expect(charges == [job["result"]["charge"]], f"payment_process should have charged once: {charges}, {job['result']}")
    return f"10.99 EUR, once: {charges[0]}"
