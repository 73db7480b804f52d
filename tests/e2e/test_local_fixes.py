"""Each fix of `jobline.local_fixes`: what AWS does, and that ministack as it comes does something else.

When a test of the stock behaviour fails after an update of ministack, the fix that it is about can go.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError

from jobline.local_aws import ACCOUNT, REGION, SECRET, LocalAws, free_port

SECONDS_TO_WAIT = 20


class Emulator:
    """A running ministack, and the few things that these tests make in it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.dynamodb, self.sqs, self.functions = self.client("dynamodb"), self.client("sqs"), self.client("lambda")
        self._made = 0

    def client(self, service: str, key: str = ACCOUNT, secret: str = SECRET) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service, endpoint_url=self.aws.endpoint_url, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret
        )

    def name(self) -> str:
        self._made += 1
        return f"thing{self._made}"

    def table(self) -> tuple[str, str]:
        """A table with hash key `id` and a stream: its name and the stream's ARN."""
        made = self.dynamodb.create_table(
            TableName=self.name(),
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )["TableDescription"]
        return made["TableName"], made["LatestStreamArn"]

    def queue(self) -> tuple[str, str]:
        """A queue: its URL and its ARN."""
        url = self.sqs.create_queue(QueueName=self.name(), Attributes={"VisibilityTimeout": "120"})["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def function(self, source: str, **environment: str) -> str:
        """A function made of `source`, whose `handler` is called and whose role may do everything: its name."""
        iam, name = self.client("iam"), self.name()
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=policy("*", "*"))
        self.functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=role,
            Handler="index.handler",
            Code={"ZipFile": zipped(source)},
            Environment={"Variables": environment},
            Timeout=10,
        )
        return name

    def user_client(self, service: str, action: str, resource: str) -> Any:
        """A client of a user who may do this one thing."""
        iam, user = self.client("iam"), self.name()
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        iam.put_user_policy(UserName=user, PolicyName="one", PolicyDocument=policy(action, resource))
        return self.client(service, key["AccessKeyId"], key["SecretAccessKey"])

    def map(self, source: str, function: str, **more: Any) -> None:
        """An event source mapping that reports partial failures."""
        self.functions.create_event_source_mapping(
            EventSourceArn=source, FunctionName=function, FunctionResponseTypes=["ReportBatchItemFailures"], **more
        )

    def waiting(self, url: str, kind: str = "") -> int:
        attribute = f"ApproximateNumberOfMessages{kind}"
        return int(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute])

    def drain(self, url: str) -> list[str]:
        bodies: list[str] = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies


