"""`make demo`: a local AWS, the real stack deployed into it, real jobs of every kind, what came of them; then everything is stopped.

`make demo ONLY=image_resize` (or several types, with commas) runs the jobs of these types alone.

Exit code 0 when every job came to the end that it should; 1 when one did not, or when something could not start.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from jobline import demo_integrations, demo_media
from jobline.connection import Connection
from jobline.demo_jobs import PHOTO_KEY, Act, Json, NotAsExpected, Progress, Receiver, acts, expect, photo, receiver
from jobline.demo_notifications import notification_acts
from jobline.demo_scheduled import Website, scheduled_acts, website
from jobline.errors import JoblineError
from jobline.local_aws import ROOT, LocalAws, LocalAwsError, configured_port, stop_cleanly_when_told
from jobline.local_stack import LocalStack

SECONDS_TO_FINISH: Final = 180
SECONDS_BETWEEN_LOOKS: Final = 0.1
COLOURS: Final = {"done": "green", "dead": "red", "failed": "yellow", "running": "cyan", "cancelled": "magenta", "expired": "magenta"}


def main(only: Sequence[str] = ()) -> int:
    """The whole demo, or the jobs of these types; the exit code."""
    stop_cleanly_when_told()
    console = Console(highlight=False)
    began = time.monotonic()
    try:
        with LocalAws(port=configured_port(), state=ROOT / ".jobline" / "demo") as aws:
            stack = LocalStack(aws)
            console.print(f"A local AWS listens on {aws.endpoint_url} (ministack, in memory)")
            set_up(stack, console)
            run(stack, console, only)
    except (JoblineError, LocalAwsError, NotAsExpected) as error:
        console.print(f"[red]{error}[/]", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything is stopped.")
        return 130
    console.print(f"Everything is stopped. All of it took {time.monotonic() - began:.0f} s. `make dev` leaves the same stack running.")
    return 0


def set_up(stack: LocalStack, console: Console) -> None:
    """Bootstraps and deploys, with a word about each step when it is done."""
    for title, step in (("cdk bootstrap", stack.bootstrap), ("cdk deploy", stack.deploy)):
        started = time.monotonic()
        with console.status(f"{title} …"):
            step()
        console.print(f"{title:<14} {time.monotonic() - started:4.0f} s")
    resources = stack.client("cloudformation").describe_stack_resources(StackName=stack.deployment().stack)["StackResources"]
    console.print(f"{len(resources)} resources; the API is {stack.deployment().api_url}\n", soft_wrap=True)


def run(stack: LocalStack, console: Console, only: Sequence[str] = ()) -> None:
    """Enqueues the jobs, watches them to their end and checks each. Raises NotAsExpected."""
    s3, bucket = stack.client("s3"), stack.outputs()["BucketName"]
    s3.put_object(Bucket=bucket, Key=PHOTO_KEY, Body=photo())
    s3.put_object(Bucket=bucket, Key=demo_integrations.CONTACTS_KEY, Body=demo_integrations.contacts())
    s3.put_object(Bucket=bucket, Key=demo_media.CLIP_KEY, Body=demo_media.clip())
    with (
        receiver() as deliveries,
        demo_integrations.vendors(stack) as vendors,
        website(stack) as site,
        Connection.find(api_url=stack.deployment().api_url) as api,
    ):
        watched = []
        everything = every_act(stack.client, bucket, stack.outputs()["TableName"], deliveries, vendors, site)
        for act in chosen(everything, only):
            job = api.request("POST", "/jobs", json=act.request).body
            watched.append(Progress(act, job["id"], job))
        watch(watched, api, console)
        results = [check(progress) for progress in watched]
    console.print(summary(watched, results))


def every_act(
    client: Callable[[str], Any], bucket: str, records: str, deliveries: Receiver, vendors: demo_integrations.Vendors, site: Website
) -> list[Act]:
    """Every job of the demo, of each type one at least.

    `client` gives a boto3 client of a service; `bucket` and `records` are the names of the data bucket and of the table of jobs.
    """
    s3 = client("s3")

    def read_object(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    return [
        *acts(read_object, deliveries),
        *notification_acts(client, bucket),
        *demo_integrations.acts(vendors),
        *demo_media.acts(read_object),
        *scheduled_acts(client, bucket, records, site, vendors.stripe),
    ]


def chosen(all_acts: Sequence[Act], only: Sequence[str]) -> list[Act]:
    """The acts of these types, or all when none is named. Raises NotAsExpected for a type that the demo has no job of."""
    there = {act.request["type"] for act in all_acts}
    unknown = [name for name in only if name not in there]
    expect(not unknown, f"The demo has no job of type {', '.join(unknown)}; it has {', '.join(sorted(there))}.")
    return [act for act in all_acts if not only or act.request["type"] in only]


def watch(watched: list[Progress], api: Connection, console: Console) -> None:
    """Follows the jobs until all are over, and retries by hand what is meant to die first.

    In a terminal the table changes in place; elsewhere each change is a line.
    """
    started = time.monotonic()
    with Live(moving(watched), console=console, refresh_per_second=12, transient=True) as live:
        while not all(progress.finished for progress in watched):
            expect(time.monotonic() - started < SECONDS_TO_FINISH, f"not over after {SECONDS_TO_FINISH} s: {unfinished(watched)}")
            for progress in watched:
                if progress.finished:
                    continue
                before = progress.path[-1:]
                new = progress.saw(api.request("GET", f"/jobs/{progress.id}").body)
                tell(progress, before, new, started, console)
                if progress.job["status"] == "dead" and progress.act.dies_first and not progress.retried:
                    died_as_expected(progress)
                    progress.retried = True
                    new = progress.saw(api.request("POST", f"/jobs/{progress.id}/retry").body)
                    tell(progress, ["dead", "retried by hand"], new, started, console)
            live.update(moving(watched))
            time.sleep(SECONDS_BETWEEN_LOOKS)


def tell(progress: Progress, before: list[str], new: list[str], started: float, console: Console) -> None:
    """One line about a change, where no table can change in place."""
    if new and not console.is_terminal:
        path = " → ".join([*before, *new])
        console.print(f"  {time.monotonic() - started:5.1f} s  {progress.job['type']:<17} {path}", soft_wrap=True)


def died_as_expected(progress: Progress) -> None:
    """Raises NotAsExpected unless the job used up its attempts and waited between them.

    The record tells both; a short wait may fit between two looks of a busy machine.
    """
    job = progress.job
    expect(job["attempts"] == job["max_attempts"], f"{job['type']} died after {job['attempts']} of {job['max_attempts']} attempts")
    waits = sum(job["retry"]["base_delay"] * 2**attempt for attempt in range(job["attempts"] - 1)) / 1000
    waited = (datetime.fromisoformat(job["started_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()
    expect(waited >= waits, f"{job['type']} began its last attempt after {waited:.2f} s, and should have waited {waits:g} s between them")


def check(progress: Progress) -> str:
    """The result of a finished job in a few words. Raises NotAsExpected."""
    job, act = progress.job, progress.act
    expect(job["status"] == "done", f"{job['type']} ended {job['status']}: {job['error']}")
    expect(job["attempts"] == act.attempts, f"{job['type']} took {job['attempts']} attempts, not {act.attempts}")
    return act.result(job)


def moving(watched: list[Progress]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("job", "queue", "states"):
        table.add_column(column, header_style="dim")
    for progress in watched:
        table.add_row(progress.job["type"], progress.job["queue"], " → ".join(coloured(state) for state in progress.path))
    return table


def summary(watched: list[Progress], results: list[str]) -> Table:
    table = Table(title="Every job came to its end", title_justify="left", title_style="bold")
    for column in ("type", "outcome", "attempts", "seconds", "result"):
        table.add_column(column, justify="right" if column in ("attempts", "seconds") else "left", no_wrap=column != "result")
    for progress, result in zip(watched, results, strict=True):
        job = progress.job
        outcome = " → ".join(coloured(state) for state in progress.path if state in ("dead", "done"))
        table.add_row(job["type"], outcome, str(job["attempts"]), f"{seconds_taken(job):.2f}", result)
    return table


def seconds_taken(job: Json) -> float:
    """From enqueue to its end."""
    return (datetime.fromisoformat(job["completed_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()


def coloured(state: str) -> str:
    return f"[{COLOURS[state]}]{state}[/]" if state in COLOURS else state


def unfinished(watched: list[Progress]) -> str:
    return json.dumps([progress.job for progress in watched if not progress.finished])


if __name__ == "__main__":
    sys.exit(main([name for name in ",".join(sys.argv[1:]).replace(" ", "").split(",") if name]))
