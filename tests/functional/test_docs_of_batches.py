"""What docs/batches.md shows is taken as it stands, and its tables name what there is."""

from __future__ import annotations

import re

from jobline.batch import CALLBACKS
from jobline.batches import BATCH_STATUSES, STATUSES
from jobline.local_aws import ROOT
from jobline.testing import TrialDeployment

PAGE = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")


def test_the_request_on_the_page_is_taken(jobs: TrialDeployment) -> None:
    (body,) = re.findall(r"```json\nPOST /batches\n(.*?)```", PAGE, re.DOTALL)
    answer = jobs.client()._connection.request("POST", "/batches", content=body.encode())
    assert (answer.status, answer.body["name"], answer.body["total"]) == (202, "invitations", 2)


def test_the_program_on_the_page_runs(jobs: TrialDeployment) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    told: list[object] = []
    given = {"print": lambda *words: told.extend(words), "Given": jobs.client}
    exec(program.replace("client = Client()", "client = Given()"), given)  # noqa: S102  our own page
    assert told[0] == "complete"
    assert len(jobs.all("send_email")) == 2, "no mail leaves this test, so nothing follows a success"


def test_the_page_names_every_status_and_every_callback() -> None:
    for word in (*BATCH_STATUSES, *STATUSES, *CALLBACKS):
        assert f"`{word}`" in PAGE, word
