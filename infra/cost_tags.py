"""The tags by which a bill can be split: of the stage everywhere, of a queue and of a worker on what costs money for them.

Those of the stack are handed to CloudFormation, which puts them on every resource that takes tags: the template stays readable.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Tags
from constructs import IConstruct

from jobline.definitions import Definitions

STAGE: Final = "jobline:stage"
QUEUE: Final = "jobline:queue"
WORKER: Final = "jobline:worker"
_COSTS: Final = ["AWS::SQS::Queue", "AWS::Lambda::Function", "AWS::Logs::LogGroup"]


def stack_tags(definitions: Definitions) -> dict[str, str]:
    """The tags of every resource: the adopter's own, and the stage."""
    return {**definitions.tags, STAGE: definitions.stage}


def tag(construct: IConstruct, key: str, value: str) -> None:
    """Puts the tag on those resources of the construct that have a line on the bill."""
    Tags.of(construct).add(key, value, include_resource_types=_COSTS)