def zipped(source: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", source)
    return archive.getvalue()


def policy(action: str, resource: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="module", params=["stock", "mended"])
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    fixes = "none" if request.param == "stock" else "all"
    with LocalAws(port=free_port(), state=tmp_path_factory.mktemp("aws") / request.param, fixes=fixes) as aws:
        yield Emulator(aws)


@pytest.fixture
def stock(emulator: Emulator) -> bool:
    return emulator.aws.fixes == "none"


def test_partiql_writes_appear_on_the_stream(emulator: Emulator, stock: bool) -> None:
    table, stream = emulator.table()
    for statement in (
        f"INSERT INTO \"{table}\" VALUE {{'id': 'a', 'n': 1}}",
        f"UPDATE \"{table}\" SET n=2 WHERE id='a'",
        f"UPDATE \"{table}\" SET n=2 WHERE id='a'",
        f"DELETE FROM \"{table}\" WHERE id='a'",
    ):
        emulator.dynamodb.execute_statement(Statement=statement)

    streams = emulator.client("dynamodbstreams")
    [shard] = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
    start = streams.get_shard_iterator(StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records = [(record["eventName"], record["dynamodb"]) for record in streams.get_records(ShardIterator=start)["Records"]]

    # The second UPDATE changes nothing, and what changes nothing makes no stream record.
    assert [event for event, _ in records] == ([] if stock else ["INSERT", "MODIFY", "REMOVE"])
    if not stock:
        assert [image["OldImage"]["n"] for _, image in records[1:]] == [{"N": "1"}, {"N": "2"}]


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return False


def test_a_partiql_statement_needs_the_permission_of_its_verb_on_its_table(emulator: Emulator, stock: bool) -> None:
    (mine, _), (other, _) = emulator.table(), emulator.table()
    for table in (mine, other):
        emulator.dynamodb.put_item(TableName=table, Item={"id": {"S": "a"}})
    theirs = emulator.user_client("dynamodb", "dynamodb:PartiQLUpdate", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{mine}")

    update = f"UPDATE \"{mine}\" SET n=1 WHERE id='a'"
    assert refused(lambda: theirs.execute_statement(Statement=update)) == stock
    assert refused(lambda: theirs.batch_execute_statement(Statements=[{"Statement": update}])) == stock
    assert refused(lambda: theirs.execute_statement(Statement=f"DELETE FROM \"{mine}\" WHERE id='a'"))
    assert refused(lambda: theirs.execute_statement(Statement=f"UPDATE \"{other}\" SET n=1 WHERE id='a'"))


def test_a_batch_of_messages_needs_the_permission_of_a_single_one(emulator: Emulator, stock: bool) -> None:
    (mine, arn), (other, _) = emulator.queue(), emulator.queue()
    theirs = emulator.user_client("sqs", "sqs:SendMessage", arn)
    entries = [{"Id": "1", "MessageBody": "a"}]

    assert not refused(lambda: theirs.send_message(QueueUrl=mine, MessageBody="a"))
    assert refused(lambda: theirs.send_message_batch(QueueUrl=mine, Entries=entries)) == stock
    assert refused(lambda: theirs.send_message_batch(QueueUrl=other, Entries=entries))
    assert refused(lambda: theirs.delete_message_batch(QueueUrl=mine, Entries=[{"Id": "1", "ReceiptHandle": "x"}]))


def test_mail_needs_the_permission_on_its_senders_identity(emulator: Emulator, stock: bool) -> None:
    theirs = emulator.user_client("sesv2", "ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/me@example.com")

    def send(sender: str) -> None:
        content = {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "b"}}}}
        theirs.send_email(FromEmailAddress=sender, Destination={"ToAddresses": ["you@example.com"]}, Content=content)

    assert refused(lambda: send("me@example.com")) == stock
    assert refused(lambda: send("somebody-else@example.com"))


def test_a_route_with_iam_authorization_refuses_whoever_does_not_sign(emulator: Emulator, stock: bool) -> None:
    apis = emulator.client("apigatewayv2")
    api_id = apis.create_api(Name=emulator.name(), ProtocolType="HTTP")["ApiId"]
    apis.create_stage(ApiId=api_id, StageName="$default", AutoDeploy=True)
    apis.create_route(ApiId=api_id, RouteKey="GET /thing", AuthorizationType="AWS_IAM")
    url = f"{emulator.aws.endpoint_url}/_aws/execute-api/{api_id}/thing"

    def status(**headers: str) -> int:
        return httpx2.get(url, headers=headers, trust_env=False).status_code

    assert status() == 403
    assert status(Authorization="Bearer a.b.c") == (500 if stock else 403)  # 500: let in, to a route that nothing answers
    assert status(Authorization="AWS4-HMAC-SHA256 Credential=x") == 403


FAILS_ONCE_ON_SECOND = """
import boto3, os
sqs, failed = boto3.client("sqs"), []

def handler(event, context):
    for record in event["Records"]:
        key = record["dynamodb"]["Keys"]["id"]["S"]
        if key == "second" and not failed:
            failed.append(key)
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
        sqs.send_message(QueueUrl=os.environ["HANDLED"], MessageBody=key)
    return {"batchItemFailures": []}
"""


def test_a_stream_mapping_goes_on_from_the_first_failed_record(emulator: Emulator, stock: bool) -> None:
    handled, _ = emulator.queue()
    function = emulator.function(FAILS_ONCE_ON_SECOND, HANDLED=handled)
    table, stream = emulator.table()
    for key in ("first", "second", "third"):
        emulator.dynamodb.put_item(TableName=table, Item={"id": {"S": key}})

    emulator.map(stream, function, StartingPosition="TRIM_HORIZON", BatchSize=10)
    eventually(lambda: emulator.waiting(handled) == 1)
    # A record of its own, after which nothing of the first batch can still be on its way.
    emulator.dynamodb.put_item(TableName=table, Item={"id": {"S": "last"}})
    eventually(lambda: emulator.waiting(handled) == (2 if stock else 4))

    assert emulator.drain(handled) == (["first", "last"] if stock else ["first", "second", "third", "last"])


