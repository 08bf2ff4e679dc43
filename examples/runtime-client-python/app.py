"""Run by `awslambdaric` on provided.al2023, not by coldframe's own runtime client."""

import sys

invocations = 0


def handler(event, context):
    global invocations
    invocations += 1
    if event.get("fail"):
        raise ValueError("asked to fail")
    print(f"invocation {invocations} of this environment")
    return {
        "greeting": f"Hello, {event.get('name', 'world')}!",
        "invocations": invocations,
        "requestId": context.aws_request_id,
        "client": sys.modules["awslambdaric"].__version__,
    }
