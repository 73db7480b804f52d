"""Bodies: payloads and results, as JSON text, where their size puts them.

Small ones ride in the record; larger ones are an item of their own, written once, so that no transition pays for them again;
the largest are objects in S3. A reference says where, and carries a checksum that is checked on every read.

A body belongs to one record for good: the observer removes it when that record stops naming it, and may be late. So no key is ever
used for two writes, and whoever wants the same body in another record puts it away again.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from jobline.aws import aws_errors
from jobline.errors import CorruptRecord, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

INLINE_LIMIT = 400
"""Bytes of payload (and, again, of result) that still let a whole record stay within one write unit of 1 KB."""
ITEM_LIMIT = 100 * 1024
"""Bytes above which a body goes to S3 instead of an item of its own."""
LONGEST_LIFE = timedelta(days=12 * 365)
"""What a crash between a body and its record leaves behind goes after this. No shorter, since a body is written once, before its
job's life: a job may be due in a year and be kept for ten."""

UPLOADS: Final = "uploads/"
"""Keys of objects that clients put themselves begin so; they go after a day or two, used or not."""
LARGEST_UPLOAD: Final = 100_000_000
"""Bytes of a payload that is uploaded."""
_JSON: Final = "application/json"

Kind = Literal["payload", "result"]
_LONGEST_KEY = 1024
"""Bytes of an S3 key (Amazon S3 user guide, "Naming Amazon S3 objects"); DynamoDB takes twice that."""


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a body is kept: exactly one of `item` (a key of the table) and `object` (a key of the bucket)."""

    sha256: str
    size: int
    item: str | None = None
    object: str | None = None

    def is_of(self, job_id: str) -> bool:
        """Whether this names a body of that job, and nothing else in the table or the bucket."""
        key = self.item or self.object or ""
        own = (f"{job_id}#payload#", f"{job_id}#result#") if self.item else (f"bodies/{job_id}/",)
        return key.startswith(own) and len(key.encode()) <= _LONGEST_KEY and not (self.item and self.object)


def reference_of(text: str) -> Reference:
    """What a record's reference (JSON text) says; raises `CorruptRecord`."""
    try:
        return msgspec.json.decode(text, type=Reference)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"{text[:200]!r} is no reference to a body: {error}") from error


class NoSuchBody(Exception):
    """There is nothing to copy under this key."""


class Placed(NamedTuple):
    """A body as the record holds it: its text, or the reference to it (JSON text); `None` is the other one."""

    inline: str | None
    reference: str | None