ANSWERS_AS_TOLD = """
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    [message] = event["Records"]
    sqs.send_message(QueueUrl=os.environ["HANDLED"], MessageBody=message["body"])
    return json.loads(message["body"].replace("MINE", message["messageId"]))
"""

# What a function answers; whether AWS keeps the message, and whether stock ministack does.
ANSWERS = [
    ({"batchItemFailures": [{"itemIdentifier": "MINE"}]}, True, True),
    ({"batchItemFailures": [{"itemIdentifier": "no such message"}]}, True, False),
    ({"batchItemFailures": [{"itemIdentifier": ""}]}, True, False),
    ({"batchItemFailures": [{"itemIdentifier": None}]}, True, False),
    ({"batchItemFailures": [{"messageId": "MINE"}]}, True, False),
    ({"batchItemFailures": "MINE"}, True, True),
    ({"batchItemFailures": []}, False, False),
    ({"batchItemFailures": None}, False, True),
    ({}, False, False),
    (None, False, False),
]


@pytest.mark.parametrize(("answer", "kept", "kept_by_stock"), ANSWERS, ids=json.dumps)
def test_a_queue_keeps_a_batch_whose_answer_is_a_failure(
    emulator: Emulator, stock: bool, answer: Any, kept: bool, kept_by_stock: bool
) -> None:
    handled, _ = emulator.queue()
    queue, arn = emulator.queue()
    emulator.map(arn, emulator.function(ANSWERS_AS_TOLD, HANDLED=handled), BatchSize=1)

    emulator.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(answer))
    eventually(lambda: emulator.waiting(handled) == 1)

    stays = kept_by_stock if stock else kept
    if stays:
        time.sleep(0.5)  # long enough for a deletion that must not come
    eventually(lambda: emulator.waiting(queue) + emulator.waiting(queue, "NotVisible") == int(stays))


TAKES_ITS_TIME = """
import boto3, os, time
sqs = boto3.client("sqs")

def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["HANDLED"], MessageBody="begun")
    time.sleep(1)
    sqs.send_message(QueueUrl=os.environ["HANDLED"], MessageBody="ended")
"""


def test_an_invocation_under_way_ends_when_the_function_is_updated(emulator: Emulator, stock: bool) -> None:
    handled, _ = emulator.queue()
    queue, arn = emulator.queue()
    function = emulator.function(TAKES_ITS_TIME, HANDLED=handled)
    emulator.map(arn, function, BatchSize=1)

    emulator.sqs.send_message(QueueUrl=queue, MessageBody="go")
    eventually(lambda: emulator.waiting(handled) == 1)
    emulator.functions.update_function_code(FunctionName=function, ZipFile=zipped(TAKES_ITS_TIME + "# changed"))
    time.sleep(1.5)

    assert emulator.drain(handled) == (["begun"] if stock else ["begun", "ended"])


FILLED_IN = "<aws.scheduler.scheduled-time> <aws.scheduler.execution-id>"


def test_a_schedule_hands_over_the_time_and_the_id_of_its_run(emulator: Emulator, stock: bool) -> None:
    url, arn = emulator.queue()
    due = datetime.now(UTC).replace(microsecond=0)
    emulator.client("scheduler").create_schedule(
        Name=emulator.name(),
        ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": arn,
            "RoleArn": "arn:aws:iam::000000000000:role/any",
            "Input": "<aws.scheduler.scheduled-time> <aws.scheduler.execution-id>",
        },
    )
    eventually(lambda: emulator.waiting(url) == 1)
    [body] = emulator.drain(url)
    if stock:
        assert body == FILLED_IN
    else:
        assert body.split(" ")[0] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
        assert "<" not in body


def test_a_schedule_is_permitted_by_its_group_and_name(emulator: Emulator, stock: bool) -> None:
    group, name = emulator.name(), emulator.name()
    emulator.client("scheduler").create_schedule_group(Name=group)
    user = emulator.user_client("scheduler", "scheduler:GetSchedule", f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{group}/*")
    with pytest.raises(ClientError) as refused:
        user.get_schedule(GroupName=group, Name=name)
    assert refused.value.response["Error"]["Code"] == ("AccessDeniedException" if stock else "ResourceNotFoundException")
    with pytest.raises(ClientError, match="AccessDenied"):
        user.get_schedule(GroupName="other", Name=name)
