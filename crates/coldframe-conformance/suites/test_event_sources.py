"""Event source mappings: what lies in a queue comes to a function, and stays until it is done.

The queues are moto's. Where it behaves unlike SQS:

- A poll for a FIFO queue looks at its beginning only which groups are in flight, so that what
  follows in a group waits for the next poll: here polls wait for a second.
- A poll goes on at the queue when its connection is gone, and takes a message along. SQS may, too:
  it comes again after its visibility timeout.
- Messages that two polls wait for may be handed to both: a function may see one twice.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import unittest
import uuid
from pathlib import Path

import schema
from services import Moto
from sources import APP, Collector, refused
from support import (
    DEADLINE_S,
    REGION,
    Service,
    client_of,
    deploy,
    updated,
    wait_until,
    zip_of,
)

ACCOUNT = "000000000000"

# Seconds. Messages that are not done come again soon.
VISIBILITY = 3

# How often the service is killed while messages flow.
KILLS = int(os.environ.get("COLDFRAME_ESM_KILLS", "5"))

# Polls that wait for a second; after a failure the next one in 100 ms.
FAST = ("--sqs-wait", "1s", "--async-retry-scale", "0.1")

def setUpModule():
    global collector, moto, sqs, variables, service, client, seen
    collector = Collector(lambda record: record["body"], lambda: service.stderr())
    moto = Moto().__enter__()
    sqs = moto.client("sqs")
    variables = {
        "AWS_ENDPOINT_URL_SQS": moto.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    service = start()
    client = service.client()
    seen = schema.watch(client)


def tearDownModule():
    service.stop()
    moto.__exit__()
    collector.close()


def start(**more):
    options = (*FAST, "--allow-host-port", str(collector.port))
    return Service(*options, variables=variables, **more).start()


def function(client=None, **config):
    """A function of its own that knows the collector; its name."""
    config.setdefault("Environment", {"Variables": {"PORT": str(collector.port)}})
    config.setdefault("Timeout", VISIBILITY)
    name = f"f-{uuid.uuid4()}"
    return deploy(client or globals()["client"], name, {"app.py": APP}, **config)


class Queue:
    def __init__(self, name=None, visibility=VISIBILITY, **attributes):
        self.name = name or str(uuid.uuid4())
        attributes.setdefault("VisibilityTimeout", str(visibility))
        self.url = sqs.create_queue(QueueName=self.name, Attributes=attributes)["QueueUrl"]
        self.arn = self.attributes()["QueueArn"]

    def attributes(self):
        return sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]

    def send(self, *bodies, **more):
        for body in bodies:
            sqs.send_message(QueueUrl=self.url, MessageBody=body, **more)

    def left(self):
        """Messages that wait, and that are in flight."""
        found = self.attributes()
        names = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        return tuple(int(found[name]) for name in names)

    def wait_empty(self):
        wait_until(lambda: self.left() == (0, 0), lambda: f"{self.left()}; {service.stderr()}")


def said():
    """What the service has told of itself, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", service.stderr())


def state_of(mapping, client=None):
    client = client or globals()["client"]
    try:
        return client.get_event_source_mapping(UUID=mapping)["State"]
    except client.exceptions.ResourceNotFoundException:
        return None


def wait_for(mapping, state, client=None):
    wait_until(lambda: state_of(mapping, client) == state, f"{mapping} is {state}")


def connect(queue, name, client=None, **config):
    """A mapping that is as it was asked for; its id."""
    client = client or globals()["client"]
    made = client.create_event_source_mapping(
        EventSourceArn=queue.arn, FunctionName=name, **config
    )
    wait_for(made["UUID"], "Enabled" if config.get("Enabled", True) else "Disabled", client)
    return made["UUID"]


INVALID = "InvalidParameterValueException"


