"""Asynchronous invocation: durable before 202, retried, told of, and kept over `kill -9`.

Functions come to a collector of the test, which tells each attempt how to end.
"""

import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
import uuid

from botocore.exceptions import ClientError

from services import Authority, Moto
from support import (
    BINARY,
    DEADLINE_S,
    REGION,
    LineServer,
    Service,
    deploy,
    invoke,
    small_disk,
    updated,
    wait_until,
    zip_of,
)

ACCOUNT = "000000000000"

# How often the service is killed under load.
KILLS = int(os.environ.get("COLDFRAME_ASYNC_KILLS", "20"))

# Retries after 60 ms and 120 ms.
FAST = ("--async-retry-scale", "0.001")

# Asks the collector what to do with the event, and does it.
APP = """
import json, os, socket, sys

VERSION = "one"

def handler(event, context):
    told = {"event": event, "request": context.aws_request_id, "arn": context.invoked_function_arn,
            "function": context.function_name, "version": VERSION,
            "client_context": context.client_context is not None,
            "tenant": getattr(context, "tenant_id", None)}
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as collector:
        collector.sendall(json.dumps(told).encode() + b"\\n")
        answer = json.loads(collector.makefile().readline())
    if answer == "fail":
        raise ValueError("asked to " + "fail" * 500)
    if answer == "exit":
        os._exit(1)
    return {"done": event.get("id") if isinstance(event, dict) else None}
"""


class Collector(LineServer):
    """Where functions tell of their attempts. Acts by id of the event: the last is for ever."""

    def __init__(self):
        self.attempts = []
        self.acts = {}
        self.changed = threading.Condition()
        super().__init__(self.attempt)

    def attempt(self, told):
        told["time"] = time.monotonic()
        event = told["event"]
        name = told["id"] = event.get("id") if isinstance(event, dict) else None
        with self.changed:
            self.attempts.append(told)
            acts = self.acts.get(name, ["succeed"])
            act = acts.pop(0) if len(acts) > 1 else acts[0]
            self.changed.notify_all()
            if act.startswith("wait:"):
                self.changed.wait_for(lambda: act[5:] in self.acts, 60)
                return "succeed"
        return act

    def open(self, gate):
        """Lets those go on whose act is `wait:GATE`."""
        with self.changed:
            self.acts[gate] = ["succeed"]
            self.changed.notify_all()

    def of(self, function, name=None):
        """The attempts of a function, of one event if it is named."""
        with self.changed:
            return [
                one
                for one in self.attempts
                if one["function"] == function and name in (None, one["id"])
            ]

    def wait(self, function, count=1, name=None, deadline_s=30):
        with self.changed:
            there = self.changed.wait_for(lambda: len(self.of(function, name)) >= count, deadline_s)
            found = self.of(function, name)
            shown = [(one["id"], one["request"]) for one in found]
            assert there, f"{len(found)} of {count} attempts of {function}: {shown}"
            return found


def setUpModule():
    global collector, service, client
    collector = Collector()
    service = Service(*FAST, "--allow-host-port", str(collector.port)).start()
    client = service.client()


def tearDownModule():
    service.stop()
    collector.close()


def names():
    number = 0
    while True:
        number += 1
        yield f"f{number}"


NAMES = names()


def function(client=None, name=None, **config):
    """A function of its own that knows the collector; its name."""
    client = client or globals()["client"]
    config.setdefault("Environment", {"Variables": {"PORT": str(collector.port)}})
    return deploy(client, name or next(NAMES), {"app.py": APP}, **config)


def send(name, event=None, client=None, **arguments):
    """Event; its request id."""
    client = client or globals()["client"]
    payload = event if isinstance(event, bytes) else json.dumps({} if event is None else event)
    reply = client.invoke(FunctionName=name, InvocationType="Event", Payload=payload, **arguments)
    assert reply["StatusCode"] == 202, reply
    assert reply["Payload"].read() == b"", reply
    return reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]


def configure(name, success=None, failure=None, client=None, **config):
    client = client or globals()["client"]
    destinations = {}
    if success:
        destinations["OnSuccess"] = {"Destination": success}
    if failure:
        destinations["OnFailure"] = {"Destination": failure}
    if destinations:
        config["DestinationConfig"] = destinations
    return client.put_function_event_invoke_config(FunctionName=name, **config)


def arn(name):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def expect(test, code, text, call, **arguments):
    with test.assertRaises(ClientError) as caught:
        call(**arguments)
    error = caught.exception.response["Error"]
    test.assertEqual(error["Code"], code, error)
    if isinstance(text, re.Pattern):
        test.assertRegex(error["Message"], text)
    else:
        test.assertEqual(error["Message"], text)


