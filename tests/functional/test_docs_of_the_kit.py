"""What README.md and docs/testing.md show of handlers and their tests is run as it stands there, in a project of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nfilterwarnings = ["error"]\naddopts = "-p jobline.pytest_plugin"\n',
    "queues.toml": '[queues.emails]\nworker = "notifications"\n',
    "functions/notifications/__init__.py": "",
    "functions/notifications/worker.toml": '[environment]\nLANGUAGE = "en"\n',
}


def blocks(page: str, section: str, language: str = "python") -> list[str]:
    """The blocks in a language of a page's section (of the whole page: "")."""
    text = (ROOT / page).read_text()
    if section:
        text = re.split(r"^## ", text.split(f"\n## {section}\n", 1)[1], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_every_snippet_of_readme_runs_in_a_project_with_its_new_queue(tmp_path: Path) -> None:
    greet, *tests_of_greet = blocks("README.md", "Add a job")
    (greetings,) = blocks("README.md", "Add a job", "toml")
    queues = {"queues.toml": f"{PROJECT['queues.toml']}\n{greetings}"}
    run_all(tmp_path, {**PROJECT, **queues}, greet, [*tests_of_greet, *blocks("README.md", "Test your jobs")], more_than=2)


def test_every_snippet_of_the_page_runs(tmp_path: Path) -> None:
    run_all(tmp_path, PROJECT, blocks("README.md", "Add a job")[0], blocks("docs/testing.md", ""), more_than=9)


def run_all(tmp_path: Path, project: dict[str, str], greet: str, shown: list[str], *, more_than: int) -> None:
    """Every test that is shown, as one run of pytest in that project; there are more of them than so many."""
    modules = {path.group(1): text for text in shown if (path := re.match(r"# (functions/\S+)\n", text))}
    tests = {f"tests/test_{number}.py": text for number, text in enumerate(shown) if text not in modules.values()}
    write(tmp_path, {**project, **modules, **tests, "functions/notifications/greet.py": greet})
    shutil.copytree(ROOT / "functions" / "api", tmp_path / "functions" / "api")
    done = run_pytest(tmp_path)
    count = sum(len(re.findall(r"^ *def test_", text, flags=re.MULTILINE)) for text in tests.values())
    assert count > more_than
    assert re.search(rf"\b{count} passed in ", done.stdout), done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_a_test_that_fails_lists_its_jobs_and_points_at_the_test(tmp_path: Path) -> None:
    greet = blocks("README.md", "Add a job")[0]
    text = 'def test_it(jobs):\n    jobs.enqueue("greet", {"name": "Ada"}, priority=2)\n    jobs.assert_enqueued("greet", name="Bob")\n'
    write(tmp_path, {**PROJECT, "functions/notifications/greet.py": greet, "tests/test_it.py": text})
    output = run_pytest(tmp_path).stdout
    assert "E       AssertionError: no job was enqueued that is greet with name='Bob'" in output
    assert "- jobs -" in output
    assert '\ngreet {"name":"Ada"} in emails, pending\n' in output
    assert "trial.py" not in output


@pytest.mark.parametrize("conftest", ['pytest_plugins = ["jobline.pytest_plugin"]\n', ""], ids=["named by conftest.py too", "installed"])
def test_the_installed_plugin_is_found_may_be_named_too_and_costs_nothing_unused(tmp_path: Path, conftest: str) -> None:
    """pytest refuses the same plugin under two names."""
    text = (
        "import sys\n\n\ndef test_it(request):\n"
        "    assert request.config.pluginmanager.hasplugin('jobline.pytest_plugin')\n"
        "    assert 'jobline.testing' not in sys.modules\n"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["pytest11"].items())
    installed = {
        "installed/jobline_again-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: jobline-again\nVersion: 1\n",
        "installed/jobline_again-1.dist-info/entry_points.txt": f"[pytest11]\n{points}",
    }
    write(tmp_path, {"pyproject.toml": "[tool.pytest.ini_options]\n", "conftest.py": conftest, "test_it.py": text, **installed})
    done = run_pytest(tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path / "installed"), str(ROOT)]))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def run_pytest(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # On the second Python (`make test-newest`) the package is found by its folder: it is not installed there.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
    return subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True, timeout=300)
