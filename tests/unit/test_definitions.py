from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobline.definition_files import load
from jobline.definitions import FUNCTION_HEADROOM, MONTH, WEEK, Definitions, Queue, lane_shares
from jobline.errors import InvalidDefinitions
from jobline.retry import DEFAULT_RETRY

EMAILS = '[queues.emails]\nworker = "notifications"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write(tmp_path, EMAILS)
    write(tmp_path, "", "functions/notifications/worker.toml")
    return tmp_path


def write(root: Path, text: str, name: str = "queues.toml") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refusal(root: Path, stage: str = "dev") -> str:
    with pytest.raises(InvalidDefinitions) as caught:
        load(root, stage)
    return caught.value.detail


def test_a_queue_that_names_only_its_worker_gets_every_default(checkout: Path) -> None:
    definitions = Definitions.load(checkout, "dev")
    queue, worker = definitions.queues["emails"], definitions.workers["notifications"]
    assert (queue.concurrency, queue.batch_size, queue.timeout, queue.max_attempts) == (10, 1, 60, 3)
    assert queue.lane_names == ("high", "normal", "low")
    assert queue.retry == DEFAULT_RETRY
    assert (queue.retention_done_seconds, queue.retention_seconds) == (WEEK, MONTH)
    assert (worker.memory, worker.timeout, worker.permissions) == (512, 300, ())


def test_a_queue_says_of_retries_only_what_differs(checkout: Path) -> None:
    write(checkout, EMAILS + 'max_attempts = 7\nretry = { backoff = "fixed", base_delay = 5000 }')
    queue = load(checkout, "dev").queues["emails"]
    assert queue.max_attempts == queue.retry.max_attempts == 7
    assert (queue.retry.backoff, queue.retry.base_delay, queue.retry.jitter) == ("fixed", 5000, DEFAULT_RETRY.jitter)


def test_attempts_may_be_given_inside_the_retry_policy(checkout: Path) -> None:
    write(checkout, EMAILS + "retry = { max_attempts = 5 }")
    assert load(checkout, "dev").queues["emails"].max_attempts == 5


def test_durations_are_seconds_or_strings(checkout: Path) -> None:
    write(checkout, '[retention]\ndone = "2d"\n' + EMAILS + 'timeout = "2m"\nretention = { others = 3600 }')
    queue = load(checkout, "dev").queues["emails"]
    assert (queue.timeout, queue.retention_done_seconds, queue.retention_seconds) == (120, 2 * 86400, 3600)


def test_a_worker_file_says_what_its_handlers_may_do_and_know(checkout: Path) -> None:
    write(
        checkout,
        """
        memory = 1024
        timeout = "5m"
        environment = { SENDER = "jobs@example.com" }
        secrets = { crm = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:crm-AbCdEf" }
        [[permissions]]
        actions = ["ses:SendEmail"]
        resources = ["arn:aws:ses:*:*:identity/*", "{bucket}/*"]
        """,
        "functions/notifications/worker.toml",
    )
    worker = load(checkout, "dev").workers["notifications"]
    assert (worker.memory, worker.timeout, worker.longest_job) == (1024, 300, 300 - FUNCTION_HEADROOM)
    assert worker.environment == {"SENDER": "jobs@example.com"}
    assert worker.permissions[0].actions == ("ses:SendEmail",)


def test_a_stage_overrides_single_values_and_leaves_the_rest(checkout: Path) -> None:
    write(
        checkout,
        EMAILS + "concurrency = 20\nretry = { base_delay = 5000 }\n[stages.prod.queues.emails]\nretry = { jitter = 0.5 }\nlanes = 1",
    )
    write(checkout, "memory = 256\n[stages.prod]\nmemory = 2048", "functions/notifications/worker.toml")
    dev, prod = load(checkout, "dev"), load(checkout, "prod")
    assert (dev.queues["emails"].lanes, prod.queues["emails"].lanes) == (3, 1)
    assert (prod.queues["emails"].retry.base_delay, prod.queues["emails"].retry.jitter) == (5000, 0.5)
    assert prod.queues["emails"].concurrency == 20
    assert (dev.workers["notifications"].memory, prod.workers["notifications"].memory) == (256, 2048)


