r"""Makes its S3 client at import, and lists the buckets of the server `AWS_ENDPOINT_URL_S3` names.

    pip install -r requirements.txt -t .
    moto_server -p 5000 &
    coldframe run . --memory 512 --allow-host-port 5000 \
        --env AWS_ENDPOINT_URL_S3=http://127.0.0.1:5000

The credentials are the environment's own, as every AWS SDK finds them.
"""

import boto3

s3 = boto3.client("s3")
invocations = 0


def handler(event, context):
    global invocations
    invocations += 1
    buckets = s3.list_buckets()["Buckets"]
    return {"buckets": [bucket["Name"] for bucket in buckets], "invocations": invocations}
