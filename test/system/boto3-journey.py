"""What a Python program does with boto3, in two halves: `before` a restart of the server and `after`.

Called by client-journeys.test.ts with the endpoint and the half; keys come by the environment, and the
first check that fails ends it with a traceback. Works with the boto3 of Debian 12 and with today's.
"""

import hashlib
import io
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, HALF, PACKED_SHA, RESTORED_SHA = sys.argv[1:5]
BUCKET = "boto3-journey"
MIB = 1024 * 1024
LARGE = bytes(range(256)) * (12 * MIB // 256) + b"the end"

s3 = boto3.client(
    "s3",
    endpoint_url=ENDPOINT,
    region_name="us-east-1",
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
)


def body(key, bucket=BUCKET, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def code_of(call, **given):
    try:
        call(**given)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def post_form(url, fields, data):
    boundary = "boto3-form"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
    text = "".join(parts).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return urllib.request.urlopen(urllib.request.Request(url, data=text, headers=kind))


def before():
    s3.create_bucket(Bucket=BUCKET)
    assert BUCKET in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket=BUCKET, Key="a/small ü+&.txt", Body=b"small", Metadata={"who": "me"})
    head = s3.head_object(Bucket=BUCKET, Key="a/small ü+&.txt")
    assert head["Metadata"] == {"who": "me"} and head["ContentLength"] == 5, head

    for algorithm in ("CRC32", "SHA1", "SHA256"):
        key = f"sums/{algorithm}"
        put = s3.put_object(Bucket=BUCKET, Key=key, Body=b"summed", ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert got["Body"].read() == b"summed"
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"], got

    # Managed transfers: parts of 5 MiB, four at a time, both ways.
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(LARGE), BUCKET, "large", Config=config)
    assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-3"')
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "large", back, Config=config)
    assert back.getvalue() == LARGE
    assert body("large", Range="bytes=5242870-5242889") == LARGE[5242870:5242890]
    assert body("large", Range="bytes=-7") == b"the end"
    s3.copy({"Bucket": BUCKET, "Key": "large"}, BUCKET, "copied", Config=config)
    assert hashlib.sha256(body("copied")).digest() == hashlib.sha256(LARGE).digest()

    # By hand, and given up.
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="left")["UploadId"]
    name = {"Bucket": BUCKET, "Key": "left", "UploadId": upload}
    s3.upload_part(**name, PartNumber=1, Body=b"x")
    assert len(s3.list_parts(**name)["Parts"]) == 1
    s3.abort_multipart_upload(**name)
    assert code_of(s3.list_parts, **name) == "NoSuchUpload"

    for number in range(25):
        s3.put_object(Bucket=BUCKET, Key=f"many/{number:02}", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="many/", PaginationConfig={"PageSize": 10}
    )
    keys = [one["Key"] for page in pages for one in page["Contents"]]
    assert keys == [f"many/{number:02}" for number in range(25)], keys

    read = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a/small ü+&.txt"})
    assert urllib.request.urlopen(read).read() == b"small"
    write = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "by-url"})
    urllib.request.urlopen(urllib.request.Request(write, data=b"by url", method="PUT"))
    assert body("by-url") == b"by url"
    form = s3.generate_presigned_post(BUCKET, "by-form", Conditions=[["content-length-range", 1, 100]])
    assert post_form(form["url"], form["fields"], b"by form").status in (200, 201, 204)
    assert body("by-form") == b"by form"
    assert code_of(s3.get_object, Bucket=BUCKET, Key="none") == "NoSuchKey"


def after():
    assert body("a/small ü+&.txt") == b"small"
    assert hashlib.sha256(body("large")).digest() == hashlib.sha256(LARGE).digest()
    packed = s3.get_object(Bucket="tiered", Key="packed/file")
    assert packed["StorageClass"] == "GLACIER_IR", packed
    assert hashlib.sha256(packed["Body"].read()).hexdigest() == PACKED_SHA
    head = s3.head_object(Bucket="tiered", Key="archived/restored")
    assert 'ongoing-request="false"' in head["Restore"], head
    assert hashlib.sha256(body("archived/restored", "tiered")).hexdigest() == RESTORED_SHA
    archived = {"Bucket": "tiered", "Key": "archived/kept"}
    assert code_of(s3.get_object, **archived) == "InvalidObjectState"
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    gone = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})
    assert len(gone["Deleted"]) == len(keys) and "Errors" not in gone, gone
    s3.delete_bucket(Bucket=BUCKET)


{"before": before, "after": after}[HALF]()
