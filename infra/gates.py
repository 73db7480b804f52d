"""The security gates: `python -m infra.gates` runs cdk-nag, checkov and cfn-lint over the stack as it is deployed on AWS.

Each configuration is synthesized twice: as it is, when the tools must find nothing, and with the acknowledgements untold, when they must
find everything that is acknowledged. So a finding that nobody has given a reason for fails, and so does a reason for what is no
longer there. All of it works without a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from aws_cdk import App, AssetHashType, CfnResource, Stack, Validations
from aws_cdk import aws_lambda as lambda_
from cdk_nag import AwsSolutionsChecks, NagPack, ServerlessChecks

from infra.acknowledgements import ACKNOWLEDGED, UNTOLD
from infra.settings import settings_for
from infra.stack import JoblineStack
from jobline.definitions import (
    NEW_KEY,
    OPERATIONS,
    ApiAccess,
    ApiFront,
    Definitions,
    Encryption,
    Jwt,
    Monitoring,
    QueueAlarms,
    ReplyQueue,
    Vpc,
)

ROOT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = ROOT / ".gates" / "bin"


class Finding(NamedTuple):
    """A rule that a resource breaks, or is said to."""

    configuration: str
    resource: str
    """Its logical id."""
    rule: str
    what: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.configuration, self.resource, self.rule


class Synthesized(NamedTuple):
    """One configuration in `folder`, as the tools look at it."""

    app: App
    stack: Stack
    template: Path


def configurations(root: Path) -> Mapping[str, Definitions]:
    """What is looked at: stage dev as the files say, and the same with every option of the deployment switched on."""
    dev = Definitions.load(root, "dev")
    queues = {
        name: msgspec.structs.replace(queue, low_latency=not queue.ordered, alarms=QueueAlarms(dead=1))
        for name, queue in dev.queues.items()
    }
    access = ApiAccess(jwt=Jwt(issuer="https://issuer.example", audience=("jobline",)), open_health=True)
    vpc = Vpc(subnets=("subnet-0a1b2c3d",), security_groups=("sg-0a1b2c3d",))
    workers = {name: worker if name == OPERATIONS else msgspec.structs.replace(worker, vpc=vpc) for name, worker in dev.workers.items()}
    certificate = "arn:aws:acm:eu-west-1:111122223333:certificate/1234abcd"
    names = ApiFront(domain="jobs.example.com", token_domain="tokens.example.com", certificate=certificate, only_domain=True)  # noqa: S106
    monitoring = Monitoring(dashboard=True, notify=("arn:aws:sns:eu-west-1:111122223333:on-call",))
    their_queue = "arn:aws:sqs:eu-west-1:111122223333:answers"
    every_option = msgspec.structs.replace(
        dev,
        queues=queues,
        workers=workers,
        encryption=Encryption(kms_key=NEW_KEY),
        access=access,
        api=names,
        monitoring=monitoring,
        tags={"team": "billing"},
        replies={"answers": ReplyQueue(name="answers"), "theirs": ReplyQueue(name="theirs", queue=their_queue)},
    )
    return {"dev": dev, "every-option": every_option}


def synthesize(name: str, definitions: Definitions, folder: Path, *, told: bool) -> Synthesized:
    """Writes `folder`/NAME.template.json; `told`: the acknowledgements are in it."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"] | ({} if told else {UNTOLD: True})
    app = App(context=context, outdir=str(folder / f"{name}.out"))
    stack = JoblineStack(app, name, settings=settings_for(definitions.stage), definitions=definitions, code=_no_code(folder))
    return Synthesized(app, stack, folder / f"{name}.template.json")


def write_template(made: Synthesized) -> None:
    """Synthesizes the app, and puts the template where the tools are told to look."""
    assembly = made.app.synth()
    made.template.write_text(json.dumps(assembly.get_stack_artifact(made.stack.artifact_id).template, indent=1))


def nag(made: Synthesized) -> Iterator[Finding]:
    """What the packs AwsSolutions and Serverless of cdk-nag find."""
    names = {node.node.path: made.stack.get_logical_id(node) for node in made.stack.node.find_all() if isinstance(node, CfnResource)}
    packs: tuple[NagPack, ...] = (AwsSolutionsChecks(made.app), ServerlessChecks(made.app))
    for pack in packs:
        for violation in pack.validate_scope(made.app).violations:
            for resource in violation.violating_resources:
                yield Finding(made.template.name, names[str(resource.construct_path)], violation.rule_name, violation.description)


def checkov(templates: Sequence[Path]) -> list[Finding]:
    """What checkov finds."""
    files = [part for template in templates for part in ("-f", str(template))]
    said = _run("checkov", "--framework", "cloudformation", "--skip-download", "--quiet", "--compact", "-o", "json", *files)
    if said.get("summary", said)["passed"] < 1 or said.get("summary", said)["parsing_errors"]:
        sys.exit("checkov could not read the templates")
    return [
        Finding(Path(one["file_path"]).name, one["resource"].partition(".")[2], one["check_id"], one["check_name"])
        for one in said.get("results", {}).get("failed_checks", [])
    ]


