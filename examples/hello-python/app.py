"""Greets, and shows what an execution environment keeps between invocations."""

import os
import time

STARTED = time.time()
invocations = 0


def handler(event, context):
    global invocations
    invocations += 1
    print(f"invocation {invocations} of this environment")
    return {
        "greeting": f"Hello, {event.get('name', 'world')}!",
        "invocations": invocations,
        "seconds_since_init": round(time.time() - STARTED, 3),
        "pid": os.getpid(),
        "remaining_ms": context.get_remaining_time_in_millis(),
    }
