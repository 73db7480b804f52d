"""The figures that alarms watch: read from the line as CloudWatch reads it, told only where one watches and only when there are any."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from jobline.counters import Counters, Minute
from jobline.definitions import Definitions, Monitoring, Queue, QueueAlarms
from jobline.gauges import Gauges
from jobline.job import Status
from jobline.memory import MemoryStore
from jobline.queue_states import QueueState
from jobline.stats import QueueStats, queue_stats
from jobline.ticker import Ticker
from jobline.wiring import make_log
from tests.factories import KEEP, NOW, make_job, seconds
from tests.unit.test_ticker import States


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def info(self, message: object, /, **fields: Any) -> None:
        self.told.append({"message": message, **fields})

    warning = error = info

    def metrics(self) -> dict[tuple[str, ...], tuple[float, str]]:
        """What CloudWatch makes of the lines: value and unit by dimensions' values and metric."""
        found = {}
        for line in self.told:
            for directive in line["_aws"]["CloudWatchMetrics"]:
                assert directive["Namespace"] == "Jobline"
                [dimensions] = directive["Dimensions"]
                for metric in directive["Metrics"]:
                    found[(*(line[name] for name in dimensions), metric["Name"])] = (line[metric["Name"]], metric["Unit"])
        return found


def definitions(alarms: QueueAlarms, **settings: Any) -> Definitions:
    return Definitions(stage="dev", queues={"emails": Queue(name="emails", worker="mail", alarms=alarms)}, **settings)


def gauges(alarms: QueueAlarms, lines: Lines, **settings: Any) -> Gauges:
    return Gauges(definitions(alarms, **settings), stack="Jobline-dev", clock=lambda: NOW, log=lines)


def numbers(**changes: Any) -> QueueStats:
    return msgspec.structs.replace(queue_stats(Counters(), QueueState(), now=NOW), **changes)


BUSY = numbers(dead=2, pending=40, oldest_job_age=70.5, avg_run_time=1.25, error_rate=0.5, active_workers=1)
EVERY = QueueAlarms(dead=1, depth=10, age=60, run_time=1, error_rate=0.1, workers=3)


def test_each_figure_that_an_alarm_watches_is_told_with_its_queue_and_stack() -> None:
    lines = Lines()
    watching = gauges(EVERY, lines)
    watching.see("emails", BUSY)
    watching.tell()
    here = ("Jobline-dev", "emails")
    assert lines.metrics() == {
        (*here, "dead"): (2, "Count"),
        (*here, "pending"): (40, "Count"),
        (*here, "oldest_job_age"): (70.5, "Seconds"),
        (*here, "avg_run_time"): (1.25, "Seconds"),
        (*here, "error_rate"): (0.5, "None"),
        (*here, "missing_workers"): (2, "Count"),
        ("Jobline-dev", "dead"): (2, "Count"),
    }
    assert all(line["_aws"]["Timestamp"] == NOW.timestamp() * 1000 for line in lines.told)


def test_the_functions_own_log_writes_the_line_as_cloudwatch_reads_it() -> None:
    printed = io.StringIO()
    log = make_log(stream=printed)
    Gauges(definitions(QueueAlarms(depth=10)), stack="Jobline-dev", clock=lambda: NOW, log=log).see("emails", BUSY)
    [line] = printed.getvalue().splitlines()
    as_read = Lines()
    as_read.told = [json.loads(line)]
    assert as_read.metrics() == {("Jobline-dev", "emails", "pending"): (40, "Count")}


def test_what_nobody_watches_is_not_told() -> None:
    lines = Lines()
    watching = gauges(QueueAlarms(depth=10), lines, monitoring=Monitoring(alarms=False))
    watching.see("emails", BUSY)
    watching.tell()
    assert lines.metrics() == {("Jobline-dev", "emails", "pending"): (40, "Count")}


def test_a_deployment_at_rest_tells_nothing_and_so_pays_for_no_metric() -> None:
    lines = Lines()
    watching = gauges(EVERY, lines)
    watching.see("emails", numbers())
    watching.tell()
    assert lines.told == []


def test_dead_jobs_of_all_queues_are_one_figure_of_the_deployment_anew_each_minute() -> None:
    lines = Lines()
    watching = gauges(QueueAlarms(), lines)
    for _ in range(2):
        for queue in ("emails", "another"):
            watching.see(queue, BUSY)
        watching.tell()
    assert [line["dead"] for line in lines.told] == [4, 4]


def test_a_worker_is_missing_only_while_a_job_is_due_and_the_queue_is_not_paused() -> None:
    for stats in (numbers(oldest_job_age=None), numbers(oldest_job_age=5.0, paused=True), numbers(oldest_job_age=5.0, active_workers=3)):
        lines = Lines()
        gauges(QueueAlarms(workers=3), lines).see("emails", stats)
        assert lines.told == []


def test_a_tick_tells_what_it_has_just_sampled() -> None:
    store, lines = MemoryStore(), Lines()
    store.create(make_job(created_at=NOW - seconds(90), scheduled_at=NOW - seconds(90)), now=NOW)
    minute = int(NOW.timestamp()) // 60
    counters = Counters(counts={Status.PENDING: 1, Status.DEAD: 3}, minutes={minute: Minute(ended=4, failed=1)})
    ticker = Ticker(
        store=store,
        states=States(),
        queues=["emails"],
        keep=lambda queue: KEEP,
        clock=lambda: NOW,
        log=Lines(),
        counters=lambda queue: counters,
        gauges=gauges(EVERY, lines),
    )
    ticker.tick()
    told = {names[-1]: value for names, (value, _) in lines.metrics().items() if len(names) == 3}
    assert told == {"dead": 3, "pending": 1, "oldest_job_age": 90.0, "error_rate": 0.25, "missing_workers": 3}
    assert datetime.fromtimestamp(lines.told[0]["_aws"]["Timestamp"] / 1000, UTC) == NOW
