"""The ticker: once a minute, looks after every job that is not on the straight path. It only writes; it never sends.

Per queue it attends (promotes what falls due, expires, settles lost leases, asks for another copy of an overdue message),
walks (puts under watch whatever is unfinished and unwatched, so that any loss heals), samples the figures of the stats,
and tells CloudWatch those that alarms watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from jobline import transitions
from jobline.counters import Counters, Doubt
from jobline.errors import CorruptRecord, Unavailable
from jobline.gauges import Gauges
from jobline.job import WAITING, WATCH_GRACE, Job, Status
from jobline.log import Log
from jobline.queue_states import QueueState, States
from jobline.shards import queue_partitions
from jobline.stats import queue_stats
from jobline.store import Key, Store
from jobline.transitions import PROMOTE_AHEAD, Keep, Write

WALK_BEHIND = timedelta(minutes=15)
"""The walk stays this far behind: more than the API's time limit and any index lag together (R6)."""
PAGE = 100
SAMPLE = 50
"""Records of one partition that a sample looks at."""


def attention(job: Job, *, now: datetime, rests: bool, keep: Keep) -> Write | None:
    """What the ticker does for one job that is under watch; `None`: nothing yet. `rests`: no message is sent again (`QueueState.rests`)."""
    if job.over:
        return None
    if job.status in WAITING and job.expires_at <= now:
        return transitions.expire(job, now=now, keep=keep(job.queue))
    if job.delivered_by_ticker:
        return transitions.promote(job, now=now) if job.scheduled_at <= now + PROMOTE_AHEAD else None
    if job.attention_at is None or job.attention_at > now:
        return None
    if job.status is Status.RUNNING:
        if (job.lease_until or now) + WATCH_GRACE <= now:
            return transitions.lose(job, now=now, keep=keep(job.queue), over_since=now - WATCH_GRACE)
        return transitions.watch_lease(job, now=now)
    return transitions.rest(job, now=now) if rests else transitions.resend(job, now=now)


