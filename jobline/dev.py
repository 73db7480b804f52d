"""`make dev`: the real stack in a local AWS, left running and deployed again whenever a file of it changes; Ctrl-C stops it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from jobline.local_aws import ROOT, LocalAws, LocalAwsError, configured_port, stop_cleanly_when_told
from jobline.local_stack import Deployment, LocalStack

WATCHED: Final = ("app.py", "cdk.json", "functions", "infra", "jobline", "queues.toml")
SECONDS_BETWEEN_LOOKS: Final = 0.5

Files = dict[Path, int]
"""Every watched file and when it was last written, in nanoseconds."""


def main() -> int:
    """Runs until Ctrl-C; the exit code."""
    console = Console()
    stop_cleanly_when_told()
    try:
        with LocalAws(port=configured_port(), state=ROOT / ".jobline" / "dev") as aws:
            stack = LocalStack(aws, note=ROOT / ".jobline" / "local.json")
            try:
                run(stack, console)
            finally:
                stack.note.unlink(missing_ok=True)
    except LocalAwsError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
    return 0


def run(stack: LocalStack, console: Console) -> None:
    """Deploys, then again at each change, for ever; a deployment that fails is reported and the next change waited for."""
    with console.status("Preparing the local AWS"):
        stack.bootstrap()
    files = watched_files()
    deployed = deploy(stack, console)
    if deployed:
        introduce(deployed, stack, console)
    while True:
        files = next_change(files)
        again = deploy(stack, console)
        if again and not deployed:
            introduce(again, stack, console)
        deployed = again or deployed


def deploy(stack: LocalStack, console: Console) -> Deployment | None:
    started = time.monotonic()
    try:
        with console.status("Deploying"):
            deployment = stack.deploy()
    except LocalAwsError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return None
    console.print(f"{time.strftime('%H:%M:%S')}  deployed in {time.monotonic() - started:.0f} s")
    return deployment


def introduce(deployment: Deployment, stack: LocalStack, console: Console) -> None:
    """Says where everything is and what to type next."""
    console.print(
        f"""
  API           {deployment.api_url}
  AWS endpoint  {deployment.aws_endpoint_url}
  Logs          {stack.aws.log}

  In another terminal:
    .venv/bin/jobs enqueue emails send_email --payload '{{"to": "ada@example.com"}}'
    .venv/bin/jobs list emails

  A saved change is deployed by itself. Ctrl-C stops everything.
""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def next_change(files: Files) -> Files:
    """Waits until a watched file differs from `files` and writing has come to rest; what they are then."""
    while (now := watched_files()) == files:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    while True:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        later = watched_files()
        if later == now:
            return now
        now = later


def watched_files() -> Files:
    files: Files = {}
    for name in WATCHED:
        for path in _files(ROOT / name):
            with contextlib.suppress(FileNotFoundError):  # removed since the folder was read
                files[path] = path.stat().st_mtime_ns
    return files


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        for found in place.iterdir():
            if found.name != "__pycache__":
                yield from _files(found)


if __name__ == "__main__":
    sys.exit(main())
