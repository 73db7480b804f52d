"""The local AWS of one checkout: a ministack process of its own, started and stopped here, reachable on 127.0.0.1 only.

It asks for signatures and permissions as AWS does (`AUTH=true`): a function that lacks a grant fails here too, and an unsigned
request is refused. Its state is in memory and gone when it stops.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
LAUNCHER: Final = ROOT / "jobline" / "local_fixes.py"
DEFAULT_PORT: Final = 4566
REGION: Final = "eu-west-1"
ACCOUNT: Final = "000000000000"
"""To ministack, an access key that is an account's number is that account's root."""
SECRET: Final = "local"  # noqa: S105  opens nothing but the local AWS, which runs on this machine alone
SECONDS_TO_START: Final = 30
SECONDS_TO_STOP: Final = 3


class LocalAwsError(RuntimeError):
    """The local AWS could not do what was asked; the text is a sentence for people."""


def configured_port() -> int:
    """`JOBLINE_PORT`, else 4566: two copies of Jobline run side by side with one port each."""
    port = os.environ.get("JOBLINE_PORT", str(DEFAULT_PORT))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise LocalAwsError(f"JOBLINE_PORT must be a port number from 1 to 65535, not {port!r}.")
    return int(port)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop_cleanly_when_told() -> None:
    """Lets SIGTERM and a closed terminal end this process as Ctrl-C does: by an exception, so that what it started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))


class LocalAws:
    """One ministack process; a context manager that starts it and stops it, whatever happens in between.

    `port` is where it listens; `state` is the folder (made anew) for its log and temporary files; `fixes` are names for
    `JOBLINE_LOCAL_FIXES` (see `local_fixes`); `program` starts ministack, with `settings` in its environment. Raises `LocalAwsError`
    when it cannot start.
    """

    def __init__(
        self, *, port: int, state: Path, fixes: str = "all", program: Path = LAUNCHER, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.port = port
        self.state = state
        self.fixes = fixes
        self.program = program
        self.settings = settings
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.log = state / "ministack.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def environment(self) -> dict[str, str]:
        """The environment in which AWS's own tools talk to this AWS and to no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Starts ministack and returns when it answers."""
        python = ROOT / ".ministack" / "bin" / "python"
        if not python.exists():
            raise LocalAwsError("The local AWS is not installed: `make demo`, `make dev` and `make test` install it.")
        self._refuse_port_in_use()
        shutil.rmtree(self.state, ignore_errors=True)
        temporary = self.state / "tmp"
        temporary.mkdir(parents=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own arguments
                # -I: the script's own folder must not be on the path, where jobline/queue.py would stand in for queue.
                [python, "-I", self.program],
                env=self._server_environment(temporary),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.state,
                # A group of its own: Ctrl-C reaches us alone, and stopping takes its functions with it.
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops ministack and the functions it runs: SIGTERM, and SIGKILL when it has not ended 3 seconds later."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):  # raised when every function has ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()
        shutil.rmtree(self.state / "tmp", ignore_errors=True)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of ministack's log, for a message about a failure."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _server_environment(self, temporary: Path) -> dict[str, str]:
        # Functions inherit all of it, so nothing of this shell's AWS settings may be among it.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
        return kept | {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "JOBLINE_LOCAL_FIXES": self.fixes,
            "JOBLINE_STOP_WITH_STDIN": "1",
            "MINISTACK_REGION": REGION,
            "SFTP_ENABLED": "0",
            "TMPDIR": str(temporary),
            **self.settings,
        }

    def _refuse_port_in_use(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise LocalAwsError(
                    f"Port {self.port} is in use, perhaps by another local AWS; "
                    f"JOBLINE_PORT={self.port + 1} in front of the command takes another."
                ) from error

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise LocalAwsError(f"The local AWS ended while it started. Its log, {self.log}, ends with:\n{self.log_tail()}")
            if self._answers():
                return
            time.sleep(0.05)
        raise LocalAwsError(f"The local AWS did not answer within {SECONDS_TO_START} s. Its log, {self.log}, ends with:\n{self.log_tail()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
