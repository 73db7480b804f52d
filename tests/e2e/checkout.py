"""A second checkout beside this one: `make` in it, and what its `make dev` says of itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobline.local_aws import ROOT


def copy_checkout(to: Path) -> Path:
    """Every file that git knows or would take, with this checkout's installed packages."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    for installed in (".venv", ".ministack", ".cache"):
        (to / installed).symlink_to(ROOT / installed)
    return to


AS_AT_A_TERMINAL = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
"""Runs a command that Ctrl-C ends, even if these tests were started in the background of a shell, where it ends nothing."""


def make(target: str, checkout: Path, port: int) -> subprocess.Popen[str]:
    # Without PYTHONPATH, which may name this checkout: that one runs its own files.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"JOBLINE_PORT": str(port)}
    return subprocess.Popen(
        # -o: the packages are another checkout's, and as they should be.
        [sys.executable, "-c", AS_AT_A_TERMINAL, "make", "-o", ".venv/.installed", "-o", ".ministack/.installed", target],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def press_ctrl_c(running: subprocess.Popen[str], *, within: float) -> None:
    """Ends what `make` runs as Ctrl-C does; fails when it has not ended within so many seconds, and then leaves nothing of it behind."""
    os.killpg(running.pid, signal.SIGINT)
    try:
        running.wait(within)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise


def wait_for_note(note: Path) -> dict[str, str]:
    """What `make dev` wrote down of its deployment, as soon as it has."""
    deadline = time.monotonic() + 120
    while not note.exists():
        assert time.monotonic() < deadline, "nothing was deployed"
        time.sleep(0.2)
    return dict(json.loads(note.read_text()))
