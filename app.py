"""The CDK app: `cdk synth -c stage=dev`. What it deploys is said by queues.toml and the worker folders, how by `infra`."""

import sys
from pathlib import Path

from aws_cdk import App

from infra.access import HEALTH
from infra.bundling import Bundles
from infra.errors import BundlingError, OpenDoor
from infra.open_doors import refuse_open_doors
from infra.report import report
from infra.settings import settings_for
from infra.stack import JoblineStack
from jobline.declared_schedules import check_jobs
from jobline.declared_topics import check_subscriptions
from jobline.definitions import Definitions
from jobline.errors import InvalidDefinitions

ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Synthesizes one stage; a mistake of the user's is one sentence on stderr and exit status 1."""
    app = App()
    stage = app.node.try_get_context("stage") or "dev"
    try:
        definitions = Definitions.load(ROOT, stage)
        settings = settings_for(stage)
        bundles = Bundles(ROOT, definitions, settings.target)
        check_jobs(definitions, bundles.types)
        check_subscriptions(definitions, bundles.types)
        JoblineStack(app, f"Jobline-{stage}", settings=settings, definitions=definitions, code=bundles.code)
        refuse_open_doors(app.synth(), allowed=[HEALTH] if definitions.access.open_health else [])
    except (InvalidDefinitions, BundlingError, OpenDoor) as error:
        sys.exit(f"jobline: {error}")
    print(report(definitions, python=settings.target.python, compiler=bundles.compiler), file=sys.stderr)


if __name__ == "__main__":
    main()