def test_a_stage_may_have_a_kms_key_of_its_own_and_others_none(checkout: Path) -> None:
    key = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    write(checkout, f'{EMAILS}[encryption]\nkms_key = "create"\n[stages.prod.encryption]\nkms_key = "{key}"')
    assert (load(checkout, "dev").encryption.kms_key, load(checkout, "prod").encryption.kms_key) == ("create", key)
    write(checkout, EMAILS)
    assert load(checkout, "dev").encryption.kms_key is None


def test_a_queue_exists_only_in_the_stages_it_names_and_so_does_its_worker(checkout: Path) -> None:
    write(checkout, EMAILS + '[queues.probe]\nworker = "diagnostics"\nstages = ["local", "dev"]')
    write(checkout, "", "functions/diagnostics/worker.toml")
    assert load(checkout, "dev").queues.keys() == {"emails", "probe", "operations"}
    prod = load(checkout, "prod")
    assert (set(prod.queues), set(prod.workers)) == ({"emails", "operations"}, {"notifications", "operations"})


def test_every_deployment_has_the_queue_of_operators_jobs(checkout: Path) -> None:
    write(checkout, '[retention]\nothers = "3d"\n' + EMAILS)
    definitions = load(checkout, "dev")
    queue, worker = definitions.queues["operations"], definitions.workers["operations"]
    assert (queue.internal, definitions.queues["emails"].internal) == (True, False)
    assert (queue.lane_names, queue.retention_seconds) == (("normal",), 3 * 86400)
    assert queue.timeout == worker.longest_job == 870


def test_an_ordered_queue_has_one_lane(checkout: Path) -> None:
    write(checkout, EMAILS + "ordered = true\nbatch_size = 10\nconcurrency = 30\nlanes = 1")
    queue = load(checkout, "dev").queues["emails"]
    assert (queue.ordered, queue.direct, queue.lane_names, queue.lane_concurrency) == (True, True, ("normal",), {"normal": 30})


def test_a_low_latency_queue_keeps_its_lanes(checkout: Path) -> None:
    write(checkout, EMAILS + "low_latency = true")
    queue = load(checkout, "dev").queues["emails"]
    assert (queue.ordered, queue.direct, queue.lane_names) == (False, True, ("high", "normal", "low"))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("threads = 2", "queues.emails.threads: an ordered queue runs the jobs of a batch one after the other; leave threads out"),
        ("lanes = 3", "queues.emails.lanes: an ordered queue has one lane"),
        ("low_latency = true", "queues.emails.low_latency: the jobs of an ordered queue are sent at once anyway"),
    ],
)
def test_what_an_ordered_queue_cannot_have_is_refused(checkout: Path, setting: str, sentence: str) -> None:
    write(checkout, f"{EMAILS}ordered = true\n{setting}")
    assert sentence in refusal(checkout)
    write(checkout, f"{EMAILS}ordered = true\n[stages.prod.queues.emails]\n{setting}")
    assert sentence.split(": ", 1)[1] in refusal(checkout)


