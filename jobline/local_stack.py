"""The stack in the local AWS: the real `cdk bootstrap` and `cdk deploy`, and the note of where everything is.

The note, `local.json`, says `api_url`, `console_url`, `aws_endpoint_url`, `region`, `stack`, `port` and `pid`; `.jobline/local.json` is
where the CLI looks for the deployment that `make dev` leaves running.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from jobline.definitions import Definitions
from jobline.local_aws import ACCOUNT, REGION, ROOT, SECRET, LocalAws, LocalAwsError
from jobline.settings import WORKER
from jobline.telling import SIGNING_SECRET

STAGE: Final = "local"
DEPLOY_OPTIONS: Final = ("--require-approval", "never", "--context", f"stage={STAGE}", "--progress", "events")
CDK: Final = ROOT / ".venv" / "bin" / "cdk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What `local.json` says of the stack that is deployed."""

    api_url: str
    """Works with any HTTP client as it stands: no name that only some resolvers know."""
    console_url: str | None
    aws_endpoint_url: str
    region: str
    stack: str
    port: int
    pid: int
    """ministack's process."""


def signing_key(text: str) -> str:
    """A key of the Standard Webhooks specification that is made of this text."""
    return f"whsec_{b64encode(text.encode()).decode()}"


class LocalStack:
    """The Jobline stack in one local AWS. Raises `LocalAwsError` with the end of the CDK's output when a command fails.

    `note` is where the note is written, by default into the state folder of the AWS.
    """

    def __init__(self, aws: LocalAws, *, note: Path | None = None) -> None:
        self.aws = aws
        self.note = note or aws.state / "local.json"
        self.log = aws.state / "cdk.log"
        self._outputs = aws.state / "outputs.json"

    def bootstrap(self) -> None:
        """What `cdk deploy` needs in an account: the bucket for assets, and its roles."""
        # In a folder without a cdk.json, so that the app is not synthesised for nothing.
        self._cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=self.aws.state)
        # The bucket lets in requests over TLS only, and this AWS speaks plain HTTP.
        self.client("s3").delete_bucket_policy(Bucket=f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}")

    def deploy(self) -> Deployment:
        """Deploys, or brings up to date; writes and returns the note."""
        self._cdk("deploy", "--all", *DEPLOY_OPTIONS, "--outputs-file", str(self._outputs), "--output", str(self.aws.state / "cdk.out"))
        [(stack, outputs)] = json.loads(self._outputs.read_text()).items()
        self._verify_senders()
        self._make_secrets()
        deployment = Deployment(
            api_url=self._any_client_url(outputs["ApiUrl"]),
            console_url=None,
            aws_endpoint_url=self.aws.endpoint_url,
            region=REGION,
            stack=stack,
            port=self.aws.port,
            pid=self.aws.pid or 0,
        )
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps(asdict(deployment), indent=2) + "\n")
        return deployment

    def deployment(self) -> Deployment:
        """What the last `deploy` noted."""
        return Deployment(**json.loads(self.note.read_text()))

    def outputs(self) -> dict[str, str]:
        """The stack's outputs as the last `deploy` gave them: `ApiUrl`, `TableName`, `BucketName`, the ARNs of the policies."""
        [outputs] = json.loads(self._outputs.read_text()).values()
        return dict(outputs)

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client for this AWS, whatever the environment says; `config` goes to botocore's `Config`."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # any service name; the stubs know literals only
            endpoint_url=self.aws.endpoint_url,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key=SECRET,
            config=Config(**config),
        )

    def _verify_senders(self) -> None:
        """SES sends for verified addresses only; what is a click on a link there is done here for every worker's SENDER."""
        workers = Definitions.load(ROOT, STAGE).workers.values()
        ses = self.client("sesv2")
        for sender in {worker.environment["SENDER"] for worker in workers if "SENDER" in worker.environment}:
            with contextlib.suppress(ses.exceptions.AlreadyExistsException):
                ses.create_email_identity(EmailIdentity=sender)

    def _make_secrets(self) -> None:
        """Every secret of this AWS that a worker names; whoever changes one finds it changed next time too.

        Its text is its own name; of the key by which callbacks are signed, that name as such a key is written.
        """
        workers = Definitions.load(ROOT, STAGE).workers.values()
        manager, ours = self.client("secretsmanager"), f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
        named = {(secret == SIGNING_SECRET, arn) for worker in workers for secret, arn in worker.secrets.items()}
        for signs, arn in {(signs, arn) for signs, arn in named if arn.startswith(ours)}:
            name = arn.removeprefix(ours)
            with contextlib.suppress(manager.exceptions.ResourceExistsException):
                manager.create_secret(Name=name, SecretString=signing_key(name) if signs else name)

    def configure(self, worker: str, **settings: str) -> None:
        """Gives a worker's function other settings than `worker.toml` says, until the next deployment that changes it."""
        functions = self.client("lambda")
        pages = functions.get_paginator("list_functions").paginate()
        for function in (function for page in pages for function in page["Functions"]):
            environment = function.get("Environment", {}).get("Variables", {})
            if environment.get(WORKER) == worker:
                name = function["FunctionName"]
                functions.update_function_configuration(FunctionName=name, Environment={"Variables": environment | settings})

    def _any_client_url(self, url: str) -> str:
        """ministack's output names `API_ID.execute-api.localhost`, which many resolvers do not know; the same API under `localhost`."""
        api_id = (urlsplit(url).hostname or "").split(".")[0]
        return f"http://localhost:{self.aws.port}/_aws/execute-api/{api_id}"

    def _cdk(self, *command: str, folder: Path = ROOT) -> None:
        environment = _tools(self.aws.environment())
        with self.log.open("ab") as log:
            done = subprocess.run(  # noqa: S603  our own arguments
                [CDK, *command, "--no-notices", "--no-color"], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if done.returncode:
            raise LocalAwsError(f"`cdk {command[0]}` failed; {self.log} ends with:\n{_tail(self.log)}")


def _tools(environment: dict[str, str]) -> dict[str, str]:
    """The environment with .venv's programs first on PATH (node, cdk, python for the app of `cdk.json`)."""
    # Without byte code the app takes twice as long to start, each time.
    kept = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PATH": f"{CDK.parent}:{environment.get('PATH', '')}", "CDK_DISABLE_CLI_TELEMETRY": "true"}


def _tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
