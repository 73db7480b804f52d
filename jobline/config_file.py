"""The config file of the CLI and the Python client: deployments by name.

profile = "prod"                       # the one that is meant when nothing else says so

[profiles.prod]
stack = "Jobline-prod"                 # or api_url
region = "eu-west-1"
aws_profile = "company-prod"
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from jobline.api_errors import NotConfigured

FILE_VARIABLE: Final = "JOBS_CONFIG_FILE"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One deployment, as the file has it."""

    api_url: str | None = None
    stack: str | None = None
    region: str | None = None
    aws_profile: str | None = None


SETTINGS: Final = tuple(each.name for each in fields(Profile))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """What the file says; a file that is not there says nothing."""

    path: Path
    default: str | None = None
    """The profile that is meant when nothing else says so."""
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The file that `JOBS_CONFIG_FILE` names, else the one where this system keeps a program's settings. Raises NotConfigured."""
        return cls.read(config_path(environment))

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the file at `path` says. Raises NotConfigured, which names file and key."""
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return cls(path=path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise NotConfigured(f"{path} cannot be read: {reason}. Mend it, or remove it.") from error
        _know(path, said, ("profile", "profiles"), "")
        tables = said.get("profiles", {})
        if not isinstance(tables, dict):
            raise NotConfigured(f"{path}: profiles is not a table.")
        profiles = {name: _profile(path, name, table) for name, table in tables.items()}
        default = said.get("profile")
        if default is not None and default not in profiles:
            raise NotConfigured(f"{path}: profile is {default!r}, and there is no [profiles.{default}].")
        return cls(path=path, default=default, profiles=profiles)

    def profile(self, name: str) -> Profile:
        """The profile of that name. Raises NotConfigured."""
        try:
            return self.profiles[name]
        except KeyError:
            raise NotConfigured(f"{self.path} has no profile {name!r}; it has {', '.join(self.profiles) or 'none'}.") from None

    def with_setting(self, name: str, setting: str, value: str | None) -> Self:
        """The same with one setting of a profile changed (`None`: taken out); the first profile becomes the default one."""
        if not _NAME.fullmatch(name):
            raise NotConfigured(f"{name!r} is no name of a profile: use letters, digits, dashes and underscores, at most 64.")
        if value is not None and not value.isprintable():
            raise NotConfigured(f"{setting} cannot have control characters.")
        changed = replace(self.profiles.get(name, Profile()), **{setting: value})
        profiles = {key: profile for key, profile in (dict(self.profiles) | {name: changed}).items() if profile != Profile()}
        default = self.default if self.default in profiles else None
        return replace(self, profiles=profiles, default=default or (name if name in profiles else None))

    def with_default(self, name: str) -> Self:
        """The same with another profile as the default one. Raises NotConfigured."""
        self.profile(name)
        return replace(self, default=name)

    def write(self) -> None:
        """Puts the file in the place of the old one, whole or not at all. Raises NotConfigured."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.path.parent, delete=False) as fresh:
                fresh.write(self._text())
            os.replace(fresh.name, self.path)
        except OSError as error:
            raise NotConfigured(f"{self.path} cannot be written: {error.strerror}.") from error

    def _text(self) -> str:
        lines = [] if self.default is None else [f"profile = {_toml(self.default)}"]
        for name, profile in sorted(self.profiles.items()):
            lines += ["", f"[profiles.{name}]"]
            lines += [f"{key} = {_toml(value)}" for key in SETTINGS if (value := getattr(profile, key)) is not None]
        return "\n".join(lines).lstrip("\n") + "\n"


def config_path(environment: Mapping[str, str]) -> Path:
    """Where the file is, or would be."""
    if named := environment.get(FILE_VARIABLE):
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("jobline") / "config.toml"


def _profile(path: Path, name: str, table: Any) -> Profile:
    key = f"profiles.{name}"
    if not isinstance(table, dict):
        raise NotConfigured(f"{path}: {key} is not a table.")
    _know(path, table, SETTINGS, key)
    for setting, value in table.items():
        if not isinstance(value, str) or not value:
            raise NotConfigured(f"{path}: {key}.{setting} is not a text.")
    return Profile(**table)


def _know(path: Path, table: Mapping[str, Any], known: tuple[str, ...], key: str) -> None:
    for name in table:
        if name not in known:
            raise NotConfigured(f"{path}: {f'{key}.' if key else ''}{name} is no setting; there are {', '.join(known)}.")


def _toml(value: str) -> str:
    """A text as TOML has it: what JSON writes is a basic string of TOML, control characters apart, which no value has."""
    return json.dumps(value, ensure_ascii=False)
