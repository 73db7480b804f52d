"""What the integrations worker does, through the real API and with the permissions and secrets that the stack grants it."""

from __future__ import annotations

import json

from jobline.demo_integrations import CONTACTS_KEY, acts, contacts, vendors
from jobline.local_stack import LocalStack
from tests.e2e.client import Client


def test_what_talks_to_other_peoples_systems_comes_to_its_end(client: Client, stack: LocalStack) -> None:
    bucket, s3 = stack.outputs()["BucketName"], stack.client("s3")
    s3.put_object(Bucket=bucket, Key=CONTACTS_KEY, Body=contacts())
    with vendors(stack) as systems:
        asked = [(act, client.enqueue(**act.request)) for act in acts(systems)]
        ended = {act.request["type"]: (act, client.end_of(id)) for act, id in asked}
        assert {name: (job["status"], job["error"]) for name, (_, job) in ended.items()} == dict.fromkeys(ended, ("done", None))
        for act, job in ended.values():
            act.result(job)
        assert systems.export.looks == 3
        assert [batch[0] for batch in systems.crm.portal.batches] == ["c-0", "c-100"]
    [listed] = s3.list_objects_v2(Bucket=bucket, Prefix=ended["sync_to_crm"][1]["result"]["rejects"]["prefix"])["Contents"]
    reject = json.loads(s3.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read())
    assert (reject["line"], reject["id"]) == (8, "c-7")
