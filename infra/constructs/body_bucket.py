"""The bucket for bodies too large for the table, and for messages that nobody can read."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledgements import acknowledge
from infra.constructs.job_function import JobFunction
from infra.settings import StageSettings
from jobline.payloads import LONGEST_LIFE

BODIES: Final = "bodies/*"
UPLOADS: Final = "uploads/*"
QUARANTINE: Final = "quarantine/*"


class BodyBucket(Construct):
    """Private, encrypted, and emptied by time."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: StageSettings, key: kms.IKey | None) -> None:
        """`key` encrypts what is in it; without one S3's own key does."""
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=key,
            # One KMS call for many objects (Amazon S3 user guide, "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys").
            bucket_key_enabled=True if key else None,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=settings.tls_only,
            removal_policy=settings.removal_policy,
            lifecycle_rules=[
                s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
                # A job has a copy of its own of what was uploaded for it.
                s3.LifecycleRule(id="uploads", prefix=UPLOADS.rstrip("*"), expiration=Duration.days(1)),
                s3.LifecycleRule(id="quarantine", prefix=QUARANTINE.rstrip("*"), expiration=Duration.days(90)),
                s3.LifecycleRule(id="bodies", prefix=BODIES.rstrip("*"), expiration=Duration.days(LONGEST_LIFE.days)),
            ],
        )

        no_log = "Roles of this stack alone reach it, and links that the api signs; CloudTrail's data events tell of each access."
        acknowledge(
            self.bucket,
            {
                "AwsSolutions-S1": no_log,
                "CKV_AWS_18": no_log,
                "CKV_AWS_21": "A body is written once under a key of its own, and deleted for good: a version would outlive its job.",
            },
        )

    def allow(self, function: JobFunction, *calls: str, keys: str) -> None:
        """Lets the function make these S3 calls (`GetObject`, …) on objects whose keys fit `keys`."""
        actions = [f"s3:{call}" for call in calls]
        statement = iam.PolicyStatement(actions=actions, resources=[self.bucket.arn_for_objects(keys)])
        function.allow(statement, patterns_because="Objects under one prefix; their keys hold ids of jobs that are not yet made.")

    def allow_to_see_what_is_missing(self, function: JobFunction) -> None:
        """Lets the function tell a missing object from a forbidden one: without ListBucket S3 answers 403 for both (GetObject, S3 API)."""
        function.allow(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[self.bucket.bucket_arn]))