def test_what_is_baked_into_an_asset_reads_back_equal_and_does_not_depend_on_the_order_in_the_file(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = '[queues.images]\nworker = "notifications"\n'
    write(checkout, EMAILS + images)
    one = load(checkout, "dev")
    write(checkout, images + EMAILS)
    assert load(checkout, "dev").to_json() == one.to_json()
    (checkout / "definitions.json").write_bytes(one.to_json())
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(checkout))
    assert Definitions.baked() == one


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[queues.emails]\nworker = 'notifications'\nconcurency = 3",
            "queues.emails.concurency: there is no such key; did you mean 'concurrency'?",
        ),
        ("[queue.emails]\nworker = 'notifications'", "queue: there is no such key; did you mean 'queues'?"),
        (
            "[queues.emails]\nworker = 'notification'",
            "queues.emails.worker: there is no functions/notification/worker.toml; did you mean 'notifications'?",
        ),
        ("[queues.emails]\nconcurrency = 3", "queues.emails.worker: this is missing"),
        ("[queues.emails]\nworker = 'relay'", "queues.emails.worker: 'relay' is no name of a worker"),
        ("[queues.emails]\nworker = '../../etc'", "queues.emails.worker: '../../etc' is no name of a worker"),
        ("[queues.emails]\nworker = 3", "queues.emails.worker: Expected `str`, got `int`"),
        ("[queues.E-mails]\nworker = 'notifications'", "queues.E-mails: a queue's name is"),
        ("[queues.operations]\nworker = 'notifications'", "queues.operations: every deployment has this queue already"),
        (EMAILS + "concurrency = 1", "queues.emails.concurrency: Expected `int` >= 2"),
        (EMAILS + "concurrency = 'ten'", "queues.emails.concurrency: Expected `int`, got `str`"),
        (EMAILS + "batch_size = 11", "queues.emails.batch_size: Expected `int` <= 10"),
        (EMAILS + "lanes = 2", "queues.emails.lanes: Invalid enum value 2"),
        (EMAILS + "retry = { jitter = 2 }", "queues.emails.retry.jitter: Expected `float` <= 1"),
        (EMAILS + "retry = { basedelay = 2 }", "queues.emails.retry.basedelay: there is no such key; did you mean 'base_delay'?"),
        (EMAILS + "retry = 'fast'", "queues.emails.retry: this must be a table"),
        (
            EMAILS + "max_attempts = 3\nretry = { max_attempts = 4 }",
            "queues.emails.max_attempts: this does not agree with retry.max_attempts",
        ),
        (EMAILS + "timeout = 'soon'", "queues.emails.timeout: "),
        (EMAILS + "timeout = true", "queues.emails.timeout: a duration is a number of seconds"),
        (EMAILS + "timeout = 1.5", "queues.emails.timeout: whole seconds only"),
        (
            EMAILS + "timeout = 280",
            "queues.emails.timeout: a job may take 280 s, but functions/notifications/worker.toml stops after 300 s",
        ),
        (EMAILS + "retention = { done = 959 }", "queues.emails.retention.done: Expected `int` >= 960"),
        ("[retention]\ndone = 1\n" + EMAILS, "retention.done: Expected `int` >= 960"),
        (
            EMAILS + "[stages.prod.queues.emails]\nlane = 1",
            "queues.emails.lane (with [stages.prod]): there is no such key; did you mean 'lanes'?",
        ),
        (EMAILS + "[encryption]\nkms_keys = 'create'", "encryption.kms_keys: there is no such key; did you mean 'kms_key'?"),
        (EMAILS + "[encryption]\nkms_key = true", "encryption.kms_key: Expected `str | null`, got `bool`"),
        (EMAILS + "[encryption]\nkms_key = 'alias/jobs'", 'encryption.kms_key: this is "create" or the ARN of a KMS key'),
        (
            EMAILS + "[encryption]\nkms_key = 'arn:aws:kms:eu-west-1:111122223333:alias/jobs'",
            'encryption.kms_key: this is "create" or the ARN of a KMS key',
        ),
        ("", "queues: there is no queue; define one with [queues.NAME]"),
        ("[queues", "this is not TOML: "),
    ],
)
def test_a_wrong_queues_file_is_refused_in_one_sentence_that_names_file_and_key(checkout: Path, text: str, sentence: str) -> None:
    write(checkout, text)
    said = refusal(checkout)
    assert said.startswith(f"queues.toml: {sentence}")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("memroy = 256", "memroy: there is no such key; did you mean 'memory'?"),
        ("memory = 64", "memory: Expected `int` >= 128"),
        ("timeout = '20m'", "timeout: Expected `int` <= 900"),
        ("environment = { A = 'x' }", "environment.A: a name has two letters"),
        ("environment = { JOBLINE_TABLE = 'x' }", "environment.JOBLINE_TABLE: a name has two letters"),
        ("environment = { SENDER = 1 }", "environment.SENDER: Expected `str`, got `int`"),
        ("secrets = { crm = 'hunter2' }", "secrets.crm: Expected `str` matching regex"),
        ("permissions = 'all'", "permissions: this must be an array"),
        (
            "[[permissions]]\nactions = ['s3:GetObject']\nresource = ['*']",
            "permissions[0].resource: there is no such key; did you mean 'resources'?",
        ),
        ("[[permissions]]\nactions = ['GetObject']\nresources = ['*']", "permissions[0].actions[0]: Expected `str` matching regex"),
        ("[[permissions]]\nactions = []\nresources = ['*']", "permissions[0].actions: Expected `array` of length >= 1"),
    ],
)
def test_a_wrong_worker_file_is_refused_in_one_sentence_that_names_file_and_key(checkout: Path, text: str, sentence: str) -> None:
    write(checkout, text, "functions/notifications/worker.toml")
    assert refusal(checkout).startswith(f"functions/notifications/worker.toml: {sentence}")


