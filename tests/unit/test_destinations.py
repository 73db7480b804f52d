"""What `queues.toml` may say of where ends of jobs are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobline.definition_files import load
from jobline.definitions import OPERATIONS, ReplyQueue
from jobline.errors import InvalidDefinitions
from jobline.telling import LOOPBACK_PORTS, SIGNING_SECRET

SECRET = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:signing-AbCdEf"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "functions" / "notifications").mkdir(parents=True)
    (tmp_path / "functions" / "notifications" / "worker.toml").touch()
    return tmp_path


def write(root: Path, text: str) -> None:
    (root / "queues.toml").write_text('[queues.emails]\nworker = "notifications"\n' + text)


def test_the_operations_worker_alone_is_given_secret_and_ports(checkout: Path) -> None:
    write(checkout, f'[callbacks]\nsecret = "{SECRET}"\nloopback_ports = [8181, 8182]')
    definitions = load(checkout, "local")
    operations = definitions.workers[OPERATIONS]
    assert (operations.secrets, operations.environment) == ({SIGNING_SECRET: SECRET}, {LOOPBACK_PORTS: "8181 8182"})
    assert definitions.workers["notifications"].secrets == {}


def test_reply_queues_are_made_or_named_each_in_its_stages(checkout: Path) -> None:
    arn = "arn:aws:sqs:eu-west-1:111122223333:theirs"
    write(checkout, f'[replies.answers]\nstages = ["dev"]\n[replies.theirs]\nqueue = "{arn}"')
    assert load(checkout, "dev").replies == {"answers": ReplyQueue(name="answers"), "theirs": ReplyQueue(name="theirs", queue=arn)}
    assert load(checkout, "prod").replies.keys() == {"theirs"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[callbacks]\nsecrt = 'x'", "callbacks.secrt"),
        ("[callbacks]\nsecret = 'whsec_abc'", "callbacks.secret"),
        ("[callbacks]\nloopback_ports = [9001]", "callbacks.loopback_ports"),
        ("[callbacks]\nloopback_ports = ['x']", "callbacks.loopback_ports"),
        ("[replies.Answers]", "replies.Answers"),
        ("[replies.answers]\nurl = 'x'", "replies.answers.url"),
        ("[replies.answers]\nqueue = 'https://sqs.eu-west-1.amazonaws.com/1/x'", "replies.answers.queue"),
        ("[replies.answers]\nstages = 'dev'", "replies.answers.stages"),
    ],
)
def test_a_mistake_is_told_with_its_place(checkout: Path, text: str, place: str) -> None:
    write(checkout, text)
    with pytest.raises(InvalidDefinitions) as told:
        load(checkout, "dev")
    assert f"queues.toml: {place}" in told.value.detail
