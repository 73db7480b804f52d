"""The assets: what is in them, what is not, and that equal input gives equal names."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import byte_code
from infra.archive import write_tree
from infra.bundling import HOST_ONLY, Bundles
from infra.byte_code import Compiler, compiler_for
from infra.errors import BundlingError
from infra.settings import settings_for
from infra.wheels import Target
from jobline.definitions import Definitions, Queue, Worker
from tests.infra.deployment import OWN_FUNCTIONS, ROOT, definitions

HERE = Target(python=f"{sys.version_info.major}.{sys.version_info.minor}", platform=None)
LARGEST = 240 * 2**20
"""Bytes; Lambda takes 250 MB unzipped (Lambda quotas)."""
HANDLER = "def handler(event, context):\n    return event\n"
WORKER = Worker(name="post", timeout=60)
SMALL = Definitions(stage="dev", queues={"letters": Queue(name="letters", worker="post", timeout=20)}, workers={"post": WORKER})


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two functions that need no library, and the real `jobline`."""
    root = tmp_path / "checkout"
    write(
        root,
        {
            "functions/relay/__init__.py": "",
            "functions/relay/handler.py": HANDLER,
            "functions/relay/requirements.txt": "# none\n",
            "functions/api/__init__.py": "",
            "functions/api/handler.py": HANDLER,
            "functions/api/requirements.txt": "",
            "functions/post/__init__.py": "",
            "functions/post/handler.py": HANDLER,
            "functions/post/requirements.txt": "",
            "functions/post/worker.toml": "",
            "functions/post/stamp.png": "not really",
            "functions/post/letters.py": (
                "from jobline import Context, job\n\n\n@job('send_letter', timeout=20)\n"
                "def send_letter(payload: dict, ctx: Context) -> None:\n    '''Send one letter.'''\n"
            ),
        },
    )
    shutil.copytree(ROOT / "jobline", root / "jobline", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def bundles(root: Path, found: Definitions = SMALL) -> Bundles:
    return Bundles(root, found, HERE)


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as zipped:
        return set(zipped.namelist())


def read(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as zipped:
        return zipped.read(name)


# ---- what is inside


def test_an_asset_has_its_own_folder_and_what_of_jobline_runs_on_lambda(checkout: Path) -> None:
    inside = names(bundles(checkout).archive("post"))
    assert {"functions/post/handler.py", "functions/post/stamp.png", "jobline/job.py", "jobline/py.typed"} < inside
    assert not [name for name in inside if name.startswith(("functions/relay", "functions/api"))]
    assert {"cli", "demo", "dev", "local_stack", "memory", "pytest_plugin", "testing", "toml_file"} < HOST_ONLY
    for host_only in HOST_ONLY:
        assert not [name for name in inside if name.startswith((f"jobline/{host_only}.py", f"jobline/{host_only}/"))]
    assert not {"functions/post/requirements.txt", "functions/post/worker.toml"} & inside


def test_every_asset_carries_the_definitions_that_it_was_deployed_with(checkout: Path) -> None:
    for function in ("api", "relay", "post"):
        assert Definitions.from_json(read(bundles(checkout).archive(function), "definitions.json")) == SMALL


def test_the_api_alone_carries_the_types_of_every_worker(checkout: Path) -> None:
    made = bundles(checkout)
    types = json.loads(read(made.archive("api"), "types.json"))
    assert types["version"] == 1
    assert types["workers"]["post"]["send_letter"].items() >= {"summary": "Send one letter.", "timeout": 20}.items()
    assert "types.json" not in names(made.archive("relay"))


def test_every_module_has_byte_code_that_no_clock_can_make_stale(checkout: Path) -> None:
    archive = bundles(checkout).archive("post")
    modules = {name for name in names(archive) if name.endswith(".py")}
    assert modules
    for module in modules:
        compiled = read(archive, importlib.util.cache_from_source(module))
        assert compiled[:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(compiled[4:8], "little") == 0b01  # checked by hash, and not at all (PEP 552)


def test_tracebacks_name_files_where_lambda_has_them(checkout: Path) -> None:
    compiled = read(bundles(checkout).archive("post"), importlib.util.cache_from_source("functions/post/letters.py"))
    assert b"/var/task/functions/post/letters.py" in compiled
    assert str(checkout).encode() not in compiled


def test_a_program_among_the_libraries_can_be_run_and_nothing_else_can(tmp_path: Path) -> None:
    write(tmp_path, {"libraries/bin/program": "#!/bin/sh\n", "libraries/data": "any"})
    (tmp_path / "libraries/bin/program").chmod(0o700)
    write_tree(tmp_path / "zip", tmp_path / "libraries")
    with zipfile.ZipFile(tmp_path / "zip") as zipped:
        assert {entry.filename: oct(entry.external_attr >> 16) for entry in zipped.infolist()} == {"bin/program": "0o755", "data": "0o644"}


# ---- equal input, equal name


def test_the_same_files_give_the_same_asset_wherever_and_whenever_they_were_written(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(checkout, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (1, 1))
    for function in ("api", "post"):
        one, other = bundles(checkout).archive(function), bundles(elsewhere).archive(function)
        assert one.name == other.name
        assert {name: read(one, name) for name in names(one) if not name.endswith(".pyc")} == {
            name: read(other, name) for name in names(other) if not name.endswith(".pyc")
        }


def edit_handler(root: Path) -> Bundles:
    write(root, {"functions/post/handler.py": HANDLER + "\n# changed\n"})
    return bundles(root)


def edit_jobline(root: Path) -> Bundles:
    write(root, {"jobline/new.py": "NEW = 1\n"})
    return bundles(root)


def edit_definitions(root: Path) -> Bundles:
    return bundles(root, Definitions(stage="prod", queues=SMALL.queues, workers=SMALL.workers))


@pytest.mark.parametrize("edit", [edit_handler, edit_jobline, edit_definitions])
def test_whatever_reaches_lambda_changes_the_assets_name(checkout: Path, edit: Callable[[Path], Bundles]) -> None:
    assert bundles(checkout).archive("post").name != edit(checkout).archive("post").name


@pytest.mark.parametrize("name", ["functions/relay/handler.py", "jobline/demo.py", "functions/post/worker.toml", "README.md"])
def test_whatever_does_not_reach_lambda_leaves_the_assets_name(checkout: Path, name: str) -> None:
    before = bundles(checkout).archive("post").name
    write(checkout, {name: "# changed\n"})
    assert bundles(checkout).archive("post").name == before


def test_of_one_function_only_the_last_few_assets_are_kept(checkout: Path) -> None:
    for number in range(8):
        write(checkout, {"functions/relay/handler.py": f"NUMBER = {number}\n"})
        newest = bundles(checkout).archive("relay")
    kept = list((checkout / ".cache" / "assets").glob("relay-*.zip"))
    assert newest in kept
    assert len(kept) == 4


# ---- mistakes


def test_code_that_does_not_compile_is_refused_with_its_place(checkout: Path) -> None:
    write(checkout, {"functions/post/letters.py": "def send(:\n"})
    with pytest.raises(BundlingError, match=r"functions/post/letters\.py"):
        bundles(checkout).archive("post")


def test_a_function_without_requirements_is_refused_by_name(checkout: Path) -> None:
    (checkout / "functions/post/requirements.txt").unlink()
    with pytest.raises(BundlingError, match=r"functions/post/requirements\.txt is missing"):
        bundles(checkout).archive("post")


def test_a_function_without_a_handler_is_refused_by_name(checkout: Path) -> None:
    (checkout / "functions/post/handler.py").unlink()
    with pytest.raises(BundlingError, match=r"functions/post/handler\.py is missing"):
        bundles(checkout).archive("post")


def test_a_library_that_cannot_be_had_is_refused_with_uvs_own_words(checkout: Path) -> None:
    write(checkout, {"functions/post/requirements.txt": "./no-such-folder\n"})
    with pytest.raises(BundlingError, match=r"functions/post/requirements\.txt cannot be installed .*\n.*no-such-folder"):
        bundles(checkout).archive("post")


def test_a_worker_that_cannot_be_imported_is_refused_with_the_line(checkout: Path) -> None:
    write(checkout, {"functions/post/letters.py": "import no_such_library\n"})
    with pytest.raises(BundlingError, match=r"functions/post/letters\.py, line 1 \(import no_such_library\)"):
        bundles(checkout).archive("api")


def test_a_type_that_outlasts_its_function_is_refused(checkout: Path) -> None:
    short = Definitions(stage="dev", queues={}, workers={"post": Worker(name="post", timeout=40)})
    with pytest.raises(BundlingError, match=r"send_letter may take 20 s, but .*40 s; at most 10 s fit"):
        bundles(checkout, short).archive("api")


# ---- byte code for another Python


def test_a_shim_that_runs_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert compiler_for("3.99") is None


def test_without_a_python_of_the_targets_version_assets_are_made_without_byte_code(checkout: Path) -> None:
    made = Bundles(checkout, SMALL, Target(python="3.99", platform=None))
    assert made.compiler is None
    assert not [name for name in names(made.archive("post")) if name.endswith(".pyc")]


def test_byte_code_of_a_library_that_is_partly_no_python_is_made_as_far_as_possible(tmp_path: Path) -> None:
    write(tmp_path, {"library/good.py": "GOOD = 1\n", "library/template.py": "class {{ name }}:\n"})
    compiler = Compiler(Path(sys.executable), sys.implementation.cache_tag)
    byte_code.compile_tree(compiler, tmp_path, whole=False)
    assert [path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")] == ["good"]


# ---- the real functions


@pytest.mark.parametrize("function", [*OWN_FUNCTIONS, "notifications", "media", "documents", "integrations", "diagnostics"])
def test_every_function_starts_with_what_is_in_its_asset_and_nothing_else(function: str, tmp_path: Path) -> None:
    archive = Bundles(ROOT, definitions("local"), settings_for("local").target).archive(function)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path)
    # -S: no site-packages, so a library missing from requirements.txt shows; -I: nothing of this environment either.
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import functions.{function}.handler as entry; assert callable(entry.handler)"
    )
    environment = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "JOBLINE_BUCKET": "bodies",
        "JOBLINE_LANES": "{}",
        "JOBLINE_QUEUE_URL_BASE": "https://sqs.eu-west-1.amazonaws.com/123456789012/",
        "JOBLINE_SET_ASIDE_QUEUE": "set-aside",
        "JOBLINE_STACK": "Jobline-local",
        "JOBLINE_STAGE": "local",
        "JOBLINE_TABLE": "jobs",
        "JOBLINE_WORKER": function,
        "LAMBDA_TASK_ROOT": str(tmp_path),
        "POWERTOOLS_SERVICE_NAME": function,
    }
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_asset_for_aws_fits_lambda_and_holds_libraries_for_arm_alone() -> None:
    made = Bundles(ROOT, definitions("dev"), settings_for("dev").target)
    for function in (*OWN_FUNCTIONS, *definitions("dev").workers):
        with zipfile.ZipFile(made.archive(function)) as zipped:
            assert sum(entry.file_size for entry in zipped.infolist()) < LARGEST, function
            natives = [name for name in zipped.namelist() if name.endswith(".so")]
            # e_machine of the ELF header: 183 is AArch64.
            assert all(int.from_bytes(zipped.read(name)[18:20], "little") == 183 for name in natives), function
            assert natives, function
