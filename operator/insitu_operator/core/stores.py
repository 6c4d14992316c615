"""The checkpoint store as trainers are told of it: a URL, and the variables of all S3 clients."""

from __future__ import annotations

from collections.abc import Mapping

from insitu.api.spec import S3Store

S3_SECRETS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "accessKeyId",
    "AWS_SECRET_ACCESS_KEY": "secretAccessKey",
}
"""Variable to key of the Secret in `credentials`."""


def s3_url(store: S3Store) -> str:
    """As `insitu.checkpoint.store` reads it."""
    return "/".join(filter(None, (f"s3://{store.bucket}", (store.prefix or "").strip("/"))))


def s3_variables(store: S3Store) -> dict[str, str]:
    """Where the bucket is; nothing secret."""
    values: dict[str, str] = {}
    if store.endpoint:
        values["AWS_ENDPOINT_URL"] = store.endpoint
        if store.endpoint.startswith("http://"):
            values["AWS_ALLOW_HTTP"] = "true"
    if store.region:
        values["AWS_REGION"] = store.region
    return values


def commit_uri(store: str, job: str, seq: int) -> str:
    """Where the record of commit number `seq` lies; `store` is a URL."""
    return f"{store}/{job}/commits/{seq:012d}.json"