class Configuration(unittest.TestCase):
    def test_the_life_of_a_mapping(self):
        name, queue = function(), Queue()
        made = client.create_event_source_mapping(EventSourceArn=queue.arn, FunctionName=name)
        mapping = made["UUID"]
        self.assertEqual(made["ResponseMetadata"]["HTTPStatusCode"], 202)
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:"
        expected = {
            "UUID": mapping,
            "BatchSize": 10,
            "MaximumBatchingWindowInSeconds": 0,
            "FunctionResponseTypes": [],
            "EventSourceArn": queue.arn,
            "EventSourceMappingArn": f"{arn}event-source-mapping:{mapping}",
            "FunctionArn": f"{arn}function:{name}",
            "State": "Creating",
            "StateTransitionReason": "USER_INITIATED",
        }

        def plain(found):
            found = dict(found)
            found.pop("ResponseMetadata", None)
            self.assertLess(abs(found.pop("LastModified").timestamp() - time.time()), 60)
            return found

        self.assertEqual(plain(made), expected)
        wait_for(mapping, "Enabled")
        expected["State"] = "Enabled"
        self.assertEqual(plain(client.get_event_source_mapping(UUID=mapping)), expected)
        (listed,) = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        self.assertEqual(plain(listed), expected)

        changed = client.update_event_source_mapping(UUID=mapping, BatchSize=3)
        self.assertEqual(changed["ResponseMetadata"]["HTTPStatusCode"], 202)
        self.assertEqual(plain(changed), {**expected, "State": "Updating", "BatchSize": 3})
        # The poll that waits at the queue ends first.
        refused(
            self,
            "ResourceInUseException",
            "Cannot delete the event source mapping because it is in use.",
            client.delete_event_source_mapping,
            UUID=mapping,
        )
        wait_for(mapping, "Enabled")
        changed = client.update_event_source_mapping(UUID=mapping, Enabled=False)
        self.assertEqual(changed["State"], "Disabling")
        wait_for(mapping, "Disabled")
        changed = client.update_event_source_mapping(UUID=mapping, Enabled=True)
        self.assertEqual(changed["State"], "Enabling")
        wait_for(mapping, "Enabled")
        deleted = client.delete_event_source_mapping(UUID=mapping)
        self.assertEqual(deleted["ResponseMetadata"]["HTTPStatusCode"], 202)
        self.assertEqual(plain(deleted), {**expected, "State": "Deleting", "BatchSize": 3})
        wait_for(mapping, None)
        self.assertEqual(client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"], [])
        for operation in ("Create", "Get", "Update", "Delete"):
            self.assertGreater(seen[f"{operation}EventSourceMapping"], 0)

    def test_what_is_given_is_echoed(self):
        name, queue = function(), Queue()
        given = {
            "BatchSize": 100,
            "MaximumBatchingWindowInSeconds": 5,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 2},
            "FilterCriteria": {"Filters": [{"Pattern": '{"body":{"a":[1]}}'}]},
        }
        made = client.create_event_source_mapping(
            EventSourceArn=queue.arn, FunctionName=name, Enabled=False, **given
        )
        self.assertEqual(made["State"], "Disabled")
        self.assertEqual({key: made[key] for key in given}, given)
        mapping = made["UUID"]
        changed = client.update_event_source_mapping(
            UUID=mapping, FilterCriteria={}, ScalingConfig={}, FunctionResponseTypes=[]
        )
        self.assertNotIn("FilterCriteria", changed)
        self.assertNotIn("ScalingConfig", changed)
        self.assertEqual(changed["FunctionResponseTypes"], [])
        self.assertEqual(changed["BatchSize"], 100)
        wait_for(mapping, "Disabled")

    def test_refusals(self):
        name, queue = function(), Queue()
        create = client.create_event_source_mapping

        def check(text, code=INVALID, **arguments):
            arguments = {"EventSourceArn": queue.arn, "FunctionName": name, **arguments}
            arguments = {key: value for key, value in arguments.items() if value is not None}
            refused(self, code, text, create, **arguments)

        check("Function does not exist", FunctionName="absent")
        check("Function does not exist", FunctionName=f"{name}:absent")
        check("Unrecognized event source.", EventSourceArn=None)
        check("Unrecognized event source.", EventSourceArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:t")
        broker = f"arn:aws:mq:{REGION}:{ACCOUNT}:broker:b:1"
        check(
            "An event source mapping of Amazon MQ is not supported by this server",
            "NotImplementedException",
            EventSourceArn=broker,
        )
        check(
            "Error occurred while ReceiveMessage. SQS Error Code:"
            " AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does"
            " not exist.",
            EventSourceArn=f"{queue.arn}-absent",
        )
        check(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is"
            " greater than 10",
            BatchSize=11,
        )
        check(
            "Unsupported DestinationConfig parameter for given event source mapping type.",
            DestinationConfig={"OnFailure": {"Destination": queue.arn}},
        )
        for pattern in ("no json", "[]", '{"body":"x"}', '{"body":[{"wildcard":"*"}]}'):
            filters = {"Filters": [{"Pattern": pattern}]}
            check("Invalid filter pattern definition.", FilterCriteria=filters)
        patient = function(Timeout=300)
        check(
            "Queue visibility timeout: 3 seconds is less than Function timeout: 300 seconds",
            FunctionName=patient,
        )
        mapping = connect(queue, name, Enabled=False)
        check(
            f'An event source mapping with SQS arn (" {queue.arn} ") and function (" {name} ")'
            f" already exists. Please update or delete the existing mapping with UUID {mapping}",
            "ResourceConflictException",
        )

    def test_unknown_ids(self):
        text = "The resource you requested does not exist."
        calls = (
            client.get_event_source_mapping,
            client.update_event_source_mapping,
            client.delete_event_source_mapping,
        )
        mapping = connect(Queue(), function(), Enabled=False)
        other = client_of(service, "123456789012")
        for call in calls:
            for unknown in (str(uuid.uuid4()), "x" * 36):
                refused(self, "ResourceNotFoundException", text, call, UUID=unknown)
            # Another account's.
            call = getattr(other, call.__name__)
            refused(self, "ResourceNotFoundException", text, call, UUID=mapping)
        self.assertEqual(other.list_event_source_mappings()["EventSourceMappings"], [])

    def test_lists(self):
        first, second, queue = function(), function(), Queue()
        mappings = {connect(queue, first, Enabled=False), connect(queue, second, Enabled=False)}
        mappings.add(connect(Queue(), first, Enabled=False))

        def found(**arguments):
            pages = client.get_paginator("list_event_source_mappings").paginate(**arguments)
            return [one["UUID"] for page in pages for one in page["EventSourceMappings"]]

        self.assertEqual(len(found(FunctionName=first)), 2)
        self.assertEqual(len(found(EventSourceArn=queue.arn)), 2)
        self.assertEqual(len(found(EventSourceArn=queue.arn, FunctionName=second)), 1)
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{first}"
        self.assertEqual(found(FunctionName=arn), found(FunctionName=first))
        paged = found(PaginationConfig={"PageSize": 1})
        self.assertEqual(len(paged), len(set(paged)))
        self.assertLessEqual(mappings, set(paged))

    def test_tags(self):
        made = client.create_event_source_mapping(
            EventSourceArn=Queue().arn, FunctionName=function(), Enabled=False, Tags={"a": "1"}
        )
        arn = made["EventSourceMappingArn"]
        client.tag_resource(Resource=arn, Tags={"b": "2"})
        self.assertEqual(client.list_tags(Resource=arn)["Tags"], {"a": "1", "b": "2"})
        client.untag_resource(Resource=arn, TagKeys=["a", "absent"])
        self.assertEqual(client.list_tags(Resource=arn)["Tags"], {"b": "2"})
        absent = arn.replace(made["UUID"], str(uuid.uuid4()))
        text = f"Event source mapping not found: {absent}"
        refused(self, "ResourceNotFoundException", text, client.list_tags, Resource=absent)

    def test_without_an_endpoint(self):
        with Service() as lonely:
            name = deploy(lonely.client(), "f", {"app.py": APP})
            refused(
                self,
                INVALID,
                "Error occurred while ReceiveMessage. No SQS endpoint is configured: start coldframe"
                " with --sqs-endpoint URL or AWS_ENDPOINT_URL_SQS",
                lonely.client().create_event_source_mapping,
                EventSourceArn=Queue().arn,
                FunctionName=name,
            )

    def test_the_aws_cli(self):
        name, queue = function(), Queue()
        program = Path(os.environ["COLDFRAME_TOOLS"]) / "venv/bin/aws"

        def aws(*words):
            command = [program, "lambda", *words, "--endpoint-url", service.url, "--output", "json"]
            environment = {**os.environ, **variables, "AWS_DEFAULT_REGION": REGION}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)

        source = "--event-source-arn", queue.arn
        made = aws("create-event-source-mapping", "--function-name", name, *source)
        queue.send("by the CLI")
        collector.wait_for(name, "by the CLI")
        (listed,) = aws("list-event-source-mappings", *source)["EventSourceMappings"]
        self.assertEqual(listed["UUID"], made["UUID"])
        wait_for(made["UUID"], "Enabled")
        deleted = aws("delete-event-source-mapping", "--uuid", made["UUID"])
        self.assertEqual(deleted["State"], "Deleting")