def cfn_lint(templates: Sequence[Path]) -> list[Finding]:
    """What cfn-lint finds; of a template as a whole, `-` is the resource."""
    found = []
    for one in _run("cfn-lint", "--format", "json", "--template", *map(str, templates)):
        section, resource = (*map(str, one["Location"]["Path"]), "", "")[:2]
        found.append(
            Finding(Path(one["Filename"]).name, resource if section == "Resources" else "-", str(one["Rule"]["Id"]), str(one["Message"]))
        )
    return found


def acknowledged(made: Synthesized) -> Iterator[Finding]:
    """What is acknowledged in the stack, `what` being the reason."""
    for node in made.stack.node.find_all():
        for entry in node.node.metadata:
            if entry.type == ACKNOWLEDGED and isinstance(node, CfnResource):
                for rule, reason in entry.data.items():
                    yield Finding(made.template.name, made.stack.get_logical_id(node), rule, reason)


def told_otherwise(made: Synthesized) -> Iterator[Finding]:
    """What is kept from the tools in another way than `acknowledge`; the acknowledgements are untold in `made`."""
    for node in made.app.node.find_all():
        for entry in node.node.metadata:
            if entry.type == Validations.ACKNOWLEDGED_RULES_METADATA_KEY:
                yield Finding(made.template.name, node.node.path, ", ".join(entry.data))
    template = json.loads(made.template.read_text())
    for name, owner in {"-": template, **template["Resources"]}.items():
        yield from (Finding(made.template.name, name, tool) for tool in ("checkov", "cfn-lint") if tool in owner.get("Metadata", {}))


def verdict(found: Iterable[Finding], there: Iterable[Finding], said: Iterable[Finding], past: Iterable[Finding]) -> list[str]:
    """What is wrong, a line each: `found` with acknowledgements told, `there` without, `said` acknowledged, `past` told otherwise."""
    wrong = {
        f"{one.configuration}: {one.resource}: {one.rule}: {one.what} Mend it, or acknowledge it there with the reason." for one in found
    }
    known = {one.key for one in there}
    wrong |= {
        f"{one.configuration}: {one.resource} acknowledges {one.rule}, which nothing finds there (any more): take the acknowledgement out."
        for one in said
        if one.key not in known
    }
    wrong |= {
        f"{one.configuration}: {one.resource}: {one.rule} is suppressed past infra.acknowledgements: use acknowledge()." for one in past
    }
    return sorted(wrong)


def check(told: Sequence[Synthesized], untold: Sequence[Synthesized]) -> list[str]:
    """What is wrong with these configurations, once as they are and once with the acknowledgements untold."""
    for made in (*told, *untold):
        write_template(made)
    templates = [made.template for made in (*told, *untold)]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(tool, templates) for tool in (checkov, cfn_lint)]
        found = [finding for made in (*told, *untold) for finding in nag(made)]
        found += [finding for tool in running for finding in tool.result()]
    before = {made.template.name for made in told}
    return verdict(
        [one for one in found if one.configuration in before],
        [one for one in found if one.configuration not in before],
        [one for made in untold for one in acknowledged(made)],
        [one for made in untold for one in told_otherwise(made)],
    )


def main() -> None:
    """Exit status 1, and a line for each thing that is wrong."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        every = configurations(ROOT)
        told = [synthesize(name, definitions, folder, told=True) for name, definitions in every.items()]
        untold = [synthesize(f"{name}-untold", definitions, folder, told=False) for name, definitions in every.items()]
        wrong = check(told, untold)
        if wrong:
            sys.exit("\n".join([*wrong, f"The security gates found {len(wrong)} things (docs/security.md)."]))
        reasons = sum(1 for one in untold for _ in acknowledged(one))
        print(f"cdk-nag, checkov and cfn-lint find nothing in {' and '.join(every)} beyond {reasons} acknowledged findings.")


def _run(tool: str, *arguments: str) -> Any:
    """What the tool says in JSON, whatever its exit status: findings are for us to judge."""
    command = [str(TOOLS / tool), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603  our own arguments
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"{tool} failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")


def _no_code(folder: Path) -> Any:
    """Assets for functions that nobody will run: the template is the same as with theirs."""
    empty = folder / "code"
    empty.mkdir(exist_ok=True)
    (empty / "handler.py").touch()
    return lambda name: lambda_.Code.from_asset(str(empty), asset_hash=f"{name}", asset_hash_type=AssetHashType.CUSTOM)


if __name__ == "__main__":
    main()
