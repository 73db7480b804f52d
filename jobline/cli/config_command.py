"""`jobs config`: which deployment is meant and who says so; deployments kept by name in a file."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from jobline.cli import screen
from jobline.cli.context import Given
from jobline.cli.output import As, Output, show_one
from jobline.config_file import ConfigFile
from jobline.errors import JoblineError

app = typer.Typer(rich_markup_mode=None, add_completion=False)
config = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(config, name="config")


class Setting(StrEnum):
    """What can be kept of a deployment."""

    API_URL = "api_url"
    STACK = "stack"
    REGION = "region"
    AWS_PROFILE = "aws_profile"


SettingName = Annotated[Setting, typer.Argument(metavar="SETTING", help="api_url, stack, region or aws_profile.")]
OfProfile = Annotated[str, typer.Option("--profile", help="Of which deployment; its name is yours to choose.", metavar="NAME")]


@app.callback()
def group() -> None:
    """One group."""


@config.callback(invoke_without_command=True)
def show(context: typer.Context, output: As = Output.TABLE) -> int:
    """Show which deployment is meant and why; keep it in a file.

    Without a subcommand: where each setting comes from.
    """
    if context.invoked_subcommand is not None:
        return 0
    from msgspec import json

    from jobline.discovery import find

    file = ConfigFile.of(os.environ)
    told: dict[str, Any] = {"config_file": str(file.path), "profile": file.default, "profiles": sorted(file.profiles)}
    code = 0
    try:
        found = find(**(context.obj or Given())._asdict())
    except JoblineError as error:
        told |= {"api_url": None, "problem": error.detail}
        code = 1
    else:
        told |= {"api_url": found.api_url, "source": found.source, "region": found.region, "stack": found.stack}
        told |= {"aws_profile": found.aws_profile, "aws_endpoint_url": found.endpoint_url}

    def table() -> None:
        shown = {
            "api_url": told["api_url"] or "-",
            "decided by": told.get("source"),
            "region": told.get("region"),
            "stack": told.get("stack"),
            "aws_profile": told.get("aws_profile"),
            "aws endpoint": told.get("aws_endpoint_url"),
            "problem": told.get("problem"),
            "config file": f"{file.path}{'' if file.path.exists() else ' (not there)'}",
            "profiles": ", ".join(f"{name} (default)" if name == file.default else name for name in sorted(file.profiles)) or None,
        }
        screen.show(screen.pairs_table({name: value for name, value in shown.items() if value is not None}))

    show_one(output, json.encode(told), told["api_url"] or "", table)
    return code


@config.command("set", no_args_is_help=True)
def set_(
    setting: SettingName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value.")],
    profile: OfProfile = "default",
) -> None:
    """Keep a setting of a deployment; the first deployment is the one that is meant when nothing else says so."""
    if setting is Setting.API_URL:
        from jobline.discovery import checked

        value = checked(value)
    file = ConfigFile.of(os.environ).with_setting(profile, setting.value, value)
    file.write()
    screen.write(f"{profile}.{setting.value} = {screen.plain(value)}  ({file.path})")


@config.command(no_args_is_help=True)
def unset(setting: SettingName, profile: OfProfile = "default") -> None:
    """Forget a setting of a deployment."""
    file = ConfigFile.of(os.environ)
    file.profile(profile)
    file.with_setting(profile, setting.value, None).write()
    screen.write(f"{profile}.{setting.value} is not set  ({file.path})")


@config.command(no_args_is_help=True)
def use(profile: Annotated[str, typer.Argument(metavar="NAME", help="Name of a deployment.")]) -> None:
    """Make a deployment the one that is meant when nothing else says so."""
    file = ConfigFile.of(os.environ).with_default(profile)
    file.write()
    screen.write(f"profile = {profile}  ({file.path})")