class Polling(unittest.TestCase):
    def test_a_message_comes_as_aws_sends_it_and_is_deleted(self):
        name, queue = function(), Queue()
        connect(queue, name)
        title = {"StringValue": "The Whistler", "DataType": "String"}
        sent = sqs.send_message(
            QueueUrl=queue.url,
            MessageBody='{"é": "line\\nbreak"}',
            MessageAttributes={
                "Title": title,
                "Bytes": {"BinaryValue": b"\0\1\2", "DataType": "Binary"},
            },
        )
        (batch,) = collector.wait_for(name, '{"é": "line\\nbreak"}')
        (record,) = batch["event"].pop("Records")
        self.assertEqual(batch["event"], {})
        attributes = record.pop("attributes")
        self.assertRegex(record.pop("receiptHandle"), ".+")
        lists = {"stringListValues": [], "binaryListValues": []}
        self.assertEqual(
            record,
            {
                "messageId": sent["MessageId"],
                "body": '{"é": "line\\nbreak"}',
                "md5OfBody": sent["MD5OfMessageBody"],
                "messageAttributes": {
                    "Title": {"stringValue": "The Whistler", "dataType": "String", **lists},
                    "Bytes": {"binaryValue": "AAEC", "dataType": "Binary", **lists},
                },
                "md5OfMessageAttributes": sent["MD5OfMessageAttributes"],
                "eventSource": "aws:sqs",
                "eventSourceARN": queue.arn,
                "awsRegion": REGION,
            },
        )
        self.assertEqual(attributes["ApproximateReceiveCount"], "1")
        for stamp in ("SentTimestamp", "ApproximateFirstReceiveTimestamp"):
            self.assertRegex(attributes[stamp], r"\A\d{13}\Z")
        self.assertIn("SenderId", attributes)
        queue.wait_empty()
        queue.send("plain")
        record = collector.wait_for(name, "plain")[-1]["event"]["Records"][0]
        self.assertEqual(record["messageAttributes"], {})
        self.assertIsNone(record["md5OfMessageAttributes"])

    def test_a_failed_batch_comes_again_whole(self):
        name, queue = function(), Queue()
        times = []

        def act(records):
            times.append(len(records))
            return {"raise": "no"} if len(times) == 1 else {}

        collector.acts[name] = act
        queue.send("one", "two", "three")
        connect(queue, name)
        collector.wait(name, lambda bodies: len(bodies) >= 6)
        queue.wait_empty()
        batches = collector.of(name)
        self.assertEqual(sorted(batches[0]["bodies"]), ["one", "three", "two"])
        again = [record for batch in batches[1:] for record in batch["event"]["Records"]]
        self.assertEqual(sorted(record["body"] for record in again), ["one", "three", "two"])
        for record in again:
            self.assertEqual(record["attributes"]["ApproximateReceiveCount"], "2")

    def test_only_what_failed_comes_again(self):
        name, queue = function(), Queue()

        def act(records):
            bad = [
                record["messageId"]
                for record in records
                if record["body"].startswith("bad")
                and record["attributes"]["ApproximateReceiveCount"] == "1"
            ]
            return {"return": {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}}

        collector.acts[name] = act
        queue.send("good 1", "bad 1", "good 2", "bad 2")
        connect(queue, name, FunctionResponseTypes=["ReportBatchItemFailures"])
        collector.wait(name, lambda bodies: len(bodies) >= 6)
        queue.wait_empty()
        bodies = sorted(collector.bodies(name))
        self.assertEqual(bodies, ["bad 1", "bad 1", "bad 2", "bad 2", "good 1", "good 2"])

    def test_an_unknown_id_fails_the_whole_batch_and_only_with_the_setting(self):
        answer = {"return": {"batchItemFailures": [{"itemIdentifier": "unknown"}]}}
        heeding, other = function(), function()
        queues = Queue(), Queue()
        for name in (heeding, other):
            collector.acts[name] = lambda records: (
                answer if records[0]["attributes"]["ApproximateReceiveCount"] == "1" else {}
            )
        connect(queues[0], heeding, FunctionResponseTypes=["ReportBatchItemFailures"])
        connect(queues[1], other)
        for queue in queues:
            queue.send("one")
        collector.wait(heeding, lambda bodies: bodies == ["one", "one"])
        for queue in queues:
            queue.wait_empty()
        self.assertEqual(collector.bodies(other), ["one"])

    def test_filters(self):
        name, queue = function(), Queue()
        patterns = '{"body":{"kind":["a"],"n":[{"numeric":[">",1]}]}}', '{"body":[{"prefix":"x"}]}'
        queue.send('{"kind":"a","n":1}', '{"kind":"a","n":2}', '{"kind":"b","n":2}', "x1", "y1")
        filters = {"Filters": [{"Pattern": pattern} for pattern in patterns]}
        mapping = connect(queue, name, FilterCriteria=filters)
        # What passes no filter is deleted unseen.
        queue.wait_empty()
        self.assertEqual(sorted(collector.bodies(name)), ["x1", '{"kind":"a","n":2}'])
        client.update_event_source_mapping(UUID=mapping, FilterCriteria={})
        wait_for(mapping, "Enabled")
        queue.send("y2")
        collector.wait_for(name, "y2")

    def test_a_disabled_mapping_leaves_the_queue_alone(self):
        name, queue = function(), Queue()
        mapping = connect(queue, name, Enabled=False)
        queue.send("before")
        other = function()
        parallel = Queue()
        connect(parallel, other)
        parallel.send("polled")
        collector.wait_for(other, "polled")
        self.assertEqual(queue.left(), (1, 0))
        client.update_event_source_mapping(UUID=mapping, Enabled=True)
        collector.wait_for(name, "before")
        queue.wait_empty()
        wait_for(mapping, "Enabled")
        client.update_event_source_mapping(UUID=mapping, Enabled=False)
        wait_for(mapping, "Disabled")
        queue.send("after")
        parallel.send("polled again")
        collector.wait_for(other, "polled again")
        self.assertEqual(queue.left(), (1, 0))
        self.assertEqual(collector.bodies(name), ["before"])
        client.delete_event_source_mapping(UUID=mapping)
        wait_for(mapping, None)
        # And may be made again.
        connect(queue, name)
        collector.wait_for(name, "after")

    def test_batches_by_size_and_window(self):
        name, queue = function(), Queue(visibility=30)
        bodies = [f"m{number}" for number in range(25)]
        queue.send(*bodies)
        connect(queue, name, BatchSize=20, MaximumBatchingWindowInSeconds=2)
        batches = collector.wait_for(name, *bodies)
        # The first is full, the second's window ends.
        self.assertEqual([len(batch["bodies"]) for batch in batches], [20, 5])
        single = function()
        queue = Queue()
        queue.send("a", "b", "c")
        connect(queue, single, BatchSize=1)
        batches = collector.wait_for(single, "a", "b", "c")
        self.assertEqual([len(batch["bodies"]) for batch in batches], [1, 1, 1])

    def test_no_more_at_once_than_the_mapping_may(self):
        name, queue = function(Timeout=30), Queue(visibility=30)
        gate, counts, running = threading.Event(), [], []

        def act(records):
            running.append(records)
            counts.append(len(running))
            gate.wait(20)
            running.remove(records)
            return {}

        collector.acts[name] = act
        queue.send(*"abcdef")
        connect(queue, name, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
        collector.wait(name, lambda bodies: len(bodies) == 2)
        # No third is taken from the queue.
        self.assertEqual(queue.left(), (4, 2))
        gate.set()
        collector.wait_for(name, *"abcdef")
        queue.wait_empty()
        self.assertLessEqual(max(counts), 2)

    def test_a_group_of_a_fifo_queue_comes_in_order(self):
        name = function(Timeout=10)
        queue = Queue(f"{uuid.uuid4()}.fifo", visibility=10, FifoQueue="true")
        for number in range(6):
            for group in "ab":
                queue.send(f"{group}{number}", MessageGroupId=group, MessageDeduplicationId=f"{group}{number}")
        connect(queue, name, BatchSize=3)
        expected = [f"{group}{number}" for group in "ab" for number in range(6)]
        batches = collector.wait_for(name, *expected)
        queue.wait_empty()
        records = [record for batch in batches for record in batch["event"]["Records"]]
        for group in "ab":
            own = [one for one in records if one["attributes"]["MessageGroupId"] == group]
            self.assertEqual([one["body"] for one in own], [f"{group}{n}" for n in range(6)])
            for one in own:
                self.assertIn("SequenceNumber", one["attributes"])
                self.assertEqual(one["attributes"]["MessageDeduplicationId"], one["body"])

    def test_a_mapping_follows_its_alias(self):
        name, queue = function(), Queue()
        version = client.publish_version(FunctionName=name)["Version"]
        client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
        mapping = connect(queue, f"{name}:live")
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}:live"
        self.assertEqual(client.get_event_source_mapping(UUID=mapping)["FunctionArn"], arn)
        queue.send("first")
        (batch,) = collector.wait_for(name, "first")
        self.assertEqual((batch["version"], batch["arn"]), ("one", arn))
        changed = zip_of({"app.py": APP.replace('"one"', '"two"')})
        client.update_function_code(FunctionName=name, ZipFile=changed)
        updated(client, name)
        queue.send("second")
        self.assertEqual(collector.wait_for(name, "second")[-1]["version"], "one")
        version = client.publish_version(FunctionName=name)["Version"]
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
        queue.send("third")
        self.assertEqual(collector.wait_for(name, "third")[-1]["version"], "two")

    def test_a_mapping_outlives_its_function(self):
        name, queue = function(), Queue()
        mapping = connect(queue, name)
        client.delete_function(FunctionName=name)
        self.assertEqual(state_of(mapping), "Enabled")
        told = f"not polled: there is no such function mapping={mapping}"
        wait_until(lambda: told in said(), said)
        queue.send("waiting")
        deploy(
            client,
            name,
            {"app.py": APP},
            Timeout=VISIBILITY,
            Environment={"Variables": {"PORT": str(collector.port)}},
        )
        collector.wait_for(name, "waiting")
        queue.wait_empty()

    def test_a_queue_that_is_away_is_told_once_and_polled_again(self):
        name, queue = function(), Queue()
        mapping = connect(queue, name)
        sqs.delete_queue(QueueUrl=queue.url)
        warning = re.compile(rf"WARN.*a queue cannot be polled mapping={mapping}.*QueueDoesNotExist")
        wait_until(lambda: warning.search(said()), said)
        other, another = Queue(), function()
        connect(other, another)
        for number in range(3):
            other.send(f"{number}")
            collector.wait_for(another, f"{number}")
        again = Queue(queue.name)
        again.send("back")
        collector.wait_for(name, "back")
        self.assertEqual(len(warning.findall(said())), 1)

    def test_throttled_messages_come_later(self):
        name, queue = function(), Queue()
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        connect(queue, name)
        queue.send("later")
        wait_until(lambda: queue.left() == (0, 1), "it was received")
        client.delete_function_concurrency(FunctionName=name)
        (batch,) = collector.wait_for(name, "later")
        received = int(batch["event"]["Records"][0]["attributes"]["ApproximateReceiveCount"])
        self.assertGreater(received, 1)
        queue.wait_empty()


