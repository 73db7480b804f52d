"""What a stage decides about the deployment: the one place that knows how `stage=local` differs from AWS."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_lambda as lambda_

from infra.wheels import Target

LOCAL: Final = "local"
PYTHON_ON_AWS: Final = "3.13"
PLATFORM_ON_AWS: Final = "aarch64-manylinux_2_28"
"""python3.13 runs on Amazon Linux 2023 (glibc 2.34); wheels for 2.28 and older run there. Pillow 13 has none for manylinux2014."""


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is deployed."""

    stage: str
    keeps_data: bool
    """Whether table and bucket outlive the stack, and the table can be restored to any second of the last 35 days."""
    tls_only: bool
    """Whether resource policies refuse plain HTTP; the local AWS speaks nothing else."""
    has_account: bool
    """Whether the domains, certificates and networks that the files name are there; the local AWS has none of them."""
    architecture: lambda_.Architecture
    target: Target
    """The Python and the platform that wheels and byte code are for."""

    @property
    def runtime(self) -> lambda_.Runtime:
        return lambda_.Runtime(f"python{self.target.python}", lambda_.RuntimeFamily.PYTHON)

    @property
    def removal_policy(self) -> RemovalPolicy:
        """What happens to table and bucket when the stack is deleted."""
        return RemovalPolicy.RETAIN if self.keeps_data else RemovalPolicy.DESTROY


def settings_for(stage: str) -> StageSettings:
    """The settings of `stage`; every stage but `local` runs on AWS and keeps its data."""
    if stage == LOCAL:
        arm = platform.machine() in {"arm64", "aarch64"}
        return StageSettings(
            stage=stage,
            keeps_data=False,
            tls_only=False,
            has_account=False,
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            target=Target(python=f"{sys.version_info.major}.{sys.version_info.minor}", platform=None),
        )
    return StageSettings(
        stage=stage,
        keeps_data=True,
        tls_only=True,
        has_account=True,
        architecture=lambda_.Architecture.ARM_64,
        target=Target(python=PYTHON_ON_AWS, platform=PLATFORM_ON_AWS),
    )
