"""The Jobline stacks of an account and region, by their CloudFormation outputs; what was found is remembered for an hour."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from jobline.api_errors import NotAllowed, NotConfigured, Unreachable

DESCRIPTION: Final = "Jobline, a job queue"
"""How every stack of ours describes itself."""
PREFIX: Final = "Jobline-"
"""Before the stage, in a stack's name."""
REMEMBERED_SECONDS: Final = 3600
_NO_ACCESS: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "InvalidClientTokenId",
        "ExpiredToken",
        "ExpiredTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "IncompleteSignature",
        "InvalidSignatureException",
    }
)


class Stack(NamedTuple):
    """One deployment, as CloudFormation knows it."""

    name: str
    region: str
    api_url: str


def find_stack(name: str | None, *, region: str | None, aws_profile: str | None) -> Stack:
    """The stack of that name or stage, or the only one. Raises NotConfigured, NotAllowed, Unreachable."""
    session = make_session(aws_profile)
    region = region or session.get_config_variable("region")
    if not region:
        raise NotConfigured("Which region is the stack in? Say --region, or set AWS_REGION.")
    memory = _Memory(f"{aws_profile or os.environ.get('AWS_PROFILE') or os.environ.get('AWS_ACCESS_KEY_ID') or ''} {region} {name or ''}")
    remembered = memory.recall()
    if remembered is not None:
        return Stack(remembered["name"], region, remembered["api_url"])
    with aws_trouble("CloudFormation"):
        client = session.create_client("cloudformation", region_name=region, config=quick())
        found = [stack for stack in our_stacks(client, region) if name is None or stack.name in (name, PREFIX + name)]
    if not found:
        wanted = f"no Jobline stack called {name}" if name else "no Jobline stack"
        raise NotConfigured(f"There is {wanted} in {region} of this account. `make deploy STAGE=dev` makes one.")
    if len(found) > 1:
        raise NotConfigured(f"There are several Jobline stacks in {region}: {', '.join(stack.name for stack in found)}. Say --stack.")
    memory.keep({"name": found[0].name, "api_url": found[0].api_url})
    return found[0]


def our_stacks(cloudformation: Any, region: str) -> list[Stack]:
    """Every Jobline stack there, by name."""
    found = []
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
            # An emulator keeps no description (ministack 1.5.33): there the name must do.
            ours = str(stack.get("Description") or "").startswith(DESCRIPTION) or (
                not stack.get("Description") and stack["StackName"].startswith(PREFIX)
            )
            if ours and "ApiUrl" in outputs:
                found.append(Stack(stack["StackName"], region, outputs["ApiUrl"]))
    return sorted(found)


def make_session(aws_profile: str | None) -> Any:
    """botocore's session. Raises NotConfigured when there is no such profile."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session(profile=aws_profile)
    try:
        session.get_scoped_config()
    except BotoCoreError as error:
        raise NotConfigured(f"AWS's own configuration cannot be used: {error}") from error
    return session


def quick() -> Any:
    """botocore's settings for a person who waits."""
    from botocore.config import Config

    return Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


@contextmanager
def aws_trouble(what: str) -> Iterator[None]:
    """Words what botocore raises. Raises NotConfigured (no credentials), NotAllowed, Unreachable."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise NotConfigured(f"AWS credentials cannot be used: {error}") from error
    except ClientError as error:
        said = error.response.get("Error", {})
        if said.get("Code") in _NO_ACCESS:
            raise NotAllowed(f"{what} refuses {error.operation_name}: {said.get('Message') or said['Code']}") from error
        raise Unreachable(f"{what} failed: {said.get('Code')}: {said.get('Message')}") from error
    except BotoCoreError as error:
        raise Unreachable(f"{what} cannot be reached: {error}") from error


class _Memory:
    """What was found for a question, kept in the folder where this system keeps what can be found again."""

    def __init__(self, question: str) -> None:
        self._question = question

    def recall(self) -> dict[str, str] | None:
        found = self._all().get(self._question)
        if not isinstance(found, dict) or not {"name", "api_url", "at"} <= found.keys():
            return None
        return found if 0 <= time.time() - found["at"] < REMEMBERED_SECONDS else None

    def keep(self, answer: dict[str, str]) -> None:
        kept = {
            key: value
            for key, value in self._all().items()
            if isinstance(value, dict) and value.get("at", 0) > time.time() - REMEMBERED_SECONDS
        }
        kept[self._question] = answer | {"at": time.time()}
        with suppress(OSError):  # it will be asked again
            path = _memory_path()
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(kept))
            os.replace(fresh, path)

    def _all(self) -> dict[str, Any]:
        try:
            said = json.loads(_memory_path().read_text())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}


def _memory_path() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("jobline") / "stacks.json"