def test_a_mistake_in_another_stages_override_is_found_before_that_stage_is_deployed(checkout: Path) -> None:
    write(checkout, EMAILS + "[stages.prod.queues.emails]\nconcurrency = 0")
    assert refusal(checkout, "dev") == "queues.toml: queues.emails.concurrency (with [stages.prod]): Expected `int` >= 2"


def test_a_missing_queues_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"queues.toml: there is no such file in {tmp_path}"


def test_a_stage_is_a_plain_name(checkout: Path) -> None:
    assert refusal(checkout, "Dev/1").startswith("'Dev/1' is no name of a stage")


@pytest.mark.parametrize(("concurrency", "lanes"), [(2, 1), (5, 1), (6, 3), (10, 3)])
def test_a_queue_too_small_to_share_has_one_lane(concurrency: int, lanes: int) -> None:
    assert len(Queue(name="emails", worker="notifications", concurrency=concurrency).lane_names) == lanes


def test_one_lane_has_the_whole_concurrency() -> None:
    assert Queue(name="emails", worker="notifications", lanes=1, concurrency=40).lane_concurrency == {"normal": 40}


@given(st.integers(6, 1000))
def test_lanes_share_the_whole_concurrency_and_none_gets_less_than_two(concurrency: int) -> None:
    shares = lane_shares(concurrency)
    assert sum(shares.values()) == concurrency
    assert min(shares.values()) >= 2


def test_lanes_share_by_weight() -> None:
    assert lane_shares(10) == {"high": 3, "normal": 5, "low": 2}
    assert lane_shares(100) == {"high": 30, "normal": 50, "low": 20}


def test_too_little_concurrency_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        lane_shares(5)


# ---- access


JWT = '[access]\njwt = { issuer = "https://login.example.com/realms/a", audience = ["jobline"] }\n'


def test_tokens_are_taken_where_the_file_says_whose_and_nowhere_else(checkout: Path) -> None:
    assert load(checkout, "dev").access.jwt is None
    write(checkout, EMAILS + JWT + '[stages.prod.access.jwt]\naudience = ["jobs"]\n[stages.prod.access]\nopen_health = true')
    jwt, prod = load(checkout, "dev").access.jwt, load(checkout, "prod").access
    assert jwt is not None and prod.jwt is not None
    assert (jwt.issuer, jwt.audience) == ("https://login.example.com/realms/a", ("jobline",))
    assert (prod.jwt.issuer, prod.jwt.audience) == ("https://login.example.com/realms/a", ("jobs",))
    assert (load(checkout, "dev").access.open_health, prod.open_health) == (False, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("jwt = 7", "access.jwt: this must be a table"),
        ('jwt = { issuer = "https://a.example", audiense = ["a"] }', "access.jwt.audiense: there is no such key; did you mean 'audience'?"),
        ('jwt = { issuer = "https://a.example" }', "access.jwt.audience: this is missing: whom they are issued for, a list"),
        ('jwt = { audience = ["a"] }', "access.jwt.issuer: this is missing: the URL of who issues the tokens"),
        ('jwt = { issuer = "https://a.example", audience = [] }', "access.jwt.audience: Expected `array` of length >= 1"),
        ('jwt = { issuer = "https://a.example", audience = "a" }', "access.jwt.audience: Expected `array`, got `str`"),
        *(
            (f'jwt = {{ issuer = "{issuer}", audience = ["a"] }}', "access.jwt.issuer: this is no https URL without a query")
            for issuer in ("http://a.example", "a.example", "https://a.example/?b", "https://a b", "http://localhost:8080", "")
        ),
        ('open_health = "yes"', "access.open_health: Expected `bool`, got `str`"),
        ('auth = "jwt"', "access.auth: there is no such key"),
    ],
)
def test_a_mistake_in_what_lets_callers_in_is_named(checkout: Path, text: str, sentence: str) -> None:
    write(checkout, EMAILS + "[access]\n" + text)
    assert sentence in refusal(checkout)


def test_in_the_local_stage_tokens_may_come_from_this_machine(checkout: Path) -> None:
    write(checkout, EMAILS + '[stages.local.access]\njwt = { issuer = "http://127.0.0.1:9000", audience = ["a"] }')
    assert load(checkout, "local").access.jwt is not None
