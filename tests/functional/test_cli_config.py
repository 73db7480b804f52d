"""`jobs config` and `jobs open`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Cli

AWS_URL = "https://abc123.execute-api.eu-central-1.amazonaws.com"


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings" / "config.toml"
    monkeypatch.setenv("JOBS_CONFIG_FILE", str(path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "JOBS_PROFILE", "JOBS_STACK"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_config_says_which_deployment_is_meant_and_who_said_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cli("config", "-o", "json").json
    assert (told["api_url"], told["source"]) == (cli.api.url, str(cli.folder / ".jobline" / "local.json"))
    assert cli("config", "-o", "name").out == f"{cli.api.url}\n"
    told = cli("--api-url", AWS_URL, "config", "-o", "json").json
    assert (told["api_url"], told["source"], told["region"]) == (AWS_URL, "--api-url", "eu-central-1")
    monkeypatch.setenv("JOBS_API_URL", AWS_URL)
    assert "JOBS_API_URL" in cli("config").out


def test_deployments_are_kept_by_name(cli: Cli, config_file: Path) -> None:
    (cli.folder / ".jobline" / "local.json").unlink()
    lost = cli("config")
    assert (lost.code, "Which API?" in lost.out) == (1, True)
    assert cli("config", "set", "api_url", AWS_URL, "--profile", "prod").code == 0
    assert cli("config", "set", "api_url", cli.api.url, "--profile", "mine").code == 0
    assert cli("config", "-o", "name").out == f"{AWS_URL}\n"
    assert cli("config", "use", "mine").code == 0
    assert cli("stats", "emails").code == 0
    assert cli("--profile", "prod", "config", "-o", "name").out == f"{AWS_URL}\n"
    assert cli("config", "unset", "api_url", "--profile", "mine").code == 0
    assert "prod" in cli("config").out
    assert "mine" not in config_file.read_text()


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("config set api_url nonsense", 1, "not the URL of an API"),
        ("config set colour red", 2, "aws_profile"),
        ("config set stack x --profile a/b", 1, "no name of a profile"),
        ("config use nobody", 1, "no profile 'nobody'"),
        ("config unset stack", 1, "no profile 'default'"),
        ("--profile nobody stats emails", 1, "no profile 'nobody'"),
        ("open table", 3, "no console of its own"),
        ("open moon", 2, "moon"),
    ],
)
def test_what_cannot_be_kept_or_opened_is_one_line(cli: Cli, line: str, code: int, word: str) -> None:
    done = cli(*line.split())
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert word in done.err


def test_a_broken_config_file_is_one_line_where_it_matters_and_in_nobody_s_way_elsewhere(cli: Cli, config_file: Path) -> None:
    config_file.parent.mkdir()
    config_file.write_text("profile = ")
    assert cli("stats", "emails").code == 0
    (cli.folder / ".jobline" / "local.json").unlink()
    done = cli("stats", "emails")
    assert (done.code, done.out, done.err.count("\n"), str(config_file) in done.err) == (1, "", 1, True)


def test_open_prints_the_api(cli: Cli) -> None:
    assert cli("open", "api", "--print").out == f"{cli.api.url}\n"
