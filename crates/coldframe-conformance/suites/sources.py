"""What suites of event source mappings share: a function that tells what it got, and who hears it."""

import threading

from botocore.exceptions import ClientError

from support import DEADLINE_S, LineServer

# Tells the collector what it got, and does what the answer says.
APP = """
import json, os, socket

VERSION = "one"

def handler(event, context):
    told = {"event": event, "function": context.function_name, "version": VERSION,
            "arn": context.invoked_function_arn, "request": context.aws_request_id}
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as collector:
        collector.sendall(json.dumps(told).encode() + b"\\n")
        answer = json.loads(collector.makefile().readline())
    if "raise" in answer:
        raise ValueError(answer["raise"])
    return answer.get("return")
"""


class Collector(LineServer):
    """Where functions tell of their batches. `acts`: what each does with one, by name. `body_of`: what
    a record is told apart by; `said`: what the service has to say when something is missing.
    """

    def __init__(self, body_of, said):
        self.body_of = body_of
        self.said = said
        self.batches = []
        self.acts = {}
        self.changed = threading.Condition()
        super().__init__(self.told)

    def told(self, told):
        told["bodies"] = [self.body_of(record) for record in told["event"]["Records"]]
        with self.changed:
            self.batches.append(told)
            self.changed.notify_all()
            act = self.acts.get(told["function"])
        return act(told["event"]["Records"]) if act else {}

    def of(self, function):
        with self.changed:
            return [one for one in self.batches if one["function"] == function]

    def bodies(self, function):
        return [body for one in self.of(function) for body in one["bodies"]]

    def wait(self, function, condition, deadline_s=DEADLINE_S):
        """Waits until the function's bodies are as they should be; its batches."""
        with self.changed:
            there = self.changed.wait_for(lambda: condition(self.bodies(function)), deadline_s)
            found = self.of(function)
            bodies = [one["bodies"] for one in found]
            assert there, f"{len(found)} batches of {function}: {bodies}; {self.said()}"
            return found

    def wait_for(self, function, *bodies):
        return self.wait(function, lambda found: set(bodies) <= set(found))


def refused(test, code, text, call, **arguments):
    with test.assertRaises(ClientError) as caught:
        call(**arguments)
    error = caught.exception.response["Error"]
    test.assertEqual((error["Code"], error["Message"]), (code, text))
