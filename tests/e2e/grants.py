"""What the roles of the deployed functions are granted, piece by piece, and what comes of taking one away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobline.local_stack import LocalStack


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_PLACES = {":logs:": "its log", "/index/": "indexes", "/stream/": "stream", ":table/": "table", ":event-source-mapping:": "mappings"}


@dataclass(frozen=True)
class Grant:
    """One action of one statement of one role: what is taken away at a time."""

    function: str
    role: str
    policy: str
    statement: int
    action: str
    resources: tuple[str, ...]
    conditional: bool

    @property
    def place(self) -> str:
        """Where it holds, in a word that is the same in every deployment."""
        arn = self.resources[0]
        if self.conditional and self.action.startswith("dynamodb:"):
            return "split bodies"
        for mark, word in _PLACES.items():
            if mark in arn:
                return word
        return arn.partition("/")[2] if arn.startswith("arn:aws:s3:") and "/" in arn else arn.split(":")[2] if ":" in arn else arn

    @property
    def what(self) -> str:
        return f"{self.action} on {self.place}"

    def __str__(self) -> str:
        return f"{self.function}: {self.what}"


class Grants:
    """The grants of a deployed stack, each of which can be taken away for a while."""

    def __init__(self, stack: LocalStack) -> None:
        self._iam, self._logs = stack.client("iam"), stack.client("logs")
        self.log_of: dict[str, str] = {}
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.all: list[Grant] = []
        for function in stack.client("lambda").get_paginator("list_functions").paginate().build_full_result()["Functions"]:
            if function["Description"].startswith("Jobline's "):
                self._read(function)

    def _read(self, function: dict[str, Any]) -> None:
        name, role = function["Handler"].split(".")[1], function["Role"].rpartition("/")[2]
        self.log_of[name] = function["LoggingConfig"]["LogGroup"]
        for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            self.documents[role, policy] = document
            for index, statement in enumerate(document["Statement"]):
                resources = tuple(as_list(statement["Resource"]))
                for action in as_list(statement["Action"]):
                    self.all.append(Grant(name, role, policy, index, action, resources, "Condition" in statement))

    @contextmanager
    def without(self, grant: Grant) -> Iterator[None]:
        """Takes a grant away, and puts it back in the end."""
        document = json.loads(json.dumps(self.documents[grant.role, grant.policy]))
        statement = document["Statement"][grant.statement]
        statement["Action"] = [action for action in as_list(statement["Action"]) if action != grant.action]
        if not statement["Action"]:
            del document["Statement"][grant.statement]
        self._put(grant, document)
        try:
            yield
        finally:
            self._put(grant, self.documents[grant.role, grant.policy])

    def _put(self, grant: Grant, document: dict[str, Any]) -> None:
        self._iam.put_role_policy(RoleName=grant.role, PolicyName=grant.policy, PolicyDocument=json.dumps(document))

    def complaints(self, grant: Grant, since: float) -> list[str]:
        """The lines of the function's log since then (seconds) that say that the call was refused."""
        start = int(since * 1000)
        events = self._logs.filter_log_events(logGroupName=self.log_of[grant.function], startTime=start)["events"]
        # The action as IAM names it, or the operation as boto3 does: a refusal of another one is not this grant's.
        return [event["message"] for event in events if "AccessDenied" in event["message"] and grant.action in event["message"]]
