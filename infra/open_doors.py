"""No door of a deployment stands open: a template with a way in for anybody is refused, however it came there.

What is read is the templates as they were written, so overrides, imported templates and constructs of others are seen too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aws_cdk import cx_api

from infra.errors import OpenDoor

_IDENTIFIES: Final = ("AWS_IAM", "JWT", "CUSTOM", "COGNITO_USER_POOLS")
"""Authorization types that ask who calls; a value that only the deploy knows is none of them."""
_FUNCTION_URL: Final = ("AWS_IAM",)
_IMPORTED: Final = ("Body", "BodyS3Location", "RouteKey", "Target")


def refuse_open_doors(assembly: cx_api.CloudAssembly, *, allowed: Collection[str] = ()) -> None:
    """Raises OpenDoor, which names each, when a stack lets anybody call anything but the routes that are `allowed` (`GET /health`)."""
    paths = [path for stack in assembly.stacks_recursively for path in _templates(stack)]
    if found := [door for path in paths for door in _in_file(path, allowed)]:
        raise OpenDoor("; ".join(found) + ". Whoever calls must be asked who they are: see docs/access.md")


def _templates(stack: cx_api.CloudFormationStackArtifact) -> set[Path]:
    """The stack's own template and those nested in it, which are among its assets."""
    own = Path(stack.template_full_path)
    manifest = own.parent / f"{stack.id}.assets.json"
    assets = json.loads(manifest.read_text(encoding="utf-8"))["files"].values() if manifest.exists() else ()
    sources = {asset["source"].get("path", "") for asset in assets}
    return {own, *(own.parent / source for source in sources if source.endswith(".template.json"))}


def _in_file(path: Path, allowed: Collection[str]) -> Iterator[str]:
    for name, resource in json.loads(path.read_text(encoding="utf-8")).get("Resources", {}).items():
        properties = resource.get("Properties", {})
        if look := _LOOKS.get(resource["Type"]):
            yield from look(name, properties, allowed)


def _route(name: str, route: Mapping[str, Any], allowed: Collection[str]) -> Iterator[str]:
    if route.get("AuthorizationType") not in _IDENTIFIES and route.get("RouteKey") not in allowed:
        yield f"the route {route.get('RouteKey')} ({name}) has no authorization"


def _method(name: str, method: Mapping[str, Any], _allowed: Collection[str]) -> Iterator[str]:
    if method.get("AuthorizationType") not in _IDENTIFIES:
        yield f"the method {method.get('HttpMethod')} of a REST API ({name}) has no authorization"


def _api(name: str, api: Mapping[str, Any], _allowed: Collection[str]) -> Iterator[str]:
    if imported := [one for one in _IMPORTED if one in api]:
        yield f"the API {name} gets routes by {imported[0]}, where nobody sees whether they have an authorization"


def _function_url(name: str, url: Mapping[str, Any], _allowed: Collection[str]) -> Iterator[str]:
    if url.get("AuthType") not in _FUNCTION_URL:
        yield f"the function URL {name} has no authorization"


def _permission(name: str, permission: Mapping[str, Any], _allowed: Collection[str]) -> Iterator[str]:
    if permission.get("Principal") == "*" and permission.get("FunctionUrlAuthType") not in _FUNCTION_URL:
        yield f"the permission {name} lets anybody call a function"


_LOOKS: Final[Mapping[str, Callable[[str, Mapping[str, Any], Collection[str]], Iterator[str]]]] = {
    "AWS::ApiGatewayV2::Route": _route,
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGateway::Method": _method,
    "AWS::ApiGateway::RestApi": _api,
    "AWS::Lambda::Url": _function_url,
    "AWS::Lambda::Permission": _permission,
}
