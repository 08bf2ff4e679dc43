"""Writes `/tmp/tempfile.txt`, and tells what the invocation before had written.

`/tmp` lives as long as its execution environment: found again on reuse, empty in a new one.
"""

from pathlib import Path

FILE = Path("/tmp/tempfile.txt")


def handler(event, context):
    found = FILE.read_text() if FILE.exists() else None
    FILE.write_text(context.aws_request_id)
    return {"found": found, "wrote": context.aws_request_id}
