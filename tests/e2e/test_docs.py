"""The documentation's commands, run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from jobline.local_aws import ACCOUNT, REGION, ROOT
from jobline.local_stack import CDK, LocalStack
from tests.e2e.client import Client
from tests.e2e.test_readme import run_line, words

DOCS = ROOT / "docs"
NOT_RUN_HERE = {
    "make demo": "test_commands runs it",
    "make dev": "test_commands runs it",
    ".venv/bin/cdk bootstrap aws://111122223333/eu-west-1": "needs an AWS account; the local AWS is bootstrapped by the same command",
    "make deploy STAGE=dev": "needs an AWS account; the same app is deployed into the local AWS",
    "make deploy STAGE=prod": "the same",
    "make destroy STAGE=dev": "the same",
    ".venv/bin/jobs --stack Jobline-prod queues": "the same; the local API's name is one that many resolvers do not know",
    "git remote add jobline ADDRESS-OF-JOBLINE": "is about the adopter's own repository",
    "git fetch jobline": "the same",
    "git merge jobline/main": "the same",
}
"""Lines that no test here runs, and why not."""


def shell_lines(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for fence in fences for line in fence.splitlines() if words(line)]


PAGES = sorted(page for page in DOCS.glob("**/*.md") if shell_lines(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_s_commands_do_what_they_say(client: Client, page: Path) -> None:
    for line in shell_lines(page):
        if " ".join(words(line)) in NOT_RUN_HERE:
            continue
        assert words(line)[0] == ".venv/bin/jobs", f"{page.name}: no test runs {line}"
        ran = run_line(line, ROOT, JOBS_API_URL=client.url)
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
        assert ran.stdout + ran.stderr, f"{line} says nothing"


def test_every_line_that_is_left_out_is_still_written_somewhere() -> None:
    written = {" ".join(words(line)) for page in PAGES for line in shell_lines(page)}
    assert written >= set(NOT_RUN_HERE)


def policies(page: Path) -> list[dict[str, object]]:
    """The IAM policies that a page shows, for this AWS's account and region."""
    fences = re.findall(r"^```json\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = [json.loads(fence.replace("ACCOUNT", ACCOUNT).replace("REGION", REGION)) for fence in fences]
    return [policy for policy in shown if "Statement" in policy]


def test_a_deployer_with_the_policy_of_the_guide_can_deploy_and_one_without_cannot(stack: LocalStack) -> None:
    iam, policy = stack.client("iam"), policies(DOCS / "deploy.md")[0]
    iam.create_user(UserName="deployer")
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    theirs = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    environment = stack.aws.environment() | theirs | {"PATH": f"{CDK.parent}:{os.environ['PATH']}", "CDK_DISABLE_CLI_TELEMETRY": "true"}
    # What the fixture synthesized and deployed: the same once more.
    made = str(stack.aws.state / "cdk.out")
    command = [str(CDK), "deploy", "--all", "--app", made, "--require-approval", "never", "--no-notices", "--no-color"]

    refused = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0, refused.stderr

    iam.put_user_policy(UserName="deployer", PolicyName="deploy", PolicyDocument=json.dumps(policy))
    deployed = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert deployed.returncode == 0, deployed.stderr
    # Where CI is set, the CDK writes to standard output what it else writes to standard error.
    assert "no changes" in deployed.stdout + deployed.stderr
