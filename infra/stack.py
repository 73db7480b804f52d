"""What is deployed: the parts, how they are joined, and who may do what with which."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Final

from aws_cdk import CfnElement, CfnOutput, Duration, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.body_bucket import BODIES, QUARANTINE, UPLOADS, BodyBucket
from infra.constructs.customer_key import READ_TABLE, SEND, WRITE_TABLE, CustomerKey
from infra.constructs.http_api import HttpApi
from infra.constructs.job_function import NO_KEY, JobFunction
from infra.constructs.job_queue import LONGEST_RETENTION, JobQueue, allow_consume, allow_pause, allow_send, encrypted_by
from infra.constructs.job_table import BY_ATTENTION, BY_QUEUE, JobTable
from infra.constructs.minute import EveryMinute
from infra.constructs.monitoring import Monitoring
from infra.constructs.ready_policies import ReadyPolicies
from infra.constructs.reply_queues import ReplyQueues
from infra.constructs.schedules import Schedules
from infra.constructs.stream_reader import ObserverFeed, RelayFeed
from infra.cost_tags import WORKER, stack_tags, tag
from infra.settings import StageSettings
from jobline import settings as names
from jobline.definitions import OPERATIONS, ApiFront, Definitions, Jwt, Vpc, Worker
from jobline.errors import InvalidDefinitions

ROOM_FOR_LANES: Final = 3400
"""Bytes of the relay's environment that the lanes' names may take; the other settings need the rest of 4 KB."""


class JoblineStack(Stack):
    """One deployment. No resource has a physical name, so any number of them fit into one account."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: StageSettings, definitions: Definitions, code: Callable[[str], lambda_.Code]
    ) -> None:
        """`code(name)` is the asset of `functions/<name>`."""
        described = f"Jobline, a job queue: stage {settings.stage}"
        super().__init__(scope, construct_id, description=described, tags=stack_tags(definitions))
        self._settings = settings
        self._code = code
        self._log_days = definitions.log_days

        kms_key = definitions.encryption.kms_key
        self.customer_key = CustomerKey(self, "CustomerKey", kms_key=kms_key, settings=settings) if kms_key else None
        self._key = self.customer_key.key if self.customer_key else None
        self.table = JobTable(self, "Jobs", settings=settings, key=self._key)
        self.bodies = BodyBucket(self, "Bodies", settings=settings, key=self._key)
        self.set_aside = self._set_aside_queue()

        self.api = self._function("api", timeout=29, bucket=True)
        self.relay = self._function("relay", timeout=60)
        # Time for the bodies that a full batch of removed records leaves: two a record, one call each.
        self.observer = self._function("observer", timeout=300, bucket=True)
        self.ticker = self._function("ticker", timeout=55)
        self.ticker.function.add_environment(names.STACK, self.stack_name)
        self.dead_letters = self._function("dead_letters", timeout=60, bucket=True)
        direct = any(queue.direct for queue in definitions.queues.values())
        self.workers = {name: self._worker(worker, may_loop=direct) for name, worker in definitions.workers.items()}
        self.queues = self._queues(definitions)
        self.pausable = {name: queue for name, queue in self.queues.items() if not definitions.queues[name].internal}

        access = definitions.access
        front = definitions.api
        http = self._door("Http", front=front, domain=front.domain, open_health=access.open_health)
        ReadyPolicies(self, "Access", http_api=http.http_api)
        RelayFeed(self, "RelayFeed", relay=self.relay, table=self.table, set_aside=self.set_aside)
        ObserverFeed(self, "ObserverFeed", observer=self.observer, table=self.table)
        EveryMinute(self, "Minute", function=self.ticker)
        self.direct = {name: self.queues[name] for name, queue in definitions.queues.items() if queue.direct}
        self._tell_queues()
        self.schedules = Schedules(
            self,
            "Schedules",
            declared=definitions.schedules,
            operations=self.workers[OPERATIONS],
            repeated_from=self.queues[OPERATIONS].lanes["normal"],
            set_aside=self.set_aside,
            key=self._key,
        )
        self.replies = ReplyQueues(self, "Replies", declared=definitions.replies, settings=settings, key=self._key)
        self._tell_operations()
        self._grant(definitions)
        if self.customer_key:
            self._grant_key(self.customer_key)

        CfnOutput(self, "ApiUrl", value=http.url, description="Where clients send signed requests")
        doors = [http]
        if access.jwt:
            # A door of its own, since a route has one authorizer: whoever signs is let in as before (docs/decisions).
            tokens = self._door("Tokens", front=front, domain=front.token_domain, jwt=access.jwt, open_health=access.open_health)
            doors.append(tokens)
            CfnOutput(self, "TokenApiUrl", value=tokens.url, description="Where clients send requests with a token")
        CfnOutput(self, "TableName", value=self.table.table.table_name, description="The table of records")
        functions = {"api": self.api, "relay": self.relay, "observer": self.observer, "ticker": self.ticker}
        Monitoring(
            self,
            "Monitoring",
            definitions=definitions,
            functions={**functions, "dead_letters": self.dead_letters, **self.workers},
            queues=self.queues,
            table=self.table,
            set_aside=self.set_aside,
            doors=doors,
        )
        CfnOutput(self, "BucketName", value=self.bodies.bucket.bucket_name, description="The bucket for large bodies")

    def _grant(self, definitions: Definitions) -> None:
        """Everything that any function may do, besides writing its own log."""
        every_lane = [lane for queue in self.queues.values() for lane in queue.lanes.values()]

        self.table.allow(self.api, "GetItem", "BatchGetItem", "PutItem", "UpdateItem", "PartiQLInsert")
        self.table.allow_query(self.api, BY_QUEUE, BY_ATTENTION)
        self.table.allow_delete_bodies(self.api, "payload")
        self.bodies.allow(self.api, "GetObject", "PutObject", "DeleteObject", keys=BODIES)
        self.bodies.allow(self.api, "GetObject", "PutObject", keys=UPLOADS)
        self.bodies.allow_to_see_what_is_missing(self.api)

        allow_send(self.relay, *every_lane, self.set_aside)

        self.table.allow(self.observer, "GetItem", "PutItem")
        self.table.allow(self.observer, "BatchGetItem", "UpdateItem")  # to wake a batch
        self.table.allow_delete_bodies(self.observer, "payload", "result")
        self.bodies.allow(self.observer, "DeleteObject", keys=BODIES)

        self.table.allow(self.ticker, "GetItem", "BatchGetItem", "PutItem", "UpdateItem")
        self.table.allow_query(self.ticker, BY_QUEUE, BY_ATTENTION)

        self.table.allow(self.dead_letters, "GetItem", "PutItem", "UpdateItem")
        allow_consume(self.dead_letters, *(queue.dead_letters for queue in self.queues.values() if queue.dead_letters))
        self.bodies.allow(self.dead_letters, "PutObject", keys=QUARANTINE)

        direct = [lane for queue in self.direct.values() for lane in queue.lanes.values()]
        for function in (self.api, *self.workers.values()) if direct else ():
            allow_send(function, *direct)

        for name, worker in self.workers.items():
            self.table.allow(worker, "GetItem", "PutItem", "UpdateItem", "PartiQLUpdate", "PartiQLInsert")
            served = [queue for queue in definitions.queues.values() if queue.worker == name]
            allow_consume(worker, *(lane for queue in served for lane in self.queues[queue.name].lanes.values()))
            if name != OPERATIONS:  # which may delete any item, see below
                self.table.allow_delete_bodies(worker, "payload", "result")
            self.bodies.allow(worker, "GetObject", "PutObject", "DeleteObject", keys=BODIES)
            self.bodies.allow_to_see_what_is_missing(worker)
            if any(queue.ordered for queue in served):  # where no dead-letter queue takes what nobody can read
                self.bodies.allow(worker, "PutObject", keys=QUARANTINE)
            self._grant_what_its_file_says(worker, definitions.workers[name])

        operations = self.workers[OPERATIONS]
        self.table.allow(operations, "BatchGetItem", "DeleteItem")
        self.table.allow_query(operations, BY_QUEUE, BY_ATTENTION)
        allow_pause(operations, *self.pausable.values())
        self.replies.allow_send(operations)
        self.api.allow(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[operations.function.function_arn]))
        self.schedules.allow(self.api)

    def _grant_key(self, key: CustomerKey) -> None:
        """What each function may do with the customer's key, through the services whose data it may touch by `_grant`."""
        functions = (self.api, self.relay, self.observer, self.ticker, self.dead_letters, *self.workers.values())
        for function in functions:
            key.allow(function, "lambda", "Decrypt")  # its own environment
            key.allow(function, "dynamodb", *(READ_TABLE if function is self.relay else WRITE_TABLE))
        for function in (self.api, *self.workers.values()):
            key.allow(function, "s3", "Decrypt", "GenerateDataKey")
        key.allow(self.dead_letters, "s3", "GenerateDataKey")
        key.allow(self.relay, "sqs", *SEND)
        if self.direct:
            key.allow(self.api, "sqs", *SEND)
        for function in (self.dead_letters, *self.workers.values()):
            sends = function is not self.dead_letters and (self.direct or function is self.workers[OPERATIONS])
            key.allow(function, "sqs", *(SEND if sends else ("Decrypt",)))
        # Scheduler asks for them in the name of who makes, changes or reads a schedule ("Encryption at rest", user guide).
        key.allow(self.api, "scheduler", "Decrypt", "DescribeKey", "GenerateDataKey")

    def _grant_what_its_file_says(self, function: JobFunction, worker: Worker) -> None:
        for permission in worker.permissions:
            ours = {"{bucket}": self.bodies.bucket.bucket_arn, "{table}": self.table.table.table_arn}
            resources = [_filled_in(resource, ours) for resource in permission.resources]
            statement = iam.PolicyStatement(actions=list(permission.actions), resources=resources)
            function.allow(statement, patterns_because=permission.reason)
        if worker.secrets:
            secrets = sorted(_whole(arn) for arn in worker.secrets.values())
            function.allow(iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=secrets))
        if self._network(worker):
            function.allow_network()

    def _queues(self, definitions: Definitions) -> Mapping[str, JobQueue]:
        scope = Construct(self, "Queues")
        return {
            name: JobQueue(
                scope,
                name,
                queue=queue,
                settings=self._settings,
                worker=self.workers[queue.worker],
                dead_letters=self.dead_letters,
                key=self._key,
            )
            for name, queue in definitions.queues.items()
        }

    def _set_aside_queue(self) -> sqs.Queue:
        """Stream records that can never be sent: kept as evidence, read by people."""
        queue = sqs.Queue(
            self,
            "SetAside",
            retention_period=LONGEST_RETENTION,
            enforce_ssl=self._settings.tls_only,
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
            **encrypted_by(self._key),
        )
        for_people = "It is a dead-letter queue itself: what is in it is read by people."
        reasons = {"AwsSolutions-SQS3": for_people, "Serverless-SQSRedrivePolicy": for_people}
        acknowledge(queue, reasons if self._key else reasons | {"CKV_AWS_27": NO_KEY})
        return queue

    def _door(self, construct_id: str, *, front: ApiFront, domain: str | None, jwt: Jwt | None = None, open_health: bool) -> HttpApi:
        return HttpApi(
            self,
            construct_id,
            api=self.api,
            key=self._key,
            log_days=self._log_days,
            front=front,
            domain=domain if self._settings.has_account else None,
            jwt=jwt,
            open_health=open_health,
        )

    def _function(
        self,
        name: str,
        *,
        timeout: int,
        bucket: bool = False,
        memory: int = 512,
        may_loop: bool = False,
        vpc: Vpc | None = None,
        **environment: str,
    ) -> JobFunction:
        told = {names.TABLE: self.table.table.table_name, **environment}
        if bucket:
            told[names.BUCKET] = self.bodies.bucket.bucket_name
        return JobFunction(
            self,
            name.replace("_", " ").title().replace(" ", ""),
            name=name,
            code=self._code(name),
            settings=self._settings,
            environment=told,
            timeout=Duration.seconds(timeout),
            memory=memory,
            key=self._key,
            log_days=self._log_days,
            may_loop=may_loop,
            vpc=vpc,
        )

    def _network(self, worker: Worker) -> Vpc | None:
        return worker.vpc if self._settings.has_account else None

    def _worker(self, worker: Worker, *, may_loop: bool) -> JobFunction:
        """`may_loop`: jobs of this worker may enqueue jobs for it through SQS directly; their depth is limited by ourselves."""
        environment = {**worker.environment, names.WORKER: worker.name}
        function = self._function(
            worker.name,
            timeout=worker.timeout,
            bucket=True,
            memory=worker.memory,
            may_loop=may_loop,
            vpc=self._network(worker),
            **environment,
        )
        tag(function, WORKER, worker.name)
        return function

    def _tell_queues(self) -> None:
        """Tells functions where queues are: the address that all queue URLs begin with, and the names of the lanes that they send into."""
        scheme, _, host, account = (Fn.select(part, Fn.split("/", self.set_aside.queue_url)) for part in range(4))
        base = Fn.join("", [scheme, "//", host, "/", account, "/"])
        for function in (self.api, self.relay, self.dead_letters, *self.workers.values()):
            function.function.add_environment(names.QUEUE_URL_BASE, base)
        self._refuse_more_lanes_than_fit()
        self.relay.function.add_environment(names.LANES, self._names_of_lanes(self.queues))
        for function in (self.api, *self.workers.values()):
            function.function.add_environment(names.LANES, self._names_of_lanes(self.direct))
        self.relay.function.add_environment(names.SET_ASIDE_QUEUE, self.set_aside.queue_name)

    def _names_of_lanes(self, queues: Mapping[str, JobQueue]) -> str:
        lanes = {name: {lane: lane_queue.queue_name for lane, lane_queue in queue.lanes.items()} for name, queue in queues.items()}
        return self.to_json_string(lanes)

    def _tell_operations(self) -> None:
        """Tells the operations function which mappings to switch for a pause and where replies go, and the api whom to ask for a pause."""
        mappings = {name: [mapping.event_source_mapping_id for mapping in queue.mappings.values()] for name, queue in self.pausable.items()}
        operations = self.workers[OPERATIONS].function
        operations.add_environment(names.MAPPINGS, self.to_json_string(mappings))
        operations.add_environment(names.REPLIES, self.to_json_string(self.replies.urls))
        self.api.function.add_environment(names.OPERATIONS_FUNCTION, operations.function_name)
        place = {name: value for name, value in dataclasses.asdict(self.schedules.place).items() if value is not None}
        self.api.function.add_environment(names.SCHEDULES, self.to_json_string(place))

    def _refuse_more_lanes_than_fit(self) -> None:
        """Fails now, with a sentence, where the deploy would fail half-way: Lambda takes 4 KB of environment (Lambda quotas)."""
        lanes = [lane for queue in self.queues.values() for lane in queue.lanes.values()]
        # CloudFormation calls a queue STACK-LOGICALID-12 CHARACTERS; around it go the lane's name and punctuation.
        around = 14 + len('"normal":"",')
        needed = sum(len(self.stack_name) + len(self._logical_id(lane)) + around for lane in lanes)
        needed += sum(len(name) + len('"":{},') for name in self.queues)
        if needed > ROOM_FOR_LANES:
            raise InvalidDefinitions(
                f"queues.toml: {len(self.queues)} queues with {len(lanes)} lanes are more than the relay can be told of;"
                " give those that need no priorities lanes = 1"
            )

    def _logical_id(self, construct: Construct) -> str:
        resource = construct.node.default_child
        assert isinstance(resource, CfnElement)
        return self.get_logical_id(resource)


def _filled_in(resource: str, ours: Mapping[str, str]) -> str:
    for name, arn in ours.items():
        resource = resource.replace(name, arn)
    return resource


def _whole(arn: str) -> str:
    """The secret's ARN as a policy has to have it: with the six characters that Secrets Manager adds, whatever they are.

    A secret may be asked for without them; IAM compares whole ARNs
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html).
    """
    return arn if re.search(r"-[A-Za-z0-9]{6}$", arn) else f"{arn}-??????"
