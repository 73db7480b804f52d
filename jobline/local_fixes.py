"""The local AWS: ministack 1.5.33 with what it does differently from AWS, where our paths notice, set right.

Runs as a script inside ministack's own interpreter (`.ministack/bin/python -I jobline/local_fixes.py`), which knows neither
`jobline` nor its libraries. `JOBLINE_LOCAL_FIXES` names the fixes to apply, with commas between (`all` when it is not set, `none`
for the emulator as it comes). tests/e2e/test_local_fixes.py shows for each what AWS does and what stock ministack does, so that a
fix can go when ministack has it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Final

from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.services import dynamodb, eventbridge, lambda_svc, scheduler
from ministack.services.cloudformation import provisioners

Answer = dict[str, Any]
"""What ministack keeps of an invocation: `body`, `log`, and `error` when the function failed."""


def partiql_on_the_stream() -> None:
    """PartiQL writes appear on the table's stream, as those of PutItem and UpdateItem do.

    AWS: "DynamoDB Streams captures a time-ordered sequence of item-level modifications in any DynamoDB table".
    """
    for name in ("_partiql_insert", "_partiql_update", "_partiql_delete"):
        setattr(dynamodb, name, _reporting_to_stream(getattr(dynamodb, name)))


def _reporting_to_stream(write: Callable[..., Any]) -> Callable[..., Any]:
    def reporting(table: dict[str, Any], statement: dict[str, Any], *rest: Any) -> Any:
        hash_key, range_key = _item_key(table, statement)
        before = copy.deepcopy(table["items"].get(hash_key, {}).get(range_key))
        answer = write(table, statement, *rest)
        after = table["items"].get(hash_key, {}).get(range_key)
        if answer[0] == 200 and before != after:
            name = next(name for name, known in dynamodb._tables.items() if known is table)
            event = "REMOVE" if after is None else "INSERT" if before is None else "MODIFY"
            dynamodb._emit_stream_event(name, event, before, copy.deepcopy(after))
        return answer

    return reporting


def _item_key(table: dict[str, Any], statement: dict[str, Any]) -> tuple[Any, Any]:
    """Where ministack keeps the item that a parsed statement names."""
    item = statement.get("item")
    if not isinstance(item, dict) or not item:
        hash_key, range_key, *_ = dynamodb._partiql_key_target(table, statement)
        return hash_key, range_key
    item = item["M"] if set(item) == {"M"} else item
    range_name = table["sk_name"]
    key_value = dynamodb._extract_key_val
    return key_value(item.get(table["pk_name"])), key_value(item.get(range_name)) if range_name else "__no_sort__"


def partiql_permissions() -> None:
    """A PartiQL statement needs `dynamodb:PartiQLUpdate` (…Insert, …Delete, …Select) on its table.

    AWS: "IAM security policies with PartiQL for DynamoDB". Stock asks for `dynamodb:ExecuteStatement` on `*`, which AWS does not
    know. A batch is judged by its first statement: ours never mix verbs or tables.
    """
    action_of, tables_of = iam_actions.extract_iam_action, iam_actions.dynamodb_resource_arns

    def action(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        named = action_of(service, method, path, headers, body, query)
        if named not in ("dynamodb:ExecuteStatement", "dynamodb:BatchExecuteStatement"):
            return named
        return f"dynamodb:PartiQL{_first_statement(body).split()[0].capitalize()}"

    def tables(body: bytes, region: str, account: str) -> Any:
        named = re.search(r'(?:FROM|INTO|UPDATE)\s+"?([\w.-]+)"?', _first_statement(body), re.IGNORECASE)
        return [iam_actions._dynamodb_table_arn(named[1], region, account)] if named else tables_of(body, region, account)

    iam_actions.extract_iam_action, iam_actions.dynamodb_resource_arns = action, tables


def queue_batch_permissions() -> None:
    """A batch of messages needs the permission of the single call: `sqs:SendMessage`, not `sqs:SendMessageBatch`.

    AWS: "Actions, resources, and condition keys for Amazon SQS" knows no action for the batches; stock asks for one.
    """
    action_of = iam_actions.extract_iam_action

    def action(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        named = action_of(service, method, path, headers, body, query)
        return named.removesuffix("Batch") if service == "sqs" and named else named

    iam_actions.extract_iam_action = action


def mail_permissions() -> None:
    """Sending mail needs `ses:SendEmail` on the sender's identity; stock asks for it on `*`, which no policy for one identity grants.

    AWS: "Actions, resources, and condition keys for Amazon Simple Email Service v2" (SendEmail: identity).
    """
    resource_of = iam_actions.extract_resource_arn

    def resource(service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account: str) -> Any:
        if service == "ses" and method == "POST" and path.rstrip("/").endswith("/outbound-emails"):
            return f"arn:aws:ses:{region}:{account}:identity/{json.loads(body or b'{}').get('FromEmailAddress', '')}"
        return resource_of(service, method, path, headers, body, query, region, account)

    iam_actions.extract_resource_arn = resource


def permissions_of_schedules() -> None:
    """What is done to a schedule needs a permission on `schedule/GROUP/NAME`; stock takes every group for `default`.

    AWS: "Actions, resources, and condition keys for Amazon EventBridge Scheduler".
    """
    resource_of = iam_actions.extract_resource_arn

    def resource(service: str, method: str, path: str, headers: Any, body: bytes, query: Any, region: str, account: str) -> Any:
        named = re.fullmatch(r"/schedules/([^/]+)", path)
        if service != "scheduler" or named is None:
            return resource_of(service, method, path, headers, body, query, region, account)
        asked = (query or {}).get("groupName") or json.loads(body or b"{}").get("GroupName") or "default"
        group = asked[0] if isinstance(asked, list) else asked
        return f"arn:aws:scheduler:{region}:{account}:schedule/{group}/{named[1]}"

    iam_actions.extract_resource_arn = resource


def signatures_of_http_apis() -> None:
    """A route with IAM authorization refuses an `Authorization` that is no signature; stock lets in whoever sends any other.

    AWS: "If IAM authorization is enabled for a route, clients must use Signature Version 4 to sign their requests" (Control access to
    HTTP APIs with IAM authorization in API Gateway).
    """
    enforce = app._enforce_execute_api

    def enforced(api_id: str, stage: str, method: str, path: str, headers: dict[str, str], *rest: Any, **more: Any) -> Any:
        unsigned = not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")
        if unsigned and app._execute_api_authorization_type(api_id, stage, method, path) == "AWS_IAM":
            return 403, {"Content-Type": "application/json"}, b'{"message":"Forbidden"}'
        return enforce(api_id, stage, method, path, headers, *rest, **more)

    app._enforce_execute_api = enforced


def _first_statement(body: bytes) -> str:
    request = json.loads(body or b"{}")
    statements = request.get("Statements") or [request]
    return str(statements[0].get("Statement", ""))


def permissions_of_queue_batches() -> None:
    """`SendMessageBatch`, `DeleteMessageBatch` and `ChangeMessageVisibilityBatch` need the permission of the single call.

    AWS: "Actions, resources, and condition keys for Amazon SQS", which has no others. Stock asks for `sqs:SendMessageBatch`.
    """
    action_of = iam_actions.extract_iam_action

    def action(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        named = action_of(service, method, path, headers, body, query)
        return named.removesuffix("Batch") if str(named).startswith("sqs:") else named

    iam_actions.extract_iam_action = action


def partial_failures_of_streams() -> None:
    """A stream mapping with ReportBatchItemFailures goes on from the first failed record; stock skips all of them.

    AWS: "Lambda uses the lowest sequence number as the checkpoint" (Reporting batch item failures for Lambda with DynamoDB).
    """
    filter_records, execute = lambda_svc._apply_filter_criteria, lambda_svc._execute_function
    polled = threading.local()

    def remember(records: list[Any], mapping: dict[str, Any]) -> Any:
        kept = filter_records(records, mapping)
        polled.mapping, polled.records, polled.kept = mapping, records, kept
        return kept

    def judged(function: dict[str, Any], event: Any) -> Answer:
        answer: Answer = execute(function, event)
        records: list[Any] | None = event.get("Records") if isinstance(event, dict) else None
        kept: list[Any] = getattr(polled, "kept", [])
        if not records or records is not kept or answer.get("error"):
            return answer
        mapping = polled.mapping
        if records[0].get("eventSource") != "aws:dynamodb" or not _reports_failures(mapping):
            return answer
        numbers = [record["dynamodb"]["SequenceNumber"] for record in polled.records]
        failed = failed_items(answer.get("body"), numbers)
        if failed is None:
            return _malformed(answer)
        if not failed:
            return answer
        done = min(numbers.index(number) for number in failed)
        with lambda_svc._dynamodb_stream_positions_lock:
            lambda_svc._dynamodb_stream_positions[mapping["UUID"]] += done
        return {**answer, "error": True, "body": {"errorType": "PartialFailure", "errorMessage": f"{len(numbers) - done} records left"}}

    lambda_svc._apply_filter_criteria, lambda_svc._execute_function = remember, judged


def partial_failures_of_queues() -> None:
    """An answer that AWS calls a complete failure leaves the whole SQS batch on the queue; stock deletes it.

    AWS: "Lambda treats a batch as a complete failure if your function returns … an invalid JSON response, an empty string
    itemIdentifier, a null itemIdentifier, an itemIdentifier with a bad key name, or with a message ID that doesn't exist".
    """
    run_batch, execute = lambda_svc._run_sqs_batch, lambda_svc._execute_function
    running = threading.local()

    def run(mapping: dict[str, Any], function: dict[str, Any], event: Any, batch: list[dict[str, Any]], *rest: Any) -> Any:
        running.ids = [message["id"] for message in batch] if _reports_failures(mapping) else None
        try:
            return run_batch(mapping, function, event, batch, *rest)
        finally:
            running.ids = None

    def judged(function: dict[str, Any], event: Any) -> Answer:
        answer: Answer = execute(function, event)
        ids = getattr(running, "ids", None)
        if ids is None or answer.get("error"):
            return answer
        failed = failed_items(answer.get("body"), ids)
        if failed is None:
            return _malformed(answer)
        return {**answer, "body": {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}}

    lambda_svc._run_sqs_batch, lambda_svc._execute_function = run, judged


def updates_let_invocations_end() -> None:
    """New code is for new invocations: those under way end on the old; stock kills them, and with them jobs of `make dev`.

    AWS: "Lambda … the function's old code continues to serve invocations until the update is complete" (Lambda function states).
    """
    forget, release = lambda_svc.invalidate_worker, lambda_svc.release_worker
    retired: set[Any] = set()

    def forget_idle(name: str, **scope: Any) -> None:
        # In an except clause it is the worker of this very invocation that broke; nobody would release it.
        if sys.exc_info()[0] is None:
            with lambda_runtime._lock:
                for pool in lambda_runtime._workers.values():
                    busy = [worker for worker in pool or () if worker.in_use and worker.func_name == name]
                    retired.update(busy)
                    for worker in busy:
                        pool.remove(worker)
        forget(name, **scope)

    def release_or_end(worker: Any) -> None:
        release(worker)
        if worker in retired:
            retired.discard(worker)
            threading.Thread(target=worker.kill, daemon=True).start()

    lambda_svc.invalidate_worker, lambda_svc.release_worker = forget_idle, release_or_end


def schedules_are_filled_in() -> None:
    """A schedule's input has the time and the id of its run where it says so, and CloudFormation passes on all that it says.

    AWS: "Adding context attributes" (EventBridge Scheduler user guide). Stock hands the input over as it is, and its CloudFormation drops
    time zone, start and end. A run's time is that of an `at`, else the minute in which it fires.
    """
    invoke = eventbridge._invoke_target

    def filling_in(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> Any:
        if event.get("Source") == "aws.scheduler" and "Input" in target:
            at = scheduler._at_time_epoch(rule.get("ScheduleExpression", ""))
            due = datetime.fromtimestamp(event["Time"] // 60 * 60 if at is None else at, UTC)
            attributes = {
                "scheduled-time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "execution-id": event["EventId"],
                "schedule-arn": rule.get("Arn", ""),
                "attempt-number": "1",
            }
            for name, value in attributes.items():
                target = target | {"Input": target["Input"].replace(f"<aws.scheduler.{name}>", value)}
        return invoke(target, event, rule, view)

    eventbridge._invoke_target = filling_in

    def stored(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, str]]:
        group = properties.get("GroupName", "default")
        if f"{group}/{name}" in scheduler._schedules:
            scheduler._update_schedule(name, properties)
        else:
            scheduler._create_schedule(name, properties)
        return name, {"Arn": scheduler._schedule_arn(group, name)}

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]
    create, update = handlers["create"], handlers["update"]

    def creating(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        return stored(create(logical_id, properties, stack_name)[0], properties)

    def updating(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Any:
        return stored(update(physical_id, old, new, stack_name)[0], new)

    handlers |= {"create": creating, "update": updating}


def failed_items(body: Any, known: Collection[str]) -> list[str] | None:
    """The item identifiers that a partial batch answer names, or `None` when AWS would call the whole batch failed."""
    if isinstance(body, str) and body:
        try:
            body = json.loads(body)
        except ValueError:
            return None
    if not body:
        return []
    if not isinstance(body, dict) or not isinstance(failures := body.get("batchItemFailures") or [], list):
        return None
    named = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    return None if any(identifier not in known for identifier in named) else [str(identifier) for identifier in named]


def _reports_failures(mapping: dict[str, Any]) -> bool:
    return "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or [])


def _malformed(answer: Answer) -> Answer:
    return {**answer, "error": True, "body": {"errorType": "MalformedBatchAnswer", "errorMessage": "the whole batch failed"}}


FIXES: Final[dict[str, Callable[[], None]]] = {
    "partiql_on_the_stream": partiql_on_the_stream,
    "partiql_permissions": partiql_permissions,
    "queue_batch_permissions": queue_batch_permissions,
    "mail_permissions": mail_permissions,
    "permissions_of_queue_batches": permissions_of_queue_batches,
    "signatures_of_http_apis": signatures_of_http_apis,
    "partial_failures_of_streams": partial_failures_of_streams,
    "partial_failures_of_queues": partial_failures_of_queues,
    "updates_let_invocations_end": updates_let_invocations_end,
    "schedules_are_filled_in": schedules_are_filled_in,
    "permissions_of_schedules": permissions_of_schedules,
}


def chosen_fixes(names: str) -> list[Callable[[], None]]:
    """The fixes that `JOBLINE_LOCAL_FIXES` names; exits with a sentence when one is unknown."""
    if names in ("all", "none"):
        return list(FIXES.values()) if names == "all" else []
    unknown = set(names.split(",")) - set(FIXES)
    if unknown:
        sys.exit(f"JOBLINE_LOCAL_FIXES names unknown fixes: {', '.join(sorted(unknown))}. There are: {', '.join(FIXES)}.")
    return [FIXES[name] for name in names.split(",")]


def stop_with_stdin() -> None:
    """Ends this process when the one that started it has gone, however it went: then nobody holds the other end of our input."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    if os.environ.get("JOBLINE_STOP_WITH_STDIN"):
        stop_with_stdin()
    for fix in chosen_fixes(os.environ.get("JOBLINE_LOCAL_FIXES", "all")):
        fix()
    app.main()
