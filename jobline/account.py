"""The AWS account that one deployment is in, for the tools that look behind its API: CloudFormation, Lambda, SQS, logs."""

from __future__ import annotations

from typing import Any, NamedTuple

from jobline.api_errors import NotConfigured
from jobline.discovery import Place
from jobline.stacks import aws_trouble, make_session, our_stacks, quick


class Resource(NamedTuple):
    """One resource of the stack."""

    logical_id: str
    physical_id: str
    type: str


class Account:
    """Clients of the account and region of one deployment, and what its stack has. Every call may raise what `aws_trouble` does."""

    def __init__(self, place: Place) -> None:
        if not place.region:
            raise NotConfigured(f"Which region is {place.api_url} in? Say --region, or set AWS_REGION.")
        self.place = place
        self._session = make_session(place.aws_profile)
        self._clients: dict[str, Any] = {}
        self._stack: dict[str, Any] | None = None

    def client(self, service: str) -> Any:
        """A botocore client, made once; a local deployment's speaks to the local AWS as its root."""
        if service not in self._clients:
            options: dict[str, Any] = {"region_name": self.place.region, "config": quick()}
            if self.place.local:
                from jobline.local_aws import ACCOUNT, SECRET

                options |= {"endpoint_url": self.place.endpoint_url, "aws_access_key_id": ACCOUNT, "aws_secret_access_key": SECRET}
            with aws_trouble(service):
                self._clients[service] = self._session.create_client(service, **options)
        return self._clients[service]

    @property
    def stack(self) -> str:
        """The stack's name. Raises NotConfigured when no stack of this account and region is this deployment's."""
        return str(self._described()["StackName"])

    @property
    def stage(self) -> str:
        """The stage that the stack is of: the end of its name."""
        return self.stack.partition("-")[2] or self.stack

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        return {each["OutputKey"]: each["OutputValue"] for each in self._described().get("Outputs", ())}

    @property
    def stack_id(self) -> str:
        return str(self._described()["StackId"])

    def resources(self, type: str) -> list[Resource]:
        """Those of the stack's resources that are of this CloudFormation type, by their logical ids."""
        found = []
        with aws_trouble("CloudFormation"):
            for page in self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.stack):
                for each in page["StackResourceSummaries"]:
                    if each["ResourceType"] == type and each.get("PhysicalResourceId"):
                        found.append(Resource(each["LogicalResourceId"], each["PhysicalResourceId"], type))
        return sorted(found)

    def functions(self) -> dict[str, dict[str, Any]]:
        """Lambda's configuration of each function, by our name for it (`api`, `relay`, a worker's folder)."""
        found = {}
        for resource in self.resources("AWS::Lambda::Function"):
            with aws_trouble("Lambda"):
                configuration = self.client("lambda").get_function_configuration(FunctionName=resource.physical_id)
            name = configuration.get("Environment", {}).get("Variables", {}).get("POWERTOOLS_SERVICE_NAME")
            if name:
                found[name] = configuration
        return found

    def _described(self) -> dict[str, Any]:
        if self._stack is None:
            with aws_trouble("CloudFormation"):
                client = self.client("cloudformation")
                name = self.place.stack or self._name_by_url(client)
                self._stack = client.describe_stacks(StackName=name)["Stacks"][0]
        return self._stack

    def _name_by_url(self, cloudformation: Any) -> str:
        stacks = our_stacks(cloudformation, self.place.region)
        # A local API answers under another host than its output says; its id is in both.
        api = self.place.api_url.rpartition("/")[2] if self.place.local else self.place.api_url
        for stack in stacks:
            if stack.api_url == api or (self.place.local and f"//{api}." in stack.api_url):
                return stack.name
        if len(stacks) == 1 and not self.place.local:
            return stacks[0].name  # behind a domain of one's own
        raise NotConfigured(f"No Jobline stack in {self.place.region} has the API {self.place.api_url}: say --stack.")
