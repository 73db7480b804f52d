"""Which deployment is meant, and where it is. The first that says so decides:

what the caller gives (a URL, a profile, a stack), then `JOBS_API_URL`, `JOBS_PROFILE`, `JOBS_STACK`, then the note
`.jobline/local.json` that `make dev` leaves, looked for from the working folder upwards, then the profile that the config file
names, then the only Jobline stack of the account and region.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jobline.api_errors import NotConfigured

URL_VARIABLE: Final = "JOBS_API_URL"
PROFILE_VARIABLE: Final = "JOBS_PROFILE"
STACK_VARIABLE: Final = "JOBS_STACK"
NOTE: Final = Path(".jobline") / "local.json"

_REGION: Final = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$")
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1|.*\.localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one deployment is, and who said so."""

    api_url: str
    region: str
    """Empty where nothing says it; a token needs none."""
    source: str
    """What decided: `--api-url`, `JOBS_API_URL`, the note's path, …"""
    named: bool = True
    """Whether somebody named it; it was not just found on this machine or in this account."""
    stack: str | None = None
    """Its CloudFormation stack, where that is known."""
    aws_profile: str | None = None
    """The profile of AWS's own tools whose credentials are used; `None`: whatever they would use."""
    console_url: str | None = None
    """Its web console, if it has one."""

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(self.api_url)

    @property
    def endpoint_url(self) -> str | None:
        """Where the AWS is in which it runs; `None`: where AWS is."""
        parts = urlsplit(self.api_url)
        return f"{parts.scheme}://{parts.netloc}" if self.local else None


def find(
    *,
    api_url: str | None = None,
    profile: str | None = None,
    stack: str | None = None,
    region: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Place:
    """The deployment that is meant. Raises NotConfigured."""
    environment = os.environ if environment is None else environment
    asked = (
        ("--api-url", api_url, "--profile", profile, "--stack", stack),
        (
            URL_VARIABLE,
            environment.get(URL_VARIABLE),
            PROFILE_VARIABLE,
            environment.get(PROFILE_VARIABLE),
            STACK_VARIABLE,
            environment.get(STACK_VARIABLE),
        ),
    )
    for by_url, url, by_profile, name, by_stack, of_stack in asked:
        if url:
            return _at(url, region, environment, source=by_url)
        if name:
            return _of_profile(name, region, environment, source=f"{by_profile} {name}")
        if of_stack:
            return _of_stack(of_stack, region, environment, source=f"{by_stack} {of_stack}")
    noted = _noted(folder or Path.cwd())
    if noted is not None:
        return noted
    return _of_config(region, environment) or _of_only_stack(region, environment)


def is_loopback(url: str) -> bool:
    """Whether the URL is of this machine."""
    return bool(_LOOPBACK.fullmatch(host_of(url)))


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def checked(url: str) -> str:
    """The URL without a slash at its end. Raises NotConfigured."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read to be checked: a port that is no number raises
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", url):
        raise NotConfigured(f"{url!r} is not the URL of an API; it looks like https://abc123.execute-api.eu-west-1.amazonaws.com")
    return url.rstrip("/")


def _at(url: str, region: str | None, environment: Mapping[str, str], *, source: str, **more: Any) -> Place:
    url = checked(url)
    if is_loopback(url):
        from jobline.local_aws import REGION

        return Place(api_url=url, region=REGION, source=source, **more)
    named = _REGION.search(host_of(url))
    known = (named[1] if named else None) or region or _region_of(environment)
    return Place(api_url=url, region=known or "", source=source, **more)


def _noted(folder: Path) -> Place | None:
    """What the nearest note says; `None` when there is none."""
    for place in (folder, *folder.parents):
        note = place / NOTE
        try:
            said = json.loads(note.read_text())
            url = said["api_url"]
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotConfigured(f"{note} cannot be read ({error}). Start `make dev` anew, or give the API's URL.") from error
        # Whoever can leave a file in a folder above this one must not say where our jobs go.
        if not isinstance(url, str) or not is_loopback(checked(url)):
            raise NotConfigured(f"{note} names {url!r}, which is not on this machine. Give that URL by {URL_VARIABLE} if you mean it.")
        stack, console = said.get("stack"), said.get("console_url")
        return _at(
            url,
            None,
            {},
            source=str(note),
            named=False,
            stack=stack if isinstance(stack, str) else None,
            console_url=console if isinstance(console, str) and is_loopback(console) else None,
        )
    return None


def _of_profile(name: str, region: str | None, environment: Mapping[str, str], *, source: str) -> Place:
    from jobline.config_file import ConfigFile

    profile = ConfigFile.of(environment).profile(name)
    region = region or profile.region
    if profile.api_url:
        return _at(profile.api_url, region, environment, source=source, stack=profile.stack, aws_profile=profile.aws_profile)
    if profile.stack:
        return _of_stack(profile.stack, region, environment, source=source, aws_profile=profile.aws_profile)
    raise NotConfigured(f"The profile {name!r} names neither api_url nor stack: `jobs config set stack Jobline-dev --profile {name}`.")


def _of_config(region: str | None, environment: Mapping[str, str]) -> Place | None:
    from jobline.config_file import ConfigFile

    file = ConfigFile.of(environment)
    return _of_profile(file.default, region, environment, source=f"{file.path} (profile {file.default})") if file.default else None


def _of_stack(name: str, region: str | None, environment: Mapping[str, str], *, source: str, aws_profile: str | None = None) -> Place:
    from jobline.stacks import find_stack

    found = find_stack(name, region=region or _region_of(environment), aws_profile=aws_profile)
    return _at(found.api_url, found.region, environment, source=source, stack=found.name, aws_profile=aws_profile)


def _of_only_stack(region: str | None, environment: Mapping[str, str]) -> Place:
    region = region or _region_of(environment)
    if region is None:
        raise NotConfigured(
            f"Which API? Give its URL (the output ApiUrl) by --api-url or {URL_VARIABLE}, its stack by --stack or {STACK_VARIABLE},"
            " keep it with `jobs config set`, or run `make dev` and call from its checkout."
        )
    from jobline.stacks import find_stack

    found = find_stack(None, region=region, aws_profile=None)
    return _at(found.api_url, found.region, environment, source=f"the only Jobline stack in {region}", named=False, stack=found.name)


def _region_of(environment: Mapping[str, str]) -> str | None:
    """What AWS's own tools take; botocore knows only the second name."""
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