class Ending(unittest.TestCase):
    """Services of their own, whose ends leave nothing undone."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.data = directory.name

    def test_what_runs_at_the_end_is_done_and_the_next_service_goes_on(self):
        first = start(data=self.data)
        self.addCleanup(lambda: first.process.poll() is None and first.kill())
        own = first.client()
        # What a poll that is cut takes along is back in time.
        name, queue = function(own, Timeout=10), Queue(visibility=10)
        gate = threading.Event()

        def act(records):
            gate.wait(8)
            return {}

        collector.acts[name] = act
        mapping = connect(queue, name, own)
        queue.send("running")
        collector.wait_for(name, "running")
        first.terminate()
        gate.set()
        # A second signal would cut it short.
        first.process.wait(DEADLINE_S)
        first.stop()
        # Done, and deleted before the end.
        self.assertEqual(queue.left(), (0, 0))
        queue.send("between")
        second = start(data=self.data)
        self.addCleanup(second.stop)
        self.assertEqual(state_of(mapping, second.client()), "Enabled")
        collector.wait_for(name, "between")
        queue.wait_empty()

    def test_a_transition_that_was_cut_is_ended_by_the_next_service(self):
        first = start(data=self.data)
        own = first.client()
        queue = Queue()
        mapping = connect(queue, function(own), own)
        # The poll that waits at the queue keeps it in between.
        self.assertEqual(own.delete_event_source_mapping(UUID=mapping)["State"], "Deleting")
        self.assertEqual(state_of(mapping, own), "Deleting")
        first.kill()
        second = start(data=self.data)
        self.addCleanup(second.stop)
        wait_for(mapping, None, second.client())

    def test_nothing_is_lost_whenever_the_service_is_killed(self):
        current = start(data=self.data)
        own = current.client()
        name, queue = function(own), Queue()
        connect(queue, name, own, BatchSize=2)
        expected = [f"m{number}" for number in range(20 * (KILLS + 1))]
        for kill in range(KILLS + 1):
            part = expected[20 * kill : 20 * (kill + 1)]
            queue.send(*part)
            # In the midst of them.
            collector.wait(name, lambda bodies: len(set(part) & set(bodies)) >= 5, 60)
            if kill < KILLS:
                current.kill()
                current = start(data=self.data)
        self.addCleanup(current.stop)
        collector.wait(name, lambda bodies: set(expected) <= set(bodies), 60)
        queue.wait_empty()


if __name__ == "__main__":
    unittest.main()