class Ticker:
    """One tick over all queues. `out_of_time()` ends it early; the next tick goes on where this one stopped."""

    def __init__(
        self,
        *,
        store: Store,
        states: States,
        queues: Iterable[str],
        keep: Keep,
        clock: Callable[[], datetime],
        log: Log,
        counters: Callable[[str], Counters | None] = lambda queue: None,
        recount_job: Callable[[str, int, datetime], Job] | None = None,
        gauges: Gauges | None = None,
    ) -> None:
        """`counters` are a queue's as of a moment ago (`CounterItems.peek`), `recount_job` makes the job that mends those that cannot be
        trusted; without it nobody does. `gauges` tells CloudWatch what alarms watch."""
        self._counters = counters
        self._recount_job = recount_job
        self._gauges = gauges
        self._store = store
        self._states = states
        self._queues = tuple(queues)
        self._keep = keep
        self._clock = clock
        self._log = log

    def tick(self, out_of_time: Callable[[], bool] = lambda: False) -> None:
        """Attends every queue, then walks and samples every queue; what was cut short goes on with the next tick.

        One queue's trouble or backlog does not keep the others from being attended. Raises `Unavailable` at the end when
        DynamoDB did not answer for a queue: the failed tick shows in the metrics.
        """
        trouble: list[str] = []
        states: dict[str, QueueState] = {}
        for duty in (self._attend, self._survey):
            for queue in self._queues:
                if out_of_time():
                    self._log.warning("tick ended early", queue=queue, duty=duty.__name__)
                    break
                try:
                    if queue not in states:
                        states[queue] = self._states.get(queue)
                    duty(queue, states[queue], out_of_time)
                except Unavailable as error:
                    trouble.append(f"{queue}: {error}")
        if self._gauges is not None:
            self._gauges.tell()
        if trouble:
            raise Unavailable("; ".join(trouble))

    def _survey(self, queue: str, state: QueueState, out_of_time: Callable[[], bool]) -> None:
        walked = self._walk(queue, state, out_of_time)
        surveyed = self._sample(queue, walked, out_of_time)
        if surveyed != state:
            self._states.save_walk(queue, surveyed)
        counters = self._counters(queue)
        if counters is None:
            return
        if self._gauges is not None:
            self._gauges.see(queue, queue_stats(counters, surveyed, now=self._clock()))
        if counters.doubt is not None:
            self._mend_counters(queue, counters.doubt)

    def _mend_counters(self, queue: str, doubt: Doubt) -> None:
        """Asks for a recount of counters in doubt; asked again each minute it is one job all the same."""
        if self._recount_job is None:
            return
        now = self._clock()
        job = self._recount_job(queue, doubt.first, now)
        if self._store.create(job, now=now).applied:
            self._log.warning("recount asked for", queue=queue, job=job.id)

    def _attend(self, queue: str, state: QueueState, out_of_time: Callable[[], bool]) -> None:
        position = None
        done: dict[str, int] = {}
        while not out_of_time():
            page = self._store.page_by_attention(queue, "open", limit=PAGE, start=position, until=self._clock() + PROMOTE_AHEAD)
            for job in self._read(page.keys):
                now = self._clock()
                write = attention(job, now=now, rests=state.rests(now), keep=self._keep)
                if write is not None and self._store.apply(job.id, write).applied:
                    done[write.event] = done.get(write.event, 0) + 1
            position = page.next
            if position is None:
                break
        if done:
            self._log.info("attended", queue=queue, **done)

    def _read(self, keys: tuple[Key, ...]) -> Iterable[Job]:
        """The jobs of some keys; one that cannot be read is logged and does not hide the others."""
        try:
            return self._store.get_many([key.id for key in keys]).values()
        except CorruptRecord:
            jobs = []
            for key in keys:
                try:
                    job = self._store.get(key.id)
                except CorruptRecord as error:
                    self._log.error("record cannot be read", job=key.id, error=str(error))
                    continue
                if job is not None:
                    jobs.append(job)
            return jobs

    def _walk(self, queue: str, state: QueueState, out_of_time: Callable[[], bool]) -> QueueState:
        """Reads each record once, well after its creation; first the watch is written, then the cursor moves (R6)."""
        until = self._clock() - WALK_BEHIND
        walked = dict(state.walked)
        for partition in queue_partitions(queue):
            while not out_of_time():
                keys = self._store.walk(partition, after=walked.get(partition), until=until, limit=PAGE)
                for job in self._read(keys):
                    if not job.over and job.attention is None:
                        self._store.apply(job.id, transitions.watch(job, now=self._clock()))
                        self._log.warning("unwatched job put under watch", job=job.id, status=str(job.status))
                if keys:
                    walked[partition] = keys[-1]
                if len(keys) < PAGE:
                    break
        return replace(state, walked=walked)

    def _sample(self, queue: str, state: QueueState, out_of_time: Callable[[], bool]) -> QueueState:
        """Finds the oldest due job and the holders of live leases, from the oldest jobs that are not over.

        Cut short, it keeps how far it came and leaves the figures as they were: half a sample is none.
        """
        now = self._clock()
        heads = dict(state.heads)
        waiting: list[datetime] = []
        holders: set[str] = set()
        for partition in queue_partitions(queue):
            found = self._open_jobs(partition, heads, now, out_of_time)
            if found is None:
                return replace(state, heads=heads)
            for job in found:
                if job.status is Status.RUNNING and (job.lease_until or now) > now:
                    holders.add(job.claimed_by or "")
                elif job.status in WAITING and job.scheduled_at <= now:
                    waiting.append(job.created_at)
        return replace(state, heads=heads, oldest_created_at=min(waiting, default=None), active_workers=len(holders))

    def _open_jobs(self, partition: str, heads: dict[str, Key], now: datetime, out_of_time: Callable[[], bool]) -> list[Job] | None:
        """The oldest jobs of a partition that are not over; moves the partition's head past those that are. `None`: out of time."""
        while not out_of_time():
            keys = self._store.walk(partition, after=heads.get(partition), until=now, limit=SAMPLE)
            jobs = {job.id: job for job in self._read(keys)}
            for key in keys:
                job = jobs.get(key.id)
                if job is not None and not job.over:
                    return [job for job in jobs.values() if not job.over]
                heads[partition] = key
            if len(keys) < SAMPLE:
                return []
        return None
