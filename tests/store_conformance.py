"""What every store answers: the table in DynamoDB and the table in memory, on moto and on the local AWS."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from jobline import transitions as t
from jobline.creation import Replaced
from jobline.job import Status
from jobline.locks import Unique, lock_of
from jobline.memory import MemoryStore
from jobline.store import Store
from tests.factories import JOB_ID, KEEP, NOW, make_claimant, make_job, seconds

OTHER_ID = "0197a000-0000-7000-8000-00000000000a"


def fill(store: Store, count: int) -> list[str]:
    """`count` jobs, one a second, oldest first."""
    jobs = [make_job(id=f"0197a000-0000-7000-8000-{n:012d}", created_at=NOW + seconds(n)) for n in range(count)]
    for job in jobs:
        assert store.create(job, now=NOW).applied
    return [job.id for job in jobs]


class StoreConformance:
    """A subclass has the fixture `store`: an empty one."""

    def test_what_was_created_is_read_back_whole(self, store: Store) -> None:
        job = make_job(
            tags=("vip", "ünï"),
            group="tenant-1",
            request_hash="abc",
            traceparent="00-1-2-01",
            expires_at=NOW + seconds(5),
            expires_in=5,
            history=("[]",),
        )
        store.create(job, now=NOW)
        assert store.get(job.id) == job

    def test_a_second_creation_is_refused_and_answers_the_first(self, store: Store) -> None:
        store.create(make_job(payload="1"), now=NOW)
        outcome = store.create(make_job(payload="2"), now=NOW)
        assert not outcome.applied
        assert outcome.job is not None and outcome.job.payload == "1"

    def test_a_record_past_its_retention_is_replaced_and_goes_on_counting(self, store: Store) -> None:
        store.create(make_job(status=Status.DONE, ttl=int(NOW.timestamp()), token=4, dispatch=6, rev=9, result="1"), now=NOW)
        outcome = store.create(make_job(payload="2"), now=NOW)
        assert outcome.applied
        assert (found := store.get(make_job().id)) == outcome.job
        assert found is not None and (found.token, found.dispatch, found.rev, found.result, found.ttl) == (4, 7, 10, None, None)

    def test_many_are_created_at_once_and_an_id_that_is_taken_is_told(self, store: Store) -> None:
        store.create(make_job(payload="taken"), now=NOW)
        jobs = [make_job(id=f"0197a000-0000-7000-8000-{n:012d}", tags=("ünï", "it's"), group="g", payload='{"a":"\'"}') for n in range(60)]
        assert store.create_many(jobs) == [n != 1 for n in range(60)]
        found = store.get_many([job.id for job in jobs])
        assert found.pop(make_job().id).payload == "taken"
        assert found == {job.id: job for job in jobs if job.id != make_job().id}

    def test_a_unique_job_is_created_with_its_lock_or_not_at_all(self, store: Store) -> None:
        job, other = make_job(), make_job(id=OTHER_ID, created_at=NOW + seconds(1))
        lock, others = lock_of(job, Unique(key="k"), None), lock_of(other, Unique(key="k"), None)
        assert store.create_unique(job, lock).applied
        assert store.get_lock(lock.id) == lock
        # The first one stands where the second one is to be written: its record, its lock, or both.
        assert store.create_unique(job, lock) == (False, job, lock)
        assert store.create_unique(other, others) == (False, None, lock)
        assert store.create_unique(job, others, before=lock) == (False, job, lock)
        assert store.get(OTHER_ID) is None
        assert store.create_unique(other, others, before=lock) == (True, other, others)
        assert store.create_unique(make_job(id=JOB_ID[:-1] + "9"), lock, before=lock) == (False, None, others)

    def test_a_replaced_job_ends_with_the_creation_of_the_other_or_not_at_all(self, store: Store) -> None:
        job, other = make_job(), make_job(id=OTHER_ID, created_at=NOW + seconds(1))
        lock, others = lock_of(job, Unique(key="k"), None), lock_of(other, Unique(key="k"), None)
        store.create_unique(job, lock)
        replaced = Replaced(job, t.cancel(job, now=NOW, op="op", keep=KEEP))
        store.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True))
        assert store.create_unique(other, others, before=lock, replaced=replaced) == (False, None, lock)
        assert store.get(OTHER_ID) is None
        claimed = store.get(job.id)
        assert claimed is not None and claimed.status is Status.RUNNING
        store.apply(job.id, t.hand_back(claimed, now=NOW, alone=True, keep=KEEP))
        assert store.create_unique(other, others, before=lock, replaced=replaced).applied
        ended = store.get(job.id)
        assert ended is not None and ended.status is Status.CANCELLED

    def test_an_end_that_is_told_is_written_with_its_follow_ups_or_not_at_all(self, store: Store) -> None:
        job = make_job(callback_url="https://shop.example.com/told", reply_to="answers")
        store.create(job, now=NOW)
        write = t.cancel(job, now=NOW, op="op", keep=KEEP)
        told, replied = (store.get(made.id) for made in write.makes)
        assert (told, replied) == (None, None)
        # Changed since it was read: nothing is written, and the refusal says what stands there.
        running = store.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)).job
        assert running is not None
        assert store.apply(job.id, write) == (False, running)
        assert store.get_many([made.id for made in write.makes]) == {}
        back = store.apply(job.id, t.hand_back(running, now=NOW, alone=True, keep=KEEP)).job
        assert back is not None
        write = t.cancel(back, now=NOW, op="op", keep=KEEP)
        outcome = store.apply(job.id, write)
        assert outcome == (True, store.get(job.id))
        assert outcome.job is not None and outcome.job.status is Status.CANCELLED
        made = store.get_many([made.id for made in write.makes])
        assert sorted(follow_up.type for follow_up in made.values()) == ["callback", "reply"]
        keys = {key.id for key in store.page_by_queue("operations", limit=10).keys}
        assert keys == set(made)
        assert {follow_up.status for follow_up in made.values()} == {Status.PENDING}

    def test_an_end_that_is_told_has_the_same_record_in_every_store(self, store: Store) -> None:
        reference = MemoryStore()
        job = make_job(max_attempts=1, reply_to="answers", tags=("ünï",))
        for each in (store, reference):
            each.create(job, now=NOW)
            claimed = each.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)).job
            assert claimed is not None
            write = t.fail(claimed, now=NOW + seconds(1), error="E: é", delay=seconds(1), alone=True, keep=KEEP)
            outcome = each.apply(job.id, write)
            assert outcome.applied and outcome.job == each.get(job.id)
        assert store.get(job.id) == reference.get(job.id)
        (made,) = write.makes
        assert store.get(made.id) == reference.get(made.id)

    def test_an_end_whose_reply_was_lost_is_refused_by_itself_and_told_once(self, store: Store) -> None:
        job = make_job(reply_to="answers")
        store.create(job, now=NOW)
        write = t.cancel(job, now=NOW, op="op", keep=KEEP)
        ended = store.apply(job.id, write).job
        assert store.apply(job.id, write) == (False, ended)
        assert [key.id for key in store.page_by_queue("operations", limit=10).keys] == [write.makes[0].id]

    def test_a_follow_up_that_is_there_already_does_not_keep_the_end_from_being_written(self, store: Store) -> None:
        job = make_job(callback_url="https://shop.example.com/told", reply_to="answers")
        store.create(job, now=NOW)
        write = t.cancel(job, now=NOW, op="op", keep=KEEP)
        before = write.makes[0]
        store.create(dataclasses.replace(before, status=Status.DONE), now=NOW)
        assert store.apply(job.id, write) == (True, store.get(job.id))
        first, second = (store.get(made.id) for made in write.makes)
        assert first is not None and first.status is Status.DONE
        assert second is not None and second.status is Status.PENDING

    def test_an_end_that_is_told_is_left_out_of_a_batch_of_writes(self, store: Store) -> None:
        told, quiet = make_job(reply_to="answers"), make_job(id=OTHER_ID)
        for job in (told, quiet):
            store.create(job, now=NOW)
        (first, second) = store.apply_many([(job.id, t.cancel(job, now=NOW, op="op", keep=KEEP)) for job in (told, quiet)])
        assert first is None
        assert store.get(told.id) == store.create(told, now=NOW).job, "nothing was written"
        assert second is None or second.applied

    def test_a_replaced_job_that_is_told_of_is_told_of_with_the_creation_of_the_other(self, store: Store) -> None:
        job, other = make_job(reply_to="answers"), make_job(id=OTHER_ID, created_at=NOW + seconds(1))
        lock, others = lock_of(job, Unique(key="k"), None), lock_of(other, Unique(key="k"), None)
        store.create_unique(job, lock)
        write = t.cancel(job, now=NOW, op="op", keep=KEEP)
        assert store.create_unique(other, others, before=lock, replaced=Replaced(job, write)).applied
        ended = store.get(job.id)
        assert ended is not None and ended.status is Status.CANCELLED
        assert store.get(write.makes[0].id) is not None

    def test_a_write_that_holds_answers_the_new_record(self, store: Store) -> None:
        store.create(make_job(), now=NOW)
        outcome = store.apply(make_job().id, t.claim(make_claimant(), now=NOW, alone=True))
        assert outcome.applied and outcome.job is not None
        assert (outcome.job.status, outcome.job.attempts, outcome.job.token, outcome.job.rev) == (Status.RUNNING, 1, 1, 2)
        assert outcome.job == store.get(make_job().id)

    def test_a_write_that_does_not_hold_changes_nothing_and_answers_the_record(self, store: Store) -> None:
        job = make_job(dispatch=2)
        store.create(job, now=NOW)
        assert store.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)) == (False, job)

    def test_a_write_to_nothing_is_refused_and_makes_nothing(self, store: Store) -> None:
        assert store.apply(make_job().id, t.claim(make_claimant(), now=NOW, alone=True)) == (False, None)
        assert store.get(make_job().id) is None

    def test_a_whole_life_is_the_same_in_every_store(self, store: Store) -> None:
        reference = MemoryStore()
        job = make_job(max_attempts=2)
        for each in (store, reference):
            each.create(job, now=NOW)
            claimed = each.apply(job.id, t.claim(make_claimant(), now=NOW, alone=True)).job
            assert claimed is not None
            failed = each.apply(job.id, t.fail(claimed, now=NOW, error="E: é", delay=seconds(1), alone=True, keep=KEEP)).job
            assert failed is not None
            again = each.apply(job.id, t.claim(make_claimant(dispatch=2), now=NOW + seconds(1), alone=True)).job
            assert again is not None
            dead = each.apply(job.id, t.fail(again, now=NOW + seconds(2), error="E: é", delay=seconds(1), alone=True, keep=KEEP)).job
            assert dead is not None and dead.status is Status.DEAD
            assert each.apply(job.id, t.retry(dead, now=NOW + seconds(3), op="op-1")).applied
        assert store.get(job.id) == reference.get(job.id)

    def test_many_are_read_at_once_and_absent_ones_left_out(self, store: Store) -> None:
        ids = fill(store, 120)
        assert set(store.get_many([*ids, "absent"])) == set(ids)

    def test_a_queue_is_paged_newest_first_without_gaps_or_repeats(self, store: Store) -> None:
        ids = fill(store, 37)
        seen: list[str] = []
        position = None
        while True:
            page = store.page_by_queue("emails", limit=5, start=position)
            seen += [key.id for key in page.keys]
            position = page.next
            if position is None:
                break
        assert seen == ids[::-1]

    def test_a_queue_is_listed_within_a_span_of_time(self, store: Store) -> None:
        ids = fill(store, 20)
        page = store.page_by_queue("emails", limit=50, since=NOW + seconds(5), until=NOW + seconds(8))
        assert [key.id for key in page.keys] == ids[8:4:-1]
        assert page.next is None

    def test_another_queue_s_jobs_are_not_listed(self, store: Store) -> None:
        fill(store, 3)
        assert store.page_by_queue("images", limit=10).keys == ()

    def test_attention_lists_what_must_be_looked_at_up_to_a_moment_soonest_first(self, store: Store) -> None:
        for number, delay in enumerate((3000, 1000, 2000)):
            job = make_job(id=f"0197a000-0000-7000-8000-{number:012d}", scheduled_at=NOW + seconds(delay))
            store.create(t.enqueued(job, now=NOW), now=NOW)
        page = store.page_by_attention("emails", "open", limit=10, until=NOW + seconds(2500))
        assert [key.at - NOW for key in page.keys] == [seconds(1000), seconds(2000)]

    def test_a_job_leaves_the_attention_of_the_open_when_it_ends(self, store: Store) -> None:
        job = t.enqueued(make_job(scheduled_at=NOW + timedelta(days=1)), now=NOW)
        store.create(job, now=NOW)
        store.apply(job.id, t.cancel(job, now=NOW, op="op", keep=KEEP))
        assert store.page_by_attention("emails", "open", limit=10).keys == ()
        assert [key.id for key in store.page_by_attention("emails", "cancelled", limit=10).keys] == [job.id]

    def test_the_walk_goes_on_after_the_key_it_stopped_at(self, store: Store) -> None:
        fill(store, 40)
        found = store.get_many([f"0197a000-0000-7000-8000-{n:012d}" for n in range(40)])
        partition = found["0197a000-0000-7000-8000-000000000000"].queue_shard
        expected = sorted((job.created_at, job.id) for job in found.values() if job.queue_shard == partition)
        walked: list[str] = []
        after = None
        while keys := store.walk(partition, after=after, until=NOW + seconds(35), limit=2):
            walked += [key.id for key in keys]
            after = keys[-1]
        assert walked == [job_id for at, job_id in expected if at <= NOW + seconds(35)]

    def test_several_writes_have_an_outcome_each(self, store: Store) -> None:
        """The third waits, the fourth has another dispatch, the fifth does not exist."""
        ids = fill(store, 2)
        late = make_job(id="0197a000-0000-7000-8000-00000000000a", scheduled_at=NOW + seconds(60))
        other = make_job(id="0197a000-0000-7000-8000-00000000000b", dispatch=2)
        for job in (late, other):
            store.create(job, now=NOW)
        write = t.claim(make_claimant(), now=NOW + seconds(5), alone=False)
        first, second, third, fourth, fifth = store.apply_many([(job_id, write) for job_id in (*ids, late.id, other.id, "absent")])
        for job_id, outcome in zip(ids, (first, second), strict=True):
            assert outcome is not None and outcome.applied and outcome.job is not None
            assert (outcome.job.status, outcome.job.token, outcome.job.attempts, outcome.job.rev) == (Status.RUNNING, 1, 0, 2)
            assert outcome.job == store.get(job_id)
        assert third == (False, store.get(late.id))
        assert fourth == (False, store.get(other.id))
        assert fifth is None or fifth == (False, None)
        assert store.get("absent") is None

    def test_a_suspect_is_left_out_of_a_batch(self, store: Store) -> None:
        store.create(make_job(solo=True), now=NOW)
        (outcome,) = store.apply_many([(make_job().id, t.claim(make_claimant(), now=NOW, alone=False))])
        assert outcome is not None and not outcome.applied
        assert outcome.job is not None and outcome.job.solo

    def test_a_batch_leaves_the_same_record_as_single_writes(self, store: Store) -> None:
        reference = MemoryStore()
        job = make_job(ttl=1)
        for each in (store, reference):
            each.create(job, now=NOW)
            (claimed,) = each.apply_many([(job.id, t.claim(make_claimant(), now=NOW, alone=False))])
            assert claimed is not None and claimed.job is not None
            write = t.done(claimed.job, now=NOW + seconds(1), result='{"é":1.50}', result_ref=None, alone=False, keep=KEEP)
            (done,) = each.apply_many([(job.id, write)])
            assert done is not None and done.applied
        assert store.get(job.id) == reference.get(job.id)

    def test_more_writes_than_one_call_takes_are_all_made(self, store: Store) -> None:
        ids = fill(store, 60)
        outcomes = store.apply_many([(job_id, t.claim(make_claimant(), now=NOW + seconds(90), alone=False)) for job_id in ids])
        assert [outcome is not None and outcome.applied for outcome in outcomes] == [True] * 60

    def test_no_writes_have_no_outcomes(self, store: Store) -> None:
        assert store.apply_many([]) == []

    def test_a_record_that_is_over_is_deleted_only_as_it_was_read(self, store: Store) -> None:
        job = make_job(status=Status.DEAD, completed_at=NOW, ttl=int(NOW.timestamp()) + 60)
        store.create(job, now=NOW)
        assert store.apply(job.id, t.retry(job, now=NOW, op="somebody")).applied
        assert not store.delete(job)
        assert store.get(job.id) is not None
        over = store.apply(job.id, t.cancel(job, now=NOW, op="somebody", keep=KEEP)).job
        assert over is not None
        assert store.delete(over)
        assert store.get(job.id) is None
        assert store.delete(over), "it is gone, whoever removed it"

    def test_a_job_that_is_not_over_is_never_deleted(self, store: Store) -> None:
        store.create(make_job(), now=NOW)
        with pytest.raises(ValueError, match="not over"):
            store.delete(make_job())
        assert store.get(make_job().id) is not None

    def test_a_record_that_was_forgotten_is_gone_at_once_and_gives_way_to_a_new_job(self, store: Store) -> None:
        job = make_job(status=Status.DEAD, completed_at=NOW, ttl=int(NOW.timestamp()) + 60, token=3)
        store.create(job, now=NOW)
        outcome = store.apply(job.id, t.forget(job, now=NOW))
        assert outcome.applied and outcome.job is not None and outcome.job.gone(NOW)
        renewed = store.create(make_job(), now=NOW).job
        assert renewed is not None and renewed.token == 3