class Accepting(unittest.TestCase):
    def test_an_event_is_accepted_and_runs(self):
        name = function()
        reply = client.invoke(
            FunctionName=name,
            InvocationType="Event",
            ClientContext="e30=",
            Payload=json.dumps({"id": "accepted"}),
        )
        self.assertEqual(reply["StatusCode"], 202)
        self.assertNotIn("ExecutedVersion", reply)
        self.assertEqual(reply["Payload"].read(), b"")
        (attempt,) = collector.wait(name)
        fields = reply["ResponseMetadata"]["HTTPHeaders"]
        self.assertEqual(attempt["request"], fields["x-amzn-requestid"])
        self.assertEqual(attempt["arn"], arn(name))
        self.assertEqual(attempt["event"], {"id": "accepted"})
        self.assertFalse(attempt["client_context"], "dropped, as AWS does")

    def test_an_empty_payload_is_an_empty_object(self):
        name = function()
        client.invoke(FunctionName=name, InvocationType="Event")
        self.assertEqual(collector.wait(name)[0]["event"], {})

    def test_a_qualifier_is_shown(self):
        name = function()
        send(name, Qualifier="$LATEST")
        self.assertEqual(collector.wait(name)[0]["arn"], arn(name) + ":$LATEST")

    def test_what_is_refused(self):
        name = function()
        expect(
            self,
            "ResourceNotFoundException",
            f"Function not found: {arn('absent')}:$LATEST",
            client.invoke,
            FunctionName="absent",
            InvocationType="Event",
        )
        expect(
            self,
            "InvalidRequestContentException",
            re.compile("^Could not parse request body into json: Could not parse payload into json: "),
            client.invoke,
            FunctionName=name,
            InvocationType="Event",
            Payload=b"{",
        )
        self.assertEqual(collector.of(name), [])

    def test_payload_limits(self):
        name = function()
        largest = b'"' + b"x" * (1048576 - 2) + b'"'
        send(name, largest)
        self.assertEqual(len(collector.wait(name)[0]["event"]), len(largest) - 2)
        expect(
            self,
            "RequestEntityTooLargeException",
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
            client.invoke,
            FunctionName=name,
            InvocationType="Event",
            Payload=largest[:-1] + b'x"',
        )
        self.assertEqual(invoke(client, name, largest).status, 200)

    def test_invoke_async(self):
        name = function()
        reply = client.invoke_async(FunctionName=name, InvokeArgs=b'{"id": "legacy"}')
        self.assertEqual(reply["Status"], 202)
        self.assertEqual(collector.wait(name)[0]["event"], {"id": "legacy"})
        # Headers of Invoke mean nothing here.
        for number, headers in enumerate(
            [{"X-Amz-Invocation-Type": "DryRun"}, {"X-Amz-Client-Context": "no base64"}]
        ):
            request = urllib.request.Request(
                f"{service.url}/2014-11-13/functions/{name}/invoke-async",
                json.dumps({"id": f"header{number}"}).encode(),
                headers,
                method="POST",
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.assertEqual((answer.status, answer.read()), (202, b""))
        came = {told["event"]["id"] for told in collector.wait(name, 3)}
        self.assertEqual(came, {"legacy", "header0", "header1"})
        largest = b'"' + b"x" * (262144 - 2) + b'"'
        self.assertEqual(client.invoke_async(FunctionName=name, InvokeArgs=largest)["Status"], 202)
        expect(
            self,
            "RequestEntityTooLargeException",
            "Request must be smaller than 262144 bytes for the InvokeAsync operation",
            client.invoke_async,
            FunctionName=name,
            InvokeArgs=largest[:-1] + b'x"',
        )
        expect(
            self,
            "ResourceNotFoundException",
            f"Function not found: {arn('absent')}:$LATEST",
            client.invoke_async,
            FunctionName="absent",
            InvokeArgs=b"{}",
        )


class Configuring(unittest.TestCase):
    """Spec: service-api.md §4.2."""

    def test_put_get_update_delete_list(self):
        name, other = function(), function()
        put = configure(name, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60)
        put.pop("ResponseMetadata")
        modified = put.pop("LastModified")
        self.assertLess(abs(modified.timestamp() - time.time()), 60)
        shown = {
            "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
            "FunctionArn": arn(name) + ":$LATEST",
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": 60,
        }
        self.assertEqual(put, shown)
        # Update adds, and put replaces.
        destination = {"OnFailure": {"Destination": arn(other)}}
        reply = client.update_function_event_invoke_config(
            FunctionName=name, Qualifier="$LATEST", DestinationConfig=destination
        )
        self.assertEqual(reply["DestinationConfig"], {"OnSuccess": {}, **destination})
        self.assertEqual(reply["MaximumEventAgeInSeconds"], 60)
        got = client.get_function_event_invoke_config(FunctionName=name)
        self.assertEqual(got["DestinationConfig"], reply["DestinationConfig"])
        self.assertEqual(got["LastModified"], reply["LastModified"])
        listed = client.list_function_event_invoke_configs(FunctionName=name)
        self.assertEqual(
            [one["FunctionArn"] for one in listed["FunctionEventInvokeConfigs"]],
            [arn(name) + ":$LATEST"],
        )
        replaced = configure(name, MaximumRetryAttempts=1)
        self.assertEqual(replaced["DestinationConfig"], {"OnSuccess": {}, "OnFailure": {}})
        self.assertNotIn("MaximumEventAgeInSeconds", replaced)
        reply = client.delete_function_event_invoke_config(FunctionName=name)
        self.assertEqual(reply["ResponseMetadata"]["HTTPStatusCode"], 204)
        listed = client.list_function_event_invoke_configs(FunctionName=name)
        self.assertEqual(listed["FunctionEventInvokeConfigs"], [])

    def test_what_is_refused(self):
        name = function()
        put = client.put_function_event_invoke_config
        get = client.get_function_event_invoke_config
        update = client.update_function_event_invoke_config
        delete = client.delete_function_event_invoke_config
        nothing = "You must specify at least one of error handling or destination setting."
        for call in (put, update):
            expect(self, "InvalidParameterValueException", nothing, call, FunctionName=name)
            expect(
                self,
                "ResourceNotFoundException",
                "The function doesn't exist.",
                call,
                FunctionName="absent",
                MaximumRetryAttempts=1,
            )
        expect(
            self,
            "ResourceNotFoundException",
            "The function doesn't exist.",
            put,
            FunctionName=name,
            Qualifier="absent",
            MaximumRetryAttempts=1,
        )
        expect(
            self,
            "ResourceNotFoundException",
            "The function doesn't exist.",
            client.list_function_event_invoke_configs,
            FunctionName="absent",
        )
        for which in (name, "absent"):
            text = f"The function {arn(which)}:$LATEST doesn't have an EventInvokeConfig"
            for call in (get, delete):
                expect(self, "ResourceNotFoundException", text, call, FunctionName=which)
        text = f"The function {arn(name)}:$LATEST doesn't have an EventInvokeConfig"
        expect(self, "ResourceNotFoundException", text, update, FunctionName=name, MaximumRetryAttempts=1)
        for config in ({"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 59}):
            with self.assertRaises(Exception):
                put(FunctionName=name, **config)

    def test_destinations_are_checked(self):
        name = function()

        def refused(code, text, success=None, failure=None):
            expect(self, code, text, configure, name=name, success=success, failure=failure)

        refused(
            "ValidationException",
            re.compile("Value 'nonsense' at 'destinationConfig.onFailure.destination' failed"),
            failure="nonsense",
        )
        stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s"
        invalid = "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid."
        refused(
            "InvalidParameterValueException",
            invalid.format(f"OnSuccess(destination={stream})", "null"),
            success=stream,
        )
        bucket = "arn:aws:s3:::bucket"
        refused(
            "InvalidParameterValueException",
            invalid.format(f"OnSuccess(destination={bucket})", "null"),
            success=bucket,
        )
        refused(
            "InvalidParameterValueException",
            f"The destination ARN {arn('absent')} is invalid.",
            failure=arn("absent"),
        )
        other = function()
        for qualifier in ["no", "7"]:
            gone = f"{arn(other)}:{qualifier}"
            refused(
                "InvalidParameterValueException",
                f"The destination ARN {gone} is invalid.",
                success=gone,
            )
        refused(
            "InvalidParameterValueException",
            "You can't specify the function as a destination for itself.",
            success=arn(name),
        )
        expect(
            self,
            "ResourceNotFoundException",
            re.compile("doesn't have an EventInvokeConfig"),
            client.get_function_event_invoke_config,
            FunctionName=name,
        )

    def test_aliases_and_versions_have_their_own(self):
        name, told = function(), function()
        client.publish_version(FunctionName=name)
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        for qualifier in ("1", "live"):
            configure(name, success=arn(told), Qualifier=qualifier)
        first = client.list_function_event_invoke_configs(FunctionName=name, MaxItems=1)
        second = client.list_function_event_invoke_configs(
            FunctionName=name, MaxItems=1, Marker=first["NextMarker"]
        )
        self.assertNotIn("NextMarker", second)
        shown = [page["FunctionEventInvokeConfigs"][0]["FunctionArn"] for page in (first, second)]
        self.assertEqual(shown, [arn(name) + ":1", arn(name) + ":live"])
        request = send(name, {"id": "aliased"}, Qualifier="live")
        self.assertEqual(collector.wait(name)[0]["arn"], arn(name) + ":live")
        (record,) = collector.wait(told)
        self.assertEqual(record["event"]["requestContext"]["requestId"], request)
        self.assertEqual(record["event"]["requestContext"]["functionArn"], arn(name) + ":live")
        self.assertEqual(record["event"]["responseContext"]["executedVersion"], "1")
        client.delete_alias(FunctionName=name, Name="live")
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        listed = client.list_function_event_invoke_configs(FunctionName=name)
        self.assertEqual(len(listed["FunctionEventInvokeConfigs"]), 1)

    def test_a_deleted_function_takes_its_config_with_it(self):
        name = function()
        configure(name, MaximumRetryAttempts=0)
        client.delete_function(FunctionName=name)
        function(name=name)
        listed = client.list_function_event_invoke_configs(FunctionName=name)
        self.assertEqual(listed["FunctionEventInvokeConfigs"], [])


class Running(unittest.TestCase):
    def test_errors_are_retried_twice_with_one_request_id(self):
        name, told = function(), function()
        configure(name, failure=arn(told))
        collector.acts["thrice"] = ["fail", "exit", "fail"]
        request = send(name, {"id": "thrice"})
        (record,) = collector.wait(told)
        attempts = collector.of(name)
        self.assertEqual([one["request"] for one in attempts], [request] * 3)
        # 60 ms and 120 ms: at least, as the machine may be busy.
        times = [one["time"] for one in attempts]
        self.assertGreater(times[1] - times[0], 0.055)
        self.assertGreater(times[2] - times[1], 0.115)
        event = record["event"]
        self.assertRegex(event.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        payload = event.pop("responsePayload")
        self.assertEqual(payload["errorType"], "ValueError")
        self.assertEqual(
            event,
            {
                "version": "1.0",
                "requestContext": {
                    "requestId": request,
                    "functionArn": arn(name) + ":$LATEST",
                    "condition": "RetriesExhausted",
                    "approximateInvokeCount": 3,
                },
                "requestPayload": {"id": "thrice"},
                "responseContext": {
                    "statusCode": 200,
                    "executedVersion": "$LATEST",
                    "functionError": "Unhandled",
                },
            },
        )
        self.assertNotEqual(record["request"], request)

    def test_success_is_told(self):
        name, told = function(), function()
        configure(name, success=arn(told), failure=arn(told))
        collector.acts["second"] = ["fail", "succeed"]
        request = send(name, {"id": "second"})
        (record,) = collector.wait(told)
        context = record["event"]["requestContext"]
        self.assertEqual(context["condition"], "Success")
        self.assertEqual(context["requestId"], request)
        self.assertEqual(context["approximateInvokeCount"], 2)
        self.assertEqual(record["event"]["responsePayload"], {"done": "second"})
        self.assertNotIn("functionError", record["event"]["responseContext"])

    def test_a_record_is_for_the_tenant_of_its_invocation(self):
        isolated = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
        name, none, told = function(**isolated), function(), function(**isolated)
        configure(name, success=arn(told))
        configure(none, success=arn(told))
        send(name, {"id": "blue"}, TenantId="blue")
        (record,) = collector.wait(told)
        self.assertEqual(record["tenant"], "blue")
        self.assertEqual(record["event"]["requestPayload"], {"id": "blue"})
        send(none, {"id": "of nobody"})
        wait_until(lambda: "an event has no tenant" in service.stderr(), service.stderr)
        self.assertEqual(len(collector.of(told)), 1)

    def test_an_event_that_would_be_too_old_is_given_up(self):
        name, told = function(), function()
        configure(name, failure=arn(told), MaximumEventAgeInSeconds=60)
        collector.acts["old"] = ["fail"]
        send(name, {"id": "old"})
        (record,) = collector.wait(told)
        context = record["event"]["requestContext"]
        self.assertEqual(context["condition"], "EventAgeExceeded")

    def test_a_function_switched_off_has_no_attempt(self):
        name, told = function(), function()
        configure(name, failure=arn(told))
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        request = send(name, {"id": "off"})
        (record,) = collector.wait(told)
        context = record["event"]["requestContext"]
        self.assertEqual(context["requestId"], request)
        self.assertEqual(context["condition"], "ZeroReservedConcurrency")
        self.assertEqual(context["approximateInvokeCount"], 0)
        self.assertNotIn("responseContext", record["event"])
        self.assertNotIn("responsePayload", record["event"])
        self.assertEqual(collector.of(name), [])

    def test_reserved_concurrency_bounds_events(self):
        name = function()
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
        for number in range(6):
            collector.acts[f"bound{number}"] = ["wait:unbound"]
            send(name, {"id": f"bound{number}"})
        collector.wait(name, 2)
        with self.assertRaises(client.exceptions.TooManyRequestsException):
            client.invoke(FunctionName=name)
        self.assertEqual(len(collector.of(name)), 2)
        collector.open("unbound")
        collector.wait(name, 6)

    def test_events_run_the_code_that_is_there_when_they_run(self):
        own = Service("--async-retry-scale", "0.02", "--allow-host-port", str(collector.port))
        with own as own:
            client = own.client()
            name = function(client)
            collector.acts["updated"] = ["fail", "succeed"]
            send(name, {"id": "updated"}, client)
            collector.wait(name, name="updated")
            changed = zip_of({"app.py": APP.replace('"one"', '"two"')})
            client.update_function_code(FunctionName=name, ZipFile=changed)
            updated(client, name)
            attempts = collector.wait(name, 2, "updated")
            self.assertEqual([one["version"] for one in attempts], ["one", "two"])

    def test_events_of_a_deleted_function_are_dropped(self):
        own = Service("--async-retry-scale", "0.005", "--allow-host-port", str(collector.port))
        with own as own:
            client = own.client()
            name = function(client)
            collector.acts["dropped"] = ["fail"]
            send(name, {"id": "dropped"}, client)
            collector.wait(name, name="dropped")
            client.delete_function(FunctionName=name)
            function(client, name)
            # Its retry would have been due after 300 ms, before this one's.
            collector.acts["kept"] = ["fail", "succeed"]
            send(name, {"id": "kept"}, client)
            collector.wait(name, 2, "kept")
            self.assertEqual(len(collector.of(name, "dropped")), 1)

    def test_throttled_events_wait_and_lose_no_attempt(self):
        own = Service(*FAST, "--concurrency", "1", "--allow-host-port", str(collector.port))
        with own as own:
            client = own.client()
            name, told = function(client), function(client)
            configure(name, success=arn(told), MaximumRetryAttempts=0, client=client)
            collector.acts["busy"] = ["wait:free"]
            caller = threading.Thread(target=lambda: client.invoke(FunctionName=name, Payload='{"id": "busy"}'))
            caller.start()
            collector.wait(name, name="busy")
            for number in range(5):
                send(name, {"id": number}, client)
            self.assertTrue(self.is_throttled(client, name), "the account is full")
            collector.open("free")
            caller.join()
            records = collector.wait(told, 5)
            self.assertEqual(
                [one["event"]["requestContext"]["approximateInvokeCount"] for one in records], [1] * 5
            )

    def is_throttled(self, client, name):
        try:
            client.invoke(FunctionName=name)
        except client.exceptions.TooManyRequestsException:
            return True
        return False

    def test_one_that_hangs_or_crashes_stops_no_other(self):
        options = ("--concurrency", "8", "--allow-host-port", str(collector.port))
        with Service(*FAST, *options) as own:
            client = own.client()
            hangs, crashes, good = function(client), function(client), function(client)
            collector.acts.update({"hang": ["wait:hung"], "crash": ["exit"]})
            for _ in range(30):
                send(hangs, {"id": "hang"}, client)
                send(crashes, {"id": "crash"}, client)
            collector.wait(hangs, 2)
            for number in range(20):
                send(good, {"id": number}, client)
            collector.wait(good, 20)
            self.assertLess(len(collector.of(hangs)), 8)
            collector.open("hung")
            collector.wait(hangs, 30)
            collector.wait(crashes, 90, deadline_s=90)


class Elsewhere(unittest.TestCase):
    """Destinations of other services, as moto plays them."""

    authority = None
    trust = {}

    @classmethod
    def setUpClass(cls):
        cls.moto = Moto(cls.authority).__enter__()
        cls.addClassCleanup(cls.moto.__exit__)
        variables = {
            f"AWS_ENDPOINT_URL_{name}": cls.moto.url for name in ("SQS", "SNS", "EVENTBRIDGE", "S3")
        }
        variables.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", **cls.trust)
        cls.service = Service(*FAST, "--allow-host-port", str(collector.port), variables=variables).start()
        cls.addClassCleanup(cls.service.stop)
        cls.client = cls.service.client()
        cls.sqs = cls.moto.client("sqs")

    def queue(self):
        """A queue of its own: URL, ARN."""
        url = self.sqs.create_queue(QueueName=str(uuid.uuid4()))["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, found["Attributes"]["QueueArn"]

    def messages(self, url, count=1):
        found = []

        def received():
            found.extend(
                self.sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    AttributeNames=["All"],
                    MessageAttributeNames=["All"],
                ).get("Messages", [])
            )
            return len(found) >= count

        wait_until(received, lambda: f"{len(found)} of {count} messages; {self.service.stderr()}")
        return found

    def failing(self, **config):
        return function(self.client, **config)

    def fail(self, name, **event):
        identity = str(uuid.uuid4())
        collector.acts[identity] = ["fail"]
        return {"id": identity, **event}, send(name, {"id": identity, **event}, self.client)

    def test_sqs(self):
        name = function(self.client)
        (good, good_arn), (bad, bad_arn) = self.queue(), self.queue()
        configure(name, success=good_arn, failure=bad_arn, MaximumRetryAttempts=1, client=self.client)
        request = send(name, {"id": "é", "text": "line\nbreak"}, self.client)
        (message,) = self.messages(good)
        record = json.loads(message["Body"])
        self.assertEqual(record["requestContext"]["requestId"], request)
        self.assertEqual(record["requestContext"]["condition"], "Success")
        self.assertEqual(record["requestPayload"], {"id": "é", "text": "line\nbreak"})
        self.assertEqual(record["responsePayload"], {"done": "é"})
        self.assertIn("Root=1-", message["Attributes"]["AWSTraceHeader"])
        event, request = self.fail(name)
        (message,) = self.messages(bad)
        record = json.loads(message["Body"])
        self.assertEqual(record["requestContext"]["requestId"], request)
        self.assertEqual(record["requestContext"]["condition"], "RetriesExhausted")
        self.assertEqual(record["requestContext"]["approximateInvokeCount"], 2)
        self.assertEqual(record["requestPayload"], event)

    def test_a_queue_that_is_not_there(self):
        name = function(self.client)
        absent = f"arn:aws:sqs:{REGION}:123456789012:absent"
        expect(
            self,
            "InvalidParameterValueException",
            f"The destination ARN {absent} is invalid.",
            configure,
            name=name,
            failure=absent,
            client=self.client,
        )

    def test_dead_letters_to_sqs_beside_a_destination(self):
        (dead, dead_arn), (bad, bad_arn) = self.queue(), self.queue()
        name = function(self.client, DeadLetterConfig={"TargetArn": dead_arn})
        configure(name, failure=bad_arn, MaximumRetryAttempts=0, client=self.client)
        event, request = self.fail(name, number=1)
        (letter,) = self.messages(dead)
        self.assertEqual(json.loads(letter["Body"]), event)
        attributes = letter["MessageAttributes"]
        self.assertEqual(
            {key: value["DataType"] for key, value in attributes.items()},
            {"RequestID": "String", "ErrorCode": "Number", "ErrorMessage": "String"},
        )
        values = {key: value["StringValue"] for key, value in attributes.items()}
        self.assertEqual(values["RequestID"], request)
        self.assertEqual(values["ErrorCode"], "200")
        self.assertEqual(values["ErrorMessage"], ("asked to " + "fail" * 500)[:1024])
        (message,) = self.messages(bad)
        self.assertEqual(json.loads(message["Body"])["requestPayload"], event)

    def test_sns(self):
        sns = self.moto.client("sns")
        topic = sns.create_topic(Name=str(uuid.uuid4()))["TopicArn"]
        url, queue_arn = self.queue()
        sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"}
        )
        name = function(self.client, DeadLetterConfig={"TargetArn": topic})
        configure(name, failure=topic, MaximumRetryAttempts=0, client=self.client)
        event, request = self.fail(name, text="a&b=ü + %")
        found = self.messages(url, 2)
        bodies = [json.loads(message["Body"]) for message in found]
        (letter,) = [one for one, body in zip(found, bodies) if "version" not in body]
        (record,) = [body for body in bodies if "version" in body]
        self.assertEqual(json.loads(letter["Body"]), event)
        self.assertEqual(letter["MessageAttributes"]["RequestID"]["StringValue"], request)
        self.assertEqual(record["requestPayload"], event)

    def test_eventbridge(self):
        events = self.moto.client("events")
        bus = events.create_event_bus(Name=f"bus-{uuid.uuid4()}")["EventBusArn"]
        bus_name = bus.rsplit("/", 1)[1]
        url, queue_arn = self.queue()
        pattern = json.dumps({"source": ["lambda"]})
        events.put_rule(Name="all", EventBusName=bus_name, EventPattern=pattern)
        events.put_targets(Rule="all", EventBusName=bus_name, Targets=[{"Id": "1", "Arn": queue_arn}])
        name = function(self.client)
        configure(name, success=bus, failure=bus, MaximumRetryAttempts=0, client=self.client)
        event, request = self.fail(name)
        (message,) = self.messages(url)
        told = json.loads(message["Body"])
        self.assertEqual(told["source"], "lambda")
        self.assertEqual(told["detail-type"], "Lambda Function Invocation Result - Failure")
        self.assertEqual(told["resources"], [bus, arn(name) + ":$LATEST"])
        self.assertEqual(told["detail"]["requestPayload"], event)
        self.assertEqual(told["detail"]["requestContext"]["requestId"], request)
        send(name, {"id": "well"}, self.client)
        (message,) = self.messages(url)
        kind = json.loads(message["Body"])["detail-type"]
        self.assertEqual(kind, "Lambda Function Invocation Result - Success")

    def test_s3(self):
        s3 = self.moto.client("s3")
        bucket = f"bucket-{uuid.uuid4()}"
        s3.create_bucket(Bucket=bucket)
        name = function(self.client)
        configure(name, failure=f"arn:aws:s3:::{bucket}", MaximumRetryAttempts=0, client=self.client)
        event, request = self.fail(name)
        found = wait_until(
            lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"), self.service.stderr
        )
        (key,) = [one["Key"] for one in found]
        self.assertRegex(
            key,
            rf"^aws/lambda/async/{name}/\d{{4}}/\d\d/\d\d/\d{{4}}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{{36}}$",
        )
        record = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        self.assertEqual(record["requestPayload"], event)
        self.assertEqual(record["requestContext"]["requestId"], request)


class ElsewhereByTls(Elsewhere):
    """The same by https, with a certificate of an authority that only the bundle knows."""

    @classmethod
    def setUpClass(cls):
        cls.directory = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.authority = Authority(cls.directory)
        cls.trust = {"AWS_CA_BUNDLE": str(cls.authority.ca)}
        super().setUpClass()

    def test_a_record_waits_until_its_certificate_is_trusted(self):
        bundle = os.path.join(self.directory, "bundle.pem")
        shutil.copy(Authority(self.directory, "theirs").ca, bundle)
        variables = {"AWS_ENDPOINT_URL_SQS": self.moto.url, "AWS_CA_BUNDLE": bundle}
        options = [*FAST, "--allow-host-port", str(collector.port)]
        service = self.enterContext(Service(*options, variables=variables))
        client = service.client()
        url, queue = self.queue()
        name = function(client)
        configure(name, success=queue, client=client)
        request = send(name, {"id": str(uuid.uuid4())}, client)
        why = (
            f"the service of --sqs-endpoint cannot be used: no answer came from {self.moto.url}:"
            f" its certificate is signed by no authority of AWS_CA_BUNDLE ({bundle})"
        )
        wait_until(lambda: service.stderr().count(why) > 1, service.stderr)
        shutil.copy(self.authority.ca, bundle)
        (message,) = self.messages(url)
        self.assertEqual(json.loads(message["Body"])["requestContext"]["requestId"], request)
        self.assertEqual(len(collector.of(name)), 1)

    def test_what_goes_to_another_name_is_told(self):
        options = [*FAST, "--allow-host-port", str(collector.port)]
        options += ["--sns-endpoint", f"https://127.0.0.1:{self.moto.port}"]
        service = self.enterContext(Service(*options, variables=self.trust))
        client = service.client()
        name = function(client)
        configure(name, success=f"arn:aws:sns:{REGION}:{ACCOUNT}:topic", client=client)
        send(name, {"id": str(uuid.uuid4())}, client)
        why = (
            "the service of --sns-endpoint cannot be used: no answer came from"
            f" https://127.0.0.1:{self.moto.port}: its certificate is for localhost, not for this host"
        )
        wait_until(lambda: why in service.stderr(), service.stderr)


class Home:
    """A data directory that outlives its services."""

    def __init__(self, test, *options):
        self.root = tempfile.mkdtemp(prefix="coldframe-async-")
        self.data = os.path.join(self.root, "data")
        self.options = options
        self.service = None
        test.addCleanup(self.clean)

    def start(self):
        variables = {"XDG_CACHE_HOME": os.path.join(self.root, "cache")}
        allow = ("--allow-host-port", str(collector.port))
        own = Service(*self.options, *allow, data=self.data, variables=variables)
        self.service = own.start()
        return self.service

    def clean(self):
        if self.service and self.service.process.poll() is None:
            self.service.kill()
        shutil.rmtree(self.root, ignore_errors=True)


class Keeping(unittest.TestCase):
    def test_what_isnt_done_waits_for_the_next_service(self):
        home = Home(self, "--async-retry-scale", "0.1")
        client = home.start().client()
        name = function(client)
        collector.acts.update({"retried": ["fail", "succeed"], "running": ["wait:finished"]})
        retried = send(name, {"id": "retried"}, client)
        collector.wait(name, name="retried")
        send(name, {"id": "running"}, client)
        collector.wait(name, name="running")
        home.service.terminate()
        collector.open("finished")
        # Asked a second time, it wouldn't wait.
        home.service.process.wait(DEADLINE_S)
        home.service.stop()
        home.start()
        attempts = collector.wait(name, 2, "retried")
        self.assertEqual([one["request"] for one in attempts], [retried, retried])
        home.service.stop()
        # What was running when it was asked to stop has ended once.
        self.assertEqual(len(collector.of(name, "running")), 1)

    def test_a_full_disk_is_told_and_loses_nothing(self):
        # What is held back for long must not become too old, on a busy machine either.
        home = Home(self, "--async-retry-scale", "0.02")
        os.makedirs(home.data)
        self.enterContext(small_disk(home.data, 8))
        client = home.start().client()
        # Nor must a slow start count as an attempt.
        name = function(client, Timeout=60)
        collector.acts["full"] = ["wait:room"]
        sent = [send(name, {"id": "full", "number": 0}, client)]
        collector.wait(name)
        # What hangs keeps what comes behind it on the disk.
        filler = "x" * 200_000
        while len(sent) < 1000:
            try:
                sent.append(send(name, {"id": "full", "number": len(sent), "filler": filler}, client))
            except ClientError as error:
                self.assertEqual(error.response["Error"]["Code"], "ServiceException")
                break
        else:
            self.fail("the disk took everything")
        self.assertGreater(len(sent), 5)
        self.assertIn("disk that holds the store is full", home.service.stderr())
        # It serves on.
        collector.acts["other"] = ["succeed"]
        self.assertIsNone(invoke(client, name, {"id": "other"}).error)
        subprocess.run(["mount", "-o", "remount,size=64m", home.data], check=True)
        collector.open("room")
        try:
            attempts = collector.wait(name, len(sent) + 1)
            wait_until(
                lambda: set(sent) <= {one["request"] for one in collector.of(name)}, "all have run"
            )
        except AssertionError as error:
            missing = set(sent) - {one["request"] for one in collector.of(name)}
            command = [BINARY, "logs", name, "--endpoint-url", home.service.url]
            logs = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            lines = [line for line in logs.splitlines() if any(one in line for one in missing)]
            raise AssertionError(f"{missing}: {lines} {home.service.stderr()[-4000:]}") from error
        self.assertGreaterEqual(len(attempts), len(sent))
        send(name, {"id": "other"}, client)
        home.service.stop()

    def test_a_damaged_event_is_told_and_stops_no_other(self):
        home = Home(self, "--async-retry-scale", "0.1")
        client = home.start().client()
        name = function(client)
        marks = {key: key * 3000 for key in ("a", "b")}
        for key, mark in marks.items():
            collector.acts[key] = ["fail", "succeed"]
            send(name, {"id": key, "mark": mark}, client)
            collector.wait(name, name=key)
        # Into the main file, where a disk goes bad.
        home.service.stop()
        store = os.path.join(home.data, "store.sqlite")
        connection = sqlite3.connect(store)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
        with open(store, "rb") as file:
            content = file.read()
        self.assertIn(b"a" * 1000, content)
        with open(store, "wb") as file:
            file.write(content.replace(b"a" * 1000, b"?" * 1000))
        home.start()
        collector.wait(name, 2, "b")
        wait_until(lambda: "is damaged on the disk" in home.service.stderr(), "it is told")
        self.assertEqual(len(collector.of(name, "a")), 1)
        home.service.stop()


class Killed(unittest.TestCase):
    def test_acknowledged_events_run_whatever_is_killed(self):
        home = Home(self, "--async-retry-scale", "0.01")
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        own = home.start()
        names = [function(own.client()) for _ in range(3)]
        acknowledged, refused = [], 0
        for _ in range(KILLS):
            begun, stop = threading.Event(), threading.Event()

            def work():
                nonlocal refused
                connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=30)
                for number in range(100):
                    if stop.is_set():
                        break
                    identity = uuid.uuid4().hex
                    name = names[number % len(names)]
                    # Some fail first, so that retries are on the disk as well.
                    act = ["fail", "succeed"] if number % 10 == 0 else ["succeed"]
                    collector.acts[identity] = act
                    path = f"/2015-03-31/functions/{name}/invocations"
                    fields = {"X-Amz-Invocation-Type": "Event"}
                    try:
                        body = json.dumps({"id": identity, "filler": "x" * chance.randrange(5000)})
                        connection.request("POST", path, body, fields)
                        if connection.getresponse().read() == b"":
                            acknowledged.append(identity)
                            begun.set()
                    except (OSError, http.client.HTTPException):
                        refused += 1
                        break
                connection.close()

            workers = [threading.Thread(target=work) for _ in range(8)]
            for worker in workers:
                worker.start()
            begun.wait(30)
            # The moment is the point, so it is left to chance.
            stop.wait(chance.random() * 0.2)
            home.service.process.send_signal(signal.SIGKILL)
            home.service.kill()
            stop.set()
            for worker in workers:
                worker.join()
            own = home.start()

        def missing():
            with collector.changed:
                seen = {one["id"] for one in collector.attempts}
            return [identity for identity in acknowledged if identity not in seen]

        wait_until(lambda: not missing(), lambda: f"seed {seed}; lost: {len(missing())} {missing()[:5]}", 300)
        own.stop()
        runs = {}
        for one in collector.attempts:
            identity = one["id"]
            runs[identity] = runs.get(identity, 0) + 1
        twice = sum(runs[identity] > 1 for identity in acknowledged if len(collector.acts[identity]) == 1)
        print(
            f"seed {seed}: {KILLS} kills, {len(acknowledged)} acknowledged, 0 lost,"
            f" {twice} ran more often than asked, {refused} cut off",
            end=" ",
            flush=True,
        )
        self.assertGreater(len(acknowledged), KILLS * 5)


if __name__ == "__main__":
    unittest.main()
