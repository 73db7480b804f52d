"""What can be wrong with a deployment, seen from its AWS account."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from jobline.account import Account
from jobline.connection import Connection
from jobline.findings import Check, Trouble, Unchecked
from jobline.settings import LANES, MAPPINGS, SET_ASIDE_QUEUE
from jobline.stacks import aws_trouble

VISIBILITY_FACTOR: Final = 6
"""How many timeouts of its function a message stays hidden (infra/constructs/job_queue.py)."""
MAX_RECEIVE_COUNT: Final = 10
"""Receives before a message goes to the dead-letter queue (infra/constructs/job_queue.py)."""
TICKER_LATE: Final = timedelta(minutes=5)
"""So long after its time nothing is left lying by a ticker that runs each minute."""
RELAY_LATE: Final = timedelta(minutes=2)
OBSERVER_LATE: Final = timedelta(minutes=10)
NEW_ACCOUNT_LIMIT: Final = 10
"""Invocations at the same time that a new account may have (AWS Lambda developer guide, "Understanding function scaling")."""


class DeploymentChecks:
    """The checks of one deployment. What they read is read once."""

    def __init__(self, account: Account, connection: Connection, *, now: datetime | None = None) -> None:
        self._account = account
        self._connection = connection
        self._now = now or datetime.now(UTC)

    def all(self) -> list[tuple[str, Check]]:
        """Every check, by the name that people see."""
        return [
            ("api", self.api),
            ("stack", self.stack),
            ("functions", self.functions),
            ("visibility", self.visibility),
            ("receive counts", self.receive_counts),
            ("mappings", self.mappings),
            ("concurrency", self.concurrency),
            ("ticker", self.ticker),
            ("ticks", self.ticks),
            ("relay and observer", self.stream_readers),
            ("stream lag", self.stream_lag),
            ("dead-letter queues", self.dead_letter_queues),
            ("set-aside queue", self.set_aside_queue),
            ("alarms", self.alarms),
        ]

    # ------------------------------------------------------------------------------------------------ the whole

    def api(self) -> Iterator[Trouble]:
        body = self._connection.request("GET", "/health").body
        if not isinstance(body, dict) or body.get("status") != "ok":
            yield Trouble("The API does not say that it is well.", "jobs logs api --level error")

    def stack(self) -> Iterator[Trouble]:
        with aws_trouble("CloudFormation"):
            [stack] = self._client("cloudformation").describe_stacks(StackName=self._account.stack)["Stacks"]
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "IMPORT_COMPLETE"):
            yield Trouble(f"The stack {stack['StackName']} is {stack['StackStatus']}.", self._deploy)

    def functions(self) -> Iterator[Trouble]:
        for name, function in self._functions.items():
            if function.get("State", "Active") not in ("Active", "Inactive") or function.get("LastUpdateStatus") == "Failed":
                reason = function.get("StateReason") or function.get("LastUpdateStatusReason") or function.get("State")
                yield Trouble(f"The function {name} is not fit to run: {reason}.", self._deploy)

    # ------------------------------------------------------------------------------------------------ queues

    def visibility(self) -> Iterator[Trouble]:
        for queue, lane, url, attributes in self._lanes():
            timeout = self._worker_of(attributes["QueueArn"]).get("Timeout")
            if timeout is None:
                continue  # what reads it is told by `mappings`
            hidden, needed = int(attributes["VisibilityTimeout"]), timeout * VISIBILITY_FACTOR
            if hidden < needed:
                yield Trouble(
                    f"Messages of {queue} ({lane}) stay hidden for {hidden} s; {VISIBILITY_FACTOR} timeouts of its worker are {needed} s.",
                    self._aws(f"sqs set-queue-attributes --queue-url {url} --attributes VisibilityTimeout={needed}"),
                )

    def receive_counts(self) -> Iterator[Trouble]:
        for queue, lane, url, attributes in self._lanes():
            policy = json.loads(attributes.get("RedrivePolicy", "{}"))
            if attributes["QueueArn"].endswith(".fifo"):
                if policy:
                    yield Trouble(
                        f"The ordered queue {queue} has a dead-letter queue, which may take the head of a group away.",
                        self._aws(f"sqs set-queue-attributes --queue-url {url} --attributes RedrivePolicy="),
                    )
            elif int(policy.get("maxReceiveCount", 0)) < MAX_RECEIVE_COUNT:
                has = f"after {policy['maxReceiveCount']} receives" if policy else "never"
                yield Trouble(
                    f"Messages of {queue} ({lane}) go to a dead-letter queue {has}, not after {MAX_RECEIVE_COUNT}.",
                    f"{self._deploy}  # after a change of the stack: SQS keeps what was changed by hand",
                )

    def dead_letter_queues(self) -> Iterator[Trouble]:
        seen = set()
        for queue, _, _, attributes in self._lanes():
            arn = json.loads(attributes.get("RedrivePolicy", "{}")).get("deadLetterTargetArn")
            if arn is None or arn in seen:
                continue
            seen.add(arn)
            url = self._queue_url(arn.rpartition(":")[2])
            count = _messages(self._attributes(url))
            if count:
                yield Trouble(
                    f"The dead-letter queue of {queue} has {count} messages; the function dead_letters should have settled them.",
                    "jobs logs dead_letters --since 1h",
                )

    def set_aside_queue(self) -> Iterator[Trouble]:
        name = self._told("relay", SET_ASIDE_QUEUE)
        url = self._queue_url(name)
        if count := _messages(self._attributes(url)):
            yield Trouble(
                f"{count} changes of records could not be sent and are set aside.",
                f"jobs logs relay --level error; {self._aws(f'sqs receive-message --queue-url {url}')}",
            )

    # ------------------------------------------------------------------------------------------------ who reads what

    def mappings(self) -> Iterator[Trouble]:
        paused = self._paused
        of_queue = {uuid: queue for queue, uuids in self._pausable.items() for uuid in uuids}
        for uuid, mapping in self._mappings.items():
            queue = of_queue.get(uuid)
            state = mapping.get("State", "Enabled")
            what = queue or mapping["EventSourceArn"].rpartition(":")[2]
            on = self._aws(f"lambda update-event-source-mapping --uuid {uuid} --enabled")
            if queue in paused:
                if state in ("Enabled", "Enabling"):
                    yield Trouble(f"{queue} is paused, and one of its mappings still brings jobs.", f"jobs pause {queue}")
            elif state in ("Disabled", "Disabling"):
                mend = f"jobs resume {queue}" if queue else on
                yield Trouble(f"A mapping of {what} is {state.lower()}, and the queue is not paused: no jobs come.", mend)
            if "PROBLEM" in mapping.get("LastProcessingResult", ""):
                yield Trouble(f"A mapping of {what} has a problem: {mapping['LastProcessingResult']}", self._deploy)
        for uuid, queue in of_queue.items():
            if uuid not in self._mappings:
                yield Trouble(f"A mapping of {queue} is gone.", self._deploy)

    def concurrency(self) -> Iterator[Trouble]:
        with aws_trouble("Lambda"):
            limit = self._client("lambda").get_account_settings()["AccountLimit"]
        wanted = sum(mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0) for mapping in self._mappings.values())
        free = limit["UnreservedConcurrentExecutions"]
        quota = self._aws(
            "service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000"
        )
        if wanted > free:
            new = " (a new account's)" if limit["ConcurrentExecutions"] <= NEW_ACCOUNT_LIMIT else ""
            yield Trouble(
                f"The queues together may have {wanted} invocations at once, and the account{new} has {free}.",
                f"{quota}  # or lower concurrency in queues.toml",
            )
        for name, function in self._functions.items():
            with aws_trouble("Lambda"):
                reserved = self._client("lambda").get_function_concurrency(FunctionName=function["FunctionName"])
            most = reserved.get("ReservedConcurrentExecutions")
            needs = sum(
                mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0)
                for mapping in self._mappings.values()
                if _function_of(mapping) == function["FunctionName"]
            )
            if most is not None and (most < needs or most == 0):
                yield Trouble(
                    f"{name} has {most} invocations reserved, and its queues may ask for {needs}.",
                    self._aws(f"lambda delete-function-concurrency --function-name {function['FunctionName']}"),
                )

    def stream_readers(self) -> Iterator[Trouble]:
        readers = {_function_of(mapping): mapping for mapping in self._mappings.values() if ":dynamodb:" in mapping["EventSourceArn"]}
        for name in ("relay", "observer"):
            mapping = readers.get(self._functions[name]["FunctionName"])
            if mapping is None:
                yield Trouble(f"Nothing brings the table's stream to the {name}.", self._deploy)

    def stream_lag(self) -> Iterator[Trouble]:
        for name, most in (("relay", RELAY_LATE), ("observer", OBSERVER_LATE)):
            age = self._metric("IteratorAge", name, "Maximum")
            if age is not None and age > most.total_seconds() * 1000:
                yield Trouble(f"The {name} is {age / 1000:.0f} s behind the table's stream.", f"jobs logs {name} --level warning")

    def ticks(self) -> Iterator[Trouble]:
        ran, failed = self._metric("Invocations", "ticker", "Sum"), self._metric("Errors", "ticker", "Sum")
        if not ran:
            yield Trouble("The ticker has not run for ten minutes.", self._deploy)
        elif failed:
            yield Trouble("The ticker's last run failed.", "jobs logs ticker --level warning --since 30m")

    # ------------------------------------------------------------------------------------------------ time

    def ticker(self) -> Iterator[Trouble]:
        schedules = self._account.resources("AWS::Scheduler::Schedule")
        for schedule in schedules:
            with aws_trouble("EventBridge Scheduler"):
                found = self._client("scheduler").get_schedule(Name=schedule.physical_id.rpartition("/")[2])
            if found.get("State") == "DISABLED":
                yield Trouble("The ticker's schedule is disabled: nothing falls due and nothing heals.", self._deploy)
        late = self._overdue()
        if late:
            yield Trouble(
                f"Jobs of {', '.join(sorted(late))} have waited for the ticker since {min(late.values()):%Y-%m-%dT%H:%M:%SZ}.",
                "jobs logs ticker --since 1h",
            )

    def _overdue(self) -> dict[str, datetime]:
        """For each queue, since when the ticker should have looked at one of its jobs, if that is long ago."""
        from jobline.store import JobStore

        store = JobStore(self._client("dynamodb"), self._account.outputs["TableName"])
        late = {}
        with aws_trouble("DynamoDB"):
            for queue in self._queues:
                page = store.page_by_attention(queue, "open", limit=1, until=self._now - TICKER_LATE)
                if page.keys:
                    late[queue] = page.keys[0].at
        return late

    def alarms(self) -> Iterator[Trouble]:
        ours = {alarm.physical_id for alarm in self._account.resources("AWS::CloudWatch::Alarm")}
        if not ours:
            raise Unchecked("This stack has no alarms.")
        with aws_trouble("CloudWatch"):
            for page in self._client("cloudwatch").get_paginator("describe_alarms").paginate(StateValue="ALARM"):
                for alarm in page["MetricAlarms"]:
                    if alarm["AlarmName"] in ours:
                        said = alarm.get("AlarmDescription") or alarm.get("StateReason") or "no description"
                        yield Trouble(f"The alarm {alarm['AlarmName']} rings: {said}", "jobs open alarms")

    # ------------------------------------------------------------------------------------------------ what is read once

    def _client(self, service: str) -> Any:
        return self._account.client(service)

    @cached_property
    def _functions(self) -> dict[str, dict[str, Any]]:
        return self._account.functions()

    @cached_property
    def _mappings(self) -> dict[str, dict[str, Any]]:
        """Every event source mapping of the stack, by its id."""
        found = {}
        client = self._client("lambda")
        for resource in self._account.resources("AWS::Lambda::EventSourceMapping"):
            with aws_trouble("Lambda"):
                try:
                    found[resource.physical_id] = client.get_event_source_mapping(UUID=resource.physical_id)
                except client.exceptions.ResourceNotFoundException:
                    continue
        return found

    @cached_property
    def _pausable(self) -> Mapping[str, list[str]]:
        told: dict[str, list[str]] = json.loads(self._told("operations", MAPPINGS))
        return told

    @cached_property
    def _queues(self) -> list[str]:
        return list(json.loads(self._told("relay", LANES)))

    @cached_property
    def _paused(self) -> frozenset[str]:
        from jobline.queue_states import QueueStates

        with aws_trouble("DynamoDB"):
            return QueueStates(self._client("dynamodb"), self._account.outputs["TableName"]).paused(self._queues)

    def _lanes(self) -> Iterator[tuple[str, str, str, Mapping[str, str]]]:
        """Queue, lane, URL and attributes of each SQS queue that carries jobs."""
        for queue, lanes in json.loads(self._told("relay", LANES)).items():
            for lane, name in lanes.items():
                url = self._queue_url(name)
                yield queue, lane, url, self._attributes(url)

    def _told(self, function: str, variable: str) -> str:
        """What a function is told by its environment."""
        try:
            return str(self._functions[function]["Environment"]["Variables"][variable])
        except KeyError:
            raise Unchecked(f"The function {function} has no {variable}: it is of another release.") from None

    def _queue_url(self, name: str) -> str:
        with aws_trouble("SQS"):
            return str(self._client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    def _attributes(self, url: str) -> Mapping[str, str]:
        known = self.__dict__.setdefault("_attributes_read", {})
        if url not in known:
            with aws_trouble("SQS"):
                known[url] = self._client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        found: Mapping[str, str] = known[url]
        return found

    def _worker_of(self, queue_arn: str) -> Mapping[str, Any]:
        names = {_function_of(mapping) for mapping in self._mappings.values() if mapping["EventSourceArn"] == queue_arn}
        return next((function for function in self._functions.values() if function["FunctionName"] in names), {})

    def _metric(self, name: str, function: str, statistic: str) -> float | None:
        """The newest value of one of Lambda's own metrics of the last ten minutes; `None` when there is none. Raises Unchecked."""
        if self._account.place.local:
            raise Unchecked("A local AWS keeps no metrics of its functions.")
        with aws_trouble("CloudWatch"):
            points = self._client("cloudwatch").get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName=name,
                Dimensions=[{"Name": "FunctionName", "Value": self._functions[function]["FunctionName"]}],
                StartTime=self._now - timedelta(minutes=10),
                EndTime=self._now,
                Period=60,
                Statistics=[statistic],
            )["Datapoints"]
        return max(points, key=lambda point: point["Timestamp"])[statistic] if points else None

    @property
    def _deploy(self) -> str:
        return "make dev" if self._account.place.local else f"make deploy STAGE={self._account.stage}"

    def _aws(self, command: str) -> str:
        """A command of AWS's own tool, for this account."""
        place = self._account.place
        options = f" --region {place.region}"
        options += f" --profile {place.aws_profile}" if place.aws_profile else ""
        options += f" --endpoint-url {place.endpoint_url}" if place.endpoint_url else ""
        return f"aws {command}{options}"


def _messages(attributes: Mapping[str, str]) -> int:
    return sum(int(attributes.get(f"ApproximateNumberOfMessages{kind}", 0)) for kind in ("", "NotVisible", "Delayed"))


def _function_of(mapping: Mapping[str, Any]) -> str:
    return str(mapping["FunctionArn"]).partition(":function:")[2].partition(":")[0]