class Bodies:
    """Puts bodies away and brings them back."""

    def __init__(
        self, dynamodb: DynamoDBClient, table: str, s3: Callable[[], S3Client], bucket: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`s3()` gives the S3 client; it is asked only for a body that needs one, since making a client costs a cold start dear.

        `clock()` tells the epoch second.
        """
        self._dynamodb = dynamodb
        self._table = table
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock

    def put(self, job_id: str, kind: Kind, text: str, *, version: str) -> Placed:
        """Puts `text` where its size belongs; called before the write that refers to it.

        `version` tells this write from every other of that job and kind, ever; repeating a put whose answer was lost overwrites the
        body with itself.
        """
        data = text.encode()
        if len(data) <= INLINE_LIMIT:
            return Placed(text, None)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{kind}#{version}#{digest[:16]}"
        if len(data) <= ITEM_LIMIT:
            reference = Reference(sha256=digest, size=len(data), item=f"{job_id}#{name}")
            with aws_errors(f"storing a {kind}"):
                ends = int(self._clock() + LONGEST_LIFE.total_seconds())
                item = {"id": {"S": reference.item or ""}, "body": {"S": text}, "ttl": {"N": str(ends)}}
                self._dynamodb.put_item(TableName=self._table, Item=item)
        else:
            reference = Reference(sha256=digest, size=len(data), object=_object_key(job_id, name))
            with aws_errors(f"storing a {kind}"):
                self._s3().put_object(Bucket=self._bucket, Key=reference.object or "", Body=data, ContentType=_JSON)
        return Placed(None, msgspec.json.encode(reference).decode())

    def copy(self, job_id: str, kind: Kind, source: Reference, *, version: str = "") -> Placed:
        """Gives the job a copy of its own of a body that is kept in S3: what happens to the source later is not its business.

        Raises `NoSuchBody` when the source is gone.
        """
        name = f"{kind}#{version}{source.sha256[:16]}"
        reference = Reference(sha256=source.sha256, size=source.size, object=_object_key(job_id, name))
        client = self._s3()
        try:
            with aws_errors(f"copying a {kind}"):
                client.copy_object(
                    Bucket=self._bucket, Key=reference.object or "", CopySource={"Bucket": self._bucket, "Key": source.object or ""}
                )
        except client.exceptions.NoSuchKey as error:
            raise NoSuchBody(source.object or "") from error
        return Placed(None, msgspec.json.encode(reference).decode())

    def upload_link(self, upload_id: str, *, size: int, sha256: str, seconds: int) -> tuple[str, dict[str, str]]:
        """A presigned URL for one PUT of so many bytes with that SHA-256, and the headers to send with it. Makes no call.

        S3 refuses any other content: length and checksum are signed (PutObject, Amazon S3 API reference).
        """
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        named: dict[str, Any] = {"Bucket": self._bucket, "Key": UPLOADS + upload_id, "ContentType": _JSON}
        named |= {"ContentLength": size, "ChecksumSHA256": checksum}
        url = self._s3().generate_presigned_url(ClientMethod="put_object", Params=named, ExpiresIn=seconds)
        return url, {"Content-Type": _JSON, "Content-Length": str(size), "x-amz-checksum-sha256": checksum}

    def uploaded(self, upload_id: str) -> Reference | None:
        """What was uploaded under this id; `None` when nothing was, or S3 did not check its content on arrival."""
        client = self._s3()
        try:
            with aws_errors("looking for an upload"):
                head = client.head_object(Bucket=self._bucket, Key=UPLOADS + upload_id, ChecksumMode="ENABLED")
        except ClientError as error:
            # HeadObject has no body to name the error in; botocore names it by its status.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        checksum = head.get("ChecksumSHA256", "")
        if not checksum:
            return None
        return Reference(sha256=base64.b64decode(checksum).hex(), size=head["ContentLength"], object=UPLOADS + upload_id)

    def load(self, inline: str | None, reference: str | None) -> str | None:
        """The body's text, from the record or from where it is kept; `None` when there is none.

        Raises `CorruptRecord` when it is gone or is not what was put.
        """
        if reference is None:
            return inline
        where = reference_of(reference)
        data = self._read(where)
        if data is None or hashlib.sha256(data).hexdigest() != where.sha256:
            # Its key is not told: digits of the content's digest are in it, by which a short secret could be guessed.
            raise CorruptRecord(f"a body of {where.size:,} bytes is {'missing' if data is None else 'not what was stored'}")
        return data.decode()

    def size(self, reference: str) -> int:
        """Bytes of the body that the reference names."""
        return reference_of(reference).size

    def link(self, reference: str, *, seconds: int) -> str:
        """A presigned URL of a body that is kept in S3, good for that long to whoever has it. Makes no call."""
        where = reference_of(reference)
        if where.object is None:
            raise ValueError(f"{where.item} is not kept in S3")
        named = {"Bucket": self._bucket, "Key": where.object}
        return self._s3().generate_presigned_url(ClientMethod="get_object", Params=named, ExpiresIn=seconds)

    def delete(self, job_id: str, reference: str) -> None:
        """Removes a body of that job to which its record refers no more; removing it again changes nothing.

        Raises `CorruptRecord` when the reference cannot be read or names anything but a body of that job.
        """
        where = reference_of(reference)
        if not where.is_of(job_id):
            raise CorruptRecord(f"{reference[:200]!r} is no body of job {job_id}")
        with aws_errors("removing a body"):
            if where.item is not None:
                self._dynamodb.delete_item(TableName=self._table, Key={"id": {"S": where.item}})
            else:
                self._s3().delete_object(Bucket=self._bucket, Key=where.object or "")

    def discard(self, job_id: str, reference: str) -> None:
        """Removes a body whose record came to nothing, as well as it goes: what stays is gone after `LONGEST_LIFE`."""
        with suppress(Unavailable, ClientError):
            self.delete(job_id, reference)

    def _read(self, where: Reference) -> bytes | None:
        with aws_errors("reading a body"):
            if where.item is not None:
                answer: Any = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": where.item}}, ConsistentRead=True)
                return answer["Item"]["body"]["S"].encode() if "Item" in answer else None
            client = self._s3()
            try:
                return client.get_object(Bucket=self._bucket, Key=where.object or "")["Body"].read()
            except client.exceptions.NoSuchKey:
                return None


def _object_key(job_id: str, name: str) -> str:
    return f"bodies/{job_id}/{name.replace('#', '-')}.json"
