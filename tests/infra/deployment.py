"""The stack as tests look at it: synthesized from the checkout's own files and context, with stand-ins for the assets."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from aws_cdk import App, AssetHashType
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

from infra.settings import settings_for
from infra.stack import JoblineStack
from jobline.definitions import Definitions

ROOT: Final = Path(__file__).resolve().parents[2]


def no_code(function: str) -> lambda_.Code:
    """An asset that depends on nothing: template tests do not read it."""
    folder = Path(mkdtemp())
    (folder / "handler.py").write_text("")
    return lambda_.Code.from_asset(str(folder), asset_hash=f"asset-of-{function}", asset_hash_type=AssetHashType.CUSTOM)


def stack(stage: str, definitions: Definitions | None = None) -> JoblineStack:
    """The stack of one stage in an app of its own."""
    # Without the checkout's context another template would be tested than the one that is deployed.
    app = App(context=json.loads((ROOT / "cdk.json").read_text())["context"], outdir=mkdtemp())
    found = definitions or Definitions.load(ROOT, stage)
    return JoblineStack(app, f"Jobline-{stage}", settings=settings_for(stage), definitions=found, code=no_code)


@cache
def template(stage: str) -> dict[str, Any]:
    """The template of one stage; read, never changed."""
    return dict(Template.from_stack(stack(stage)).to_json())
