"""The promise, word for word: each sentence that README prints has tests that would fail if it were not kept."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = "functional/test_faults.py::test_one_fault_at_any_call_breaks_nothing_of_the_promise"
BATCH_FAULTS = "e2e/test_batches.py::test_one_fault_at_each_call_of_a_batch_strands_nothing_and_starts_nothing_twice_under_one_lease"
LIFE = "functional/test_lifecycle.py"
BATCHES = "functional/test_batches.py"

KEPT_BY = {
    "A job whose creation was answered 2xx reaches a terminal state (`done`, `dead`, `cancelled`, `expired`) as long as AWS is up and the"
    " worker's code can start.": [
        FAULTS,
        BATCH_FAULTS,
        f"{LIFE}::TestRepair::test_jobs_whose_messages_were_purged_all_end",
        f"{LIFE}::TestRepair::test_a_stream_record_that_was_lost_heals",
        f"{LIFE}::TestDeadLetters::test_receives_that_ran_out_without_a_run_do_not_kill_the_job",
    ],
    "It runs at least once unless it was cancelled or expired first; a handler may run more than once, so `ctx.idempotency_key` is the same"
    " on every attempt.": [
        FAULTS,
        f"{LIFE}::TestTime::test_a_job_that_expires_before_its_start_never_runs",
        f"{LIFE}::test_a_failing_job_is_retried_with_its_backoff_and_then_done",
        f"{LIFE}::test_the_idempotency_key_is_the_same_on_every_attempt",
    ],
    "Its result is recorded at most once: a worker that lost its lease can overwrite nothing.": [
        f"{LIFE}::TestCrash::test_a_worker_that_lost_its_lease_overwrites_nothing",
        "unit/test_finishes.py::test_a_stale_finish_overwrites_nothing_and_is_counted",
    ],
    "Two attempts never hold the lease together.": [
        FAULTS,
        f"{BATCHES}::test_the_same_job_twice_in_a_batch_runs_once",
        f"{BATCHES}::test_one_fault_in_a_batch_strands_nothing_and_starts_nothing_twice_under_one_lease",
    ],
    '`"cancelled": true` means it will not start again; for a running job cancel is a request, and the answer says so.': [
        FAULTS,
        "e2e/test_cancel.py::test_cancel_and_start_never_disagree",
    ],
    "`attempts` counts the starts that came to an end of their own (returned, raised, timed out, or crashed alone): throttling, polling,"
    " snoozing and a crashing neighbour never spend one.": [
        f"{LIFE}::TestBackoff::test_twenty_five_attempts_are_counted_exactly",
        f"{LIFE}::TestSteering::test_a_snooze_uses_no_attempt",
        f"{LIFE}::TestDeadLetters::test_receives_that_ran_out_without_a_run_do_not_kill_the_job",
        f"{LIFE}::test_a_payload_that_aws_does_not_give_for_a_while_spends_no_attempt",
        f"{BATCHES}::test_a_killer_in_a_batch_ends_dead_by_its_own_count_and_its_neighbours_end_done_with_one_attempt",
        f"{BATCHES}::test_each_lost_attempt_is_in_the_history_with_its_reason",
    ],
    "It never starts early.": [
        f"{LIFE}::TestTime::test_a_job_starts_within_two_seconds_of_its_time_and_never_early",
        f"{LIFE}::TestTime::test_a_message_that_comes_early_is_hidden_and_not_lost",
    ],
    "Order is promised only inside an `ordering_key`.": [
        "proof/test_ordered.py::test_the_jobs_of_a_key_run_in_their_order_and_all_end_in_every_history",
        "functional/test_api_direct.py::test_a_job_of_an_ordered_queue_is_in_its_place_when_the_answer_comes",
        "functional/test_ordered_queues.py::test_the_jobs_of_a_key_run_in_their_order_and_keys_do_not_wait_for_each_other",
    ],
    "Schedules fire at least once, never early, and become one job per occurrence.": [
        "functional/test_firing.py::test_a_run_is_one_job_whatever_is_delivered_twice",
        "functional/test_firing.py::test_a_run_is_never_early_whatever_our_clock_says",
        "functional/test_firing.py::test_a_delivery_that_failed_comes_again_from_the_queue_and_becomes_its_one_job",
        "functional/test_firing.py::test_a_delivery_that_fails_again_stays_in_the_queue_for_a_growing_while",
        "infra/test_schedules.py::test_a_call_that_fails_is_repeated_by_lambda_and_then_kept_in_the_queue_of_operations",
        "e2e/test_schedules.py::test_a_single_time_fires_and_its_run_is_one_job_however_often_it_is_delivered",
    ],
}


def sentences() -> list[str]:
    """README's promise: the quotation under its heading, cut into sentences."""
    section = (ROOT / "README.md").read_text().split("## The promise\n")[1].split("\n## ")[0]
    quoted = " ".join(line.removeprefix(">").strip() for line in section.splitlines() if line.startswith(">"))
    return re.split(r"(?<=\.) (?=[A-Z`])", quoted)


@cache
def names_in(file: str) -> set[str]:
    """The names of a file's tests: `test_x` and `TestY::test_x`."""
    found = set()
    for node in ast.parse((ROOT / "tests" / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def test_every_sentence_of_the_promise_is_kept_by_a_test() -> None:
    assert sentences() == list(KEPT_BY)


@pytest.mark.parametrize("test", sorted({test for tests in KEPT_BY.values() for test in tests}))
def test_each_of_those_tests_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in names_in(file)
