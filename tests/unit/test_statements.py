"""Writes as PartiQL statements: what can be said, and how."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobline import transitions
from jobline.job import Status
from jobline.statements import sayable, update_statement
from tests.factories import KEEP, NOW, make_claimant, make_job

RUNNING = make_job(status=Status.RUNNING, token=3, lease_until=NOW)


def test_a_batched_claim_is_one_statement() -> None:
    entry = update_statement("jobs", "id-1", transitions.claim(make_claimant(), now=NOW, alone=False))
    assert entry["Statement"] == (
        'UPDATE "jobs" SET "status"=? SET "lease_until"=? SET "claimed_by"=? SET "carrier"=? SET "started_at"=?'
        ' SET "rev"="rev"+? SET "token"="token"+? REMOVE "ttl"'
        ' WHERE "id"=? AND "status" IN [?,?] AND "dispatch"=? AND "scheduled_at"<=? AND "expires_at">? AND "solo" IS MISSING'
        " RETURNING ALL NEW *"
    )
    assert entry["Statement"].count("?") == len(entry["Parameters"])
    assert entry["Parameters"][0] == {"S": "running"}
    assert entry["Parameters"][7] == {"S": "id-1"}
    assert entry["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_nothing_that_a_client_wrote_is_part_of_a_statements_text() -> None:
    hostile = 'x" SET "status"=\'dead'
    write = transitions.done(RUNNING, now=NOW, result=hostile, result_ref=None, alone=False, keep=KEEP)
    entry = update_statement("jobs", hostile, write)
    assert hostile not in entry["Statement"]
    assert {"S": hostile} in entry["Parameters"]


def test_a_write_that_appends_to_the_history_is_no_statement() -> None:
    write = transitions.fail(RUNNING, now=NOW, error="E", delay=timedelta(), alone=False, keep=KEEP)
    assert not sayable(write)
    with pytest.raises(ValueError, match="fail cannot be said"):
        update_statement("jobs", "id-1", write)


def test_a_write_that_adds_to_what_may_be_absent_is_no_statement() -> None:
    assert not sayable(transitions.resend(make_job(), now=NOW))
    assert sayable(transitions.done(RUNNING, now=NOW, result="1", result_ref=None, alone=True, keep=KEEP))
