"""The local AWS starts and stops cleanly, whatever happens to whoever started it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobline.local_aws import ROOT, LocalAws, LocalAwsError, configured_port, free_port

STARTS_AND_WAITS = """
import signal, sys, time
from pathlib import Path
from jobline.local_aws import LocalAws, stop_cleanly_when_told
stop_cleanly_when_told()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background has them ignore it
with LocalAws(port=int(sys.argv[1]), state=Path(sys.argv[2])) as aws:
    print('started', flush=True)
    time.sleep(60)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_answers_when_started_and_is_gone_when_stopped(tmp_path: Path) -> None:
    aws = LocalAws(port=free_port(), state=tmp_path / "aws")
    with aws:
        assert listens(aws.port)
        started = time.monotonic()
    assert time.monotonic() - started < 4
    assert not listens(aws.port)
    assert aws.pid is None
    assert aws.log.exists()


def test_a_port_in_use_is_refused_with_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    with LocalAws(port=port, state=tmp_path / "first"):
        second = LocalAws(port=port, state=tmp_path / "second")
        with pytest.raises(LocalAwsError, match=rf"^Port {port} is in use, .*JOBLINE_PORT={port + 1} "):
            second.start()


def test_what_ends_while_it_starts_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(LocalAwsError, match="unknown fixes: no_such_fix"):
        LocalAws(port=free_port(), state=tmp_path / "aws", fixes="no_such_fix").start()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: signal.Signals(number).name)
def test_it_ends_with_whoever_started_it(tmp_path: Path, how: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-c", STARTS_AND_WAITS, str(port), str(tmp_path / "aws")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        assert listens(port)
        starter.send_signal(how)
        starter.wait(10)
    deadline = time.monotonic() + 5
    while listens(port):
        assert time.monotonic() < deadline, "ministack is still there"
        time.sleep(0.05)


def test_nothing_of_this_shells_aws_settings_reaches_the_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.amazonaws.com")
    environment = LocalAws(port=4566, state=tmp_path).environment()
    assert "AWS_PROFILE" not in environment
    assert "AWS_ENDPOINT_URL_S3" not in environment
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("JOBLINE_PORT", port)
    with pytest.raises(LocalAwsError, match="JOBLINE_PORT"):
        configured_port()
