"""`make demo` and `make dev`, beside the deployment that the other tests use: each with a port of its own."""

from __future__ import annotations

import re
import time
from pathlib import Path

from jobline.local_aws import free_port
from jobline.local_stack import LocalStack
from tests.e2e.checkout import make, press_ctrl_c, wait_for_note
from tests.e2e.client import Client
from tests.e2e.test_local_aws import listens

SHOWN = (
    *("send_email", "send_sms", "push_notification", "batch_newsletter", "image_resize", "video_transcode", "pdf_generate", "data_import"),
    *("sync_to_crm", "webhook_delivery", "api_polling", "payment_process"),
    *("daily_report", "cache_warm", "data_cleanup", "subscription_renewal"),
)


def test_the_demo_runs_to_its_end_and_stops_everything(checkout: Path) -> None:
    port = free_port()
    with make("demo", checkout, port) as demo:
        output, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, output
    ended = dict(re.findall(r"^│ (\w+) +│ ([\w →]+?) +│ +\d+ │ +\d+\.\d\d │", output, re.MULTILINE))
    assert ended == dict.fromkeys(SHOWN, "done") | {"echo": "done", "fail": "dead → done"}, output
    for said in ("dead → retried by hand → pending", "Everything is stopped"):
        assert said in output, output
    assert not listens(port)


def test_two_checkouts_run_side_by_side_and_a_change_is_deployed(stack: LocalStack, client: Client, checkout: Path) -> None:
    port, note = free_port(), checkout / ".jobline" / "local.json"
    with make("dev", checkout, port) as dev:
        try:
            theirs = Client(wait_for_note(note)["api_url"])
            job_id = theirs.enqueue("diagnostics", "echo", "mine")
            assert theirs.end_of(job_id)["result"] == "mine"
            assert client.call("GET", f"/jobs/{job_id}").status == 404
            assert client.end_of(client.enqueue("diagnostics", "echo", "yours"))["status"] == "done"

            echo = checkout / "functions" / "diagnostics" / "echo.py"
            echo.write_text(echo.read_text().replace("return payload", 'return ["changed", payload]'))
            deadline = time.monotonic() + 60
            while theirs.end_of(theirs.enqueue("diagnostics", "echo", 1))["result"] != ["changed", 1]:
                assert time.monotonic() < deadline, "the change was not deployed"
                time.sleep(0.5)
        finally:
            press_ctrl_c(dev, within=20)
    assert not note.exists()
    assert not listens(port)
