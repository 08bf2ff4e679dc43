"""Event source mappings of Kinesis and of DynamoDB's streams: records come in order, and stay to be
retried until they are done.

The streams are moto's. Where it behaves unlike AWS:

- A shard that was split is never read to an end, and what is put afterwards may still go to it: that
  children follow their parents is tested beside the code.
- The stream of a table has one shard.
- Its sequence numbers begin anew in each shard of Kinesis.
"""

import base64
import datetime
import json
import os
import re
import tempfile
import time
import unittest
import uuid

import schema
from services import Moto
from sources import APP, Collector, refused
from support import DEADLINE_S, REGION, Service, client_of, deploy, wait_until

ACCOUNT = "000000000000"
STREAMS = "123456789012"
INVALID = "InvalidParameterValueException"

# How often the service is killed while records flow.
KILLS = int(os.environ.get("COLDFRAME_ESM_KILLS", "5"))

# After a failure the next attempt is in 50 ms, then in 100 ms; a minute of age is 3 s.
FAST = ("--async-retry-scale", "0.05")


def body_of(record):
    if "kinesis" in record:
        return base64.b64decode(record["kinesis"]["data"]).decode()
    keys = record["dynamodb"]["Keys"]
    return f"{record['eventName']} {keys['id']['S']}"


def setUpModule():
    global collector, moto, kinesis, dynamodb, sqs, s3, variables, service, client, seen
    collector = Collector(body_of, lambda: service.stderr())
    moto = Moto().__enter__()
    kinesis, dynamodb, sqs, s3 = map(moto.client, ("kinesis", "dynamodb", "sqs", "s3"))
    variables = {
        "AWS_ENDPOINT_URL_KINESIS": moto.url,
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": moto.url,
        "AWS_ENDPOINT_URL_SQS": moto.url,
        "AWS_ENDPOINT_URL_S3": moto.url,
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
    name = f"f-{uuid.uuid4()}"
    return deploy(client or globals()["client"], name, {"app.py": APP}, **config)


class Stream:
    def __init__(self, shards=1):
        self.name = str(uuid.uuid4())
        kinesis.create_stream(StreamName=self.name, ShardCount=shards)
        found = kinesis.describe_stream_summary(StreamName=self.name)
        self.arn = found["StreamDescriptionSummary"]["StreamARN"]

    def put(self, *bodies, key="k"):
        for body in bodies:
            kinesis.put_record(StreamName=self.name, Data=body.encode(), PartitionKey=key)


class Table:
    def __init__(self):
        self.name = str(uuid.uuid4())
        made = dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.arn = made["TableDescription"]["LatestStreamArn"]

    def put(self, id, **more):
        item = {"id": {"S": id}, **{name: {"S": value} for name, value in more.items()}}
        dynamodb.put_item(TableName=self.name, Item=item)

    def delete(self, id):
        dynamodb.delete_item(TableName=self.name, Key={"id": {"S": id}})


class Queue:
    """Where what is told of failures goes."""

    def __init__(self):
        self.url = sqs.create_queue(QueueName=str(uuid.uuid4()))["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = found["Attributes"]["QueueArn"]

    def told(self):
        """The next record, which comes soon."""
        found = wait_until(
            lambda: sqs.receive_message(QueueUrl=self.url).get("Messages"),
            lambda: f"a record of failure; {service.stderr()}",
        )
        sqs.delete_message(QueueUrl=self.url, ReceiptHandle=found[0]["ReceiptHandle"])
        return json.loads(found[0]["Body"])


def destination(arn):
    return {"OnFailure": {"Destination": arn}}


def get(mapping, client=None):
    return (client or globals()["client"]).get_event_source_mapping(UUID=mapping)


def wait_for(mapping, client=None, **members):
    def there():
        found = get(mapping, client)
        return all(found[name] == value for name, value in members.items())

    wait_until(there, lambda: f"{members} of {get(mapping, client)}; {service.stderr()}")


def connect(source, name, client=None, **config):
    """A mapping that is as it was asked for; its id."""
    config.setdefault("StartingPosition", "TRIM_HORIZON")
    made = (client or globals()["client"]).create_event_source_mapping(
        EventSourceArn=source.arn, FunctionName=name, **config
    )
    state = "Enabled" if config.get("Enabled", True) else "Disabled"
    wait_for(made["UUID"], client, State=state)
    return made["UUID"]


def change(mapping, state, **config):
    client.update_event_source_mapping(UUID=mapping, **config)
    wait_for(mapping, State=state)


def plain(found):
    """A configuration without what is never the same."""
    found = dict(found)
    found.pop("ResponseMetadata", None)
    assert abs(found.pop("LastModified").timestamp() - time.time()) < 60
    return found


class Configuration(unittest.TestCase):
    def check_life(self, source, put, body):
        name = function()
        made = client.create_event_source_mapping(
            EventSourceArn=source.arn, FunctionName=name, StartingPosition="TRIM_HORIZON"
        )
        mapping = made["UUID"]
        self.assertEqual(made["ResponseMetadata"]["HTTPStatusCode"], 202)
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:"
        expected = {
            "UUID": mapping,
            "BatchSize": 100,
            "MaximumBatchingWindowInSeconds": 0,
            "ParallelizationFactor": 1,
            "BisectBatchOnFunctionError": False,
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": -1,
            "TumblingWindowInSeconds": 0,
            "DestinationConfig": {"OnFailure": {}},
            "FunctionResponseTypes": [],
            "StartingPosition": "TRIM_HORIZON",
            "EventSourceArn": source.arn,
            "EventSourceMappingArn": f"{arn}event-source-mapping:{mapping}",
            "FunctionArn": f"{arn}function:{name}",
            "State": "Creating",
            "StateTransitionReason": "User action",
            "LastProcessingResult": "No records processed",
        }
        self.assertEqual(plain(made), expected)
        wait_for(mapping, State="Enabled")
        expected["State"] = "Enabled"
        self.assertEqual(plain(get(mapping)), expected)
        put()
        collector.wait_for(name, body)
        wait_for(mapping, LastProcessingResult="OK")
        expected["LastProcessingResult"] = "OK"
        (listed,) = client.list_event_source_mappings(EventSourceArn=source.arn)["EventSourceMappings"]
        self.assertEqual(plain(listed), expected)
        changed = client.update_event_source_mapping(UUID=mapping, BatchSize=3, MaximumRetryAttempts=0)
        expected |= {"BatchSize": 3, "MaximumRetryAttempts": 0}
        self.assertEqual(plain(changed), {**expected, "State": "Updating"})
        wait_for(mapping, State="Enabled")
        deleted = client.delete_event_source_mapping(UUID=mapping)
        self.assertEqual(plain(deleted), {**expected, "State": "Deleting"})
        found = client.list_event_source_mappings
        wait_until(lambda: not found(FunctionName=name)["EventSourceMappings"], "it is gone")

    def test_the_life_of_a_mapping_of_kinesis(self):
        stream = Stream()
        self.check_life(stream, lambda: stream.put("one"), "one")
        for operation in ("Create", "Get", "Update", "Delete"):
            self.assertGreater(seen[f"{operation}EventSourceMapping"], 0)

    def test_the_life_of_a_mapping_of_dynamodb(self):
        table = Table()
        self.check_life(table, lambda: table.put("one"), "INSERT one")

    def test_what_is_given_is_echoed(self):
        given = {
            "BatchSize": 10000,
            "MaximumBatchingWindowInSeconds": 300,
            "ParallelizationFactor": 10,
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 10000,
            "MaximumRecordAgeInSeconds": 604800,
            "DestinationConfig": destination(Queue().arn),
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "FilterCriteria": {"Filters": [{"Pattern": '{"data":{"a":[1]}}'}]},
        }
        at = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        made = client.create_event_source_mapping(
            EventSourceArn=Stream().arn,
            FunctionName=function(),
            Enabled=False,
            StartingPosition="AT_TIMESTAMP",
            StartingPositionTimestamp=at,
            **given,
        )
        self.assertEqual(made["State"], "Disabled")
        self.assertEqual({key: made[key] for key in given}, given)
        self.assertEqual(made["StartingPositionTimestamp"], at)
        changed = client.update_event_source_mapping(UUID=made["UUID"], DestinationConfig={"OnFailure": {}})
        self.assertEqual(changed["DestinationConfig"], {"OnFailure": {}})
        self.assertEqual(changed["MaximumRetryAttempts"], 10000)
        wait_for(made["UUID"], State="Disabled")

    def test_refusals(self):
        name, stream, table = function(), Stream(), Table()
        create = client.create_event_source_mapping

        def check(text, code=INVALID, **arguments):
            arguments = {
                "EventSourceArn": stream.arn,
                "FunctionName": name,
                "StartingPosition": "LATEST",
                **arguments,
            }
            arguments = {key: value for key, value in arguments.items() if value is not None}
            refused(self, code, text, create, **arguments)

        check("Function does not exist", FunctionName="absent")
        missing = "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null."
        for arn in (stream.arn, table.arn):
            check(missing, EventSourceArn=arn, StartingPosition=None)
        check(
            f"Unsupported starting position for arn type: {table.arn}",
            EventSourceArn=table.arn,
            StartingPosition="AT_TIMESTAMP",
            StartingPositionTimestamp=1,
        )
        for arn in (f"{stream.arn}-absent", table.arn.replace(table.name, "absent")):
            check(f"Stream not found: {arn}", EventSourceArn=arn)
        check(
            "Unsupported ScalingConfig parameter for given event source mapping type.",
            ScalingConfig={"MaximumConcurrency": 2},
        )
        check(
            "A destination in Apache Kafka is not supported by this server",
            "NotImplementedException",
            DestinationConfig=destination("kafka://topic"),
        )
        check(
            "An event source mapping of a consumer of a Kinesis stream is not supported by this server",
            "NotImplementedException",
            EventSourceArn=f"{stream.arn}/consumer/c:1700000000",
        )
        # Of a stream's data only JSON can be asked.
        for arn, pattern in ((stream.arn, '{"data":["x"]}'), (table.arn, '{"dynamodb":["x"]}')):
            filters = {"Filters": [{"Pattern": pattern}]}
            check("Invalid filter pattern definition.", EventSourceArn=arn, FilterCriteria=filters)
        mapping = connect(stream, name, Enabled=False)
        check(
            f'The event source arn (" {stream.arn} ") and function (" {name} ") provided mapping already'
            f" exists. Please update or delete the existing mapping with UUID {mapping}",
            "ResourceConflictException",
        )

    def test_without_an_endpoint(self):
        with Service() as lonely:
            name = deploy(lonely.client(), "f", {"app.py": APP})
            for arn, text in (
                (
                    Stream().arn,
                    "No Kinesis endpoint is configured: start coldframe with --kinesis-endpoint URL or"
                    " AWS_ENDPOINT_URL_KINESIS",
                ),
                (
                    Table().arn,
                    "No DynamoDB Streams endpoint is configured: start coldframe with"
                    " --dynamodb-streams-endpoint URL or AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
                ),
            ):
                refused(
                    self,
                    INVALID,
                    text,
                    lonely.client().create_event_source_mapping,
                    EventSourceArn=arn,
                    FunctionName=name,
                    StartingPosition="LATEST",
                )


class Kinesis(unittest.TestCase):
    def test_records_come_as_aws_sends_them_and_in_order(self):
        name, stream = function(), Stream()
        bodies = [f"é {number}" for number in range(30)]
        stream.put(*bodies)
        connect(stream, name, BatchSize=20)
        batches = collector.wait_for(name, *bodies)
        self.assertEqual([batch["bodies"] for batch in batches], [bodies[:20], bodies[20:]])
        record = batches[0]["event"]["Records"][0]
        arrived = record["kinesis"].pop("approximateArrivalTimestamp")
        self.assertLess(abs(arrived - time.time()), 60)
        role = client.get_function_configuration(FunctionName=name)["Role"]
        self.assertEqual(
            record,
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "k",
                    "sequenceNumber": "1",
                    "data": base64.b64encode(bodies[0].encode()).decode(),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": "shardId-000000000000:1",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": role,
                "awsRegion": REGION,
                "eventSourceARN": stream.arn,
            },
        )

    def test_a_batch_that_fails_blocks_its_shard(self):
        name, stream = function(), Stream()
        times = []

        def act(records):
            times.append(len(records))
            return {"raise": "no"} if len(times) <= 3 else {}

        collector.acts[name] = act
        stream.put("one", "two")
        mapping = connect(stream, name)
        wait_for(mapping, LastProcessingResult="PROBLEM: Function call failed")
        stream.put("three")
        batches = collector.wait_for(name, "three")
        self.assertEqual([one["bodies"] for one in batches], 4 * [["one", "two"]] + [["three"]])
        self.assertEqual(len({one["request"] for one in batches}), 5)
        wait_for(mapping, LastProcessingResult="OK")

    def test_halving_isolates_what_fails_and_it_is_told_of(self):
        name, stream, queue = function(), Stream(), Queue()
        poisoned = lambda records: any(body_of(record) == "poison" for record in records)
        collector.acts[name] = lambda records: {"raise": "no"} if poisoned(records) else {}
        stream.put("a", "b", "poison", "c")
        connect(
            stream,
            name,
            BisectBatchOnFunctionError=True,
            MaximumRetryAttempts=1,
            DestinationConfig=destination(queue.arn),
        )
        told = queue.told()
        stream.put("d")
        batches = collector.wait_for(name, "d")
        expected = [["a", "b", "poison", "c"], ["a", "b"], ["poison", "c"], ["poison"], ["poison"]]
        self.assertEqual([batch["bodies"] for batch in batches], [*expected, ["c"], ["d"]])
        moment = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z"
        info = told["KinesisBatchInfo"]
        first, last = (
            info.pop(f"approximateArrivalOf{which}Record") for which in ("First", "Last")
        )
        self.assertRegex(first, moment)
        self.assertEqual(first, last)
        self.assertRegex(told.pop("timestamp"), moment)
        self.assertEqual(
            told,
            {
                "requestContext": {
                    "requestId": batches[4]["request"],
                    "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
                    "condition": "RetryAttemptsExhausted",
                    # Two of them with others.
                    "approximateInvokeCount": 4,
                },
                "responseContext": {
                    "statusCode": 200,
                    "executedVersion": "$LATEST",
                    "functionError": "Unhandled",
                },
                "version": "1.0",
                "KinesisBatchInfo": {
                    "shardId": "shardId-000000000000",
                    "startSequenceNumber": "3",
                    "endSequenceNumber": "3",
                    "batchSize": 1,
                    "streamArn": stream.arn,
                },
            },
        )
        self.assertEqual(
            list(told), ["requestContext", "responseContext", "version", "KinesisBatchInfo"]
        )

    def test_from_the_lowest_that_failed_on_all_comes_again(self):
        name, stream, queue = function(), Stream(), Queue()

        def act(records):
            failed = [record for record in records if body_of(record).startswith("bad")]
            numbers = [record["kinesis"]["sequenceNumber"] for record in failed]
            return {"return": {"batchItemFailures": [{"itemIdentifier": one} for one in numbers[::-1]]}}

        collector.acts[name] = act
        stream.put("good", "bad 1", "fine", "bad 2")
        connect(
            stream,
            name,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            MaximumRetryAttempts=2,
            DestinationConfig=destination(queue.arn),
        )
        told = queue.told()
        batches = collector.of(name)
        rest = ["bad 1", "fine", "bad 2"]
        self.assertEqual([batch["bodies"] for batch in batches], [["good", *rest], rest, rest])
        self.assertEqual(told["requestContext"]["approximateInvokeCount"], 3)
        self.assertIsNone(told["responseContext"]["functionError"])
        self.assertEqual(told["KinesisBatchInfo"]["batchSize"], 3)
        stream.put("next")
        collector.wait_for(name, "next")

    def test_what_grows_too_old_is_given_up(self):
        name, stream, queue = function(), Stream(), Queue()
        collector.acts[name] = lambda records: (
            {"raise": "no"} if body_of(records[0]) == "old" else {}
        )
        stream.put("old")
        # 3 s, at the pace of this service.
        connect(
            stream, name, MaximumRecordAgeInSeconds=60, DestinationConfig=destination(queue.arn)
        )
        told = queue.told()
        self.assertEqual(told["requestContext"]["condition"], "RecordAgeExceeded")
        tries = len(collector.of(name))
        self.assertGreater(tries, 1)
        self.assertEqual(told["requestContext"]["approximateInvokeCount"], tries)
        self.assertNotIn("responseContext", told)
        stream.put("young")
        collector.wait_for(name, "young")

    def test_a_bucket_gets_the_records_too(self):
        name, stream, bucket = function(), Stream(), str(uuid.uuid4())
        s3.create_bucket(Bucket=bucket)
        collector.acts[name] = lambda records: {"raise": "no"}
        stream.put("lost")
        arn = f"arn:aws:s3:::{bucket}"
        mapping = connect(stream, name, MaximumRetryAttempts=0, DestinationConfig=destination(arn))
        (found,) = wait_until(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"), service.stderr)
        day = r"\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{36}"
        self.assertRegex(found["Key"], rf"\Aaws/lambda/{mapping}/shardId-000000000000/{day}\Z")
        told = json.load(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"])
        self.assertEqual(told["payload"], collector.of(name)[0]["event"])

    def test_filters(self):
        name, stream = function(), Stream()
        bodies = ['{"kind":"a","n":1}', '{"kind":"a","n":2}', "text", '{"kind":"b","n":2}']
        stream.put(*bodies)
        patterns = '{"data":{"kind":["a"],"n":[{"numeric":[">",1]}]}}', '{"partitionKey":["other"]}'
        filters = {"Filters": [{"Pattern": pattern} for pattern in patterns]}
        mapping = connect(stream, name, FilterCriteria=filters)
        stream.put("of another key", key="other")
        collector.wait_for(name, "of another key")
        self.assertEqual(collector.bodies(name), [bodies[1], "of another key"])
        # What was passed over is done.
        change(mapping, "Enabled", FilterCriteria={})
        stream.put("last")
        collector.wait_for(name, "last")
        self.assertEqual(collector.bodies(name), [bodies[1], "of another key", "last"])

    def test_it_begins_where_it_is_told(self):
        stream = Stream()
        stream.put("first")
        # The SDK sends whole seconds.
        middle = int(time.time()) + 1
        wait_until(lambda: time.time() >= middle, "the next second")
        stream.put("second")
        names = {}
        for position, more in (
            ("TRIM_HORIZON", {}),
            ("AT_TIMESTAMP", {"StartingPositionTimestamp": middle}),
            ("LATEST", {}),
        ):
            names[position] = function()
            connect(stream, names[position], StartingPosition=position, **more)
        stream.put("third")
        for name in names.values():
            collector.wait_for(name, "third")
        self.assertEqual(collector.bodies(names["TRIM_HORIZON"]), ["first", "second", "third"])
        self.assertEqual(collector.bodies(names["AT_TIMESTAMP"]), ["second", "third"])
        self.assertEqual(collector.bodies(names["LATEST"]), ["third"])

    def test_a_mapping_that_was_disabled_goes_on_where_it_was(self):
        name, stream = function(), Stream()
        stream.put("before")
        mapping = connect(stream, name, StartingPosition="TRIM_HORIZON")
        collector.wait_for(name, "before")
        wait_for(mapping, LastProcessingResult="OK")
        change(mapping, "Disabled", Enabled=False)
        stream.put("meanwhile")
        other = function()
        connect(stream, other)
        collector.wait_for(other, "meanwhile")
        self.assertEqual(collector.bodies(name), ["before"])
        change(mapping, "Enabled", Enabled=True)
        collector.wait_for(name, "meanwhile")
        self.assertEqual(collector.bodies(name), ["before", "meanwhile"])

    def test_shards_side_by_side(self):
        name, stream = function(), Stream(shards=4)
        expected = {}
        for key in "abcdefgh":
            expected[key] = [f"{key}{number}" for number in range(10)]
            stream.put(*expected[key], key=key)
        connect(stream, name, BatchSize=5, ParallelizationFactor=2)
        batches = collector.wait_for(name, *(body for bodies in expected.values() for body in bodies))
        shards = set()
        for batch in batches:
            found = {record["eventID"].split(":")[0] for record in batch["event"]["Records"]}
            self.assertEqual(len(found), 1)
            shards |= found
        self.assertGreater(len(shards), 1)
        for key, bodies in expected.items():
            self.assertEqual([body for body in collector.bodies(name) if body[0] == key], bodies)

    def test_a_batch_waits_for_its_window(self):
        name, stream = function(), Stream()
        since = time.time()
        stream.put("one", "two")
        connect(stream, name, MaximumBatchingWindowInSeconds=3)
        batches = collector.wait_for(name, "one", "two")
        self.assertEqual([batch["bodies"] for batch in batches], [["one", "two"]])
        self.assertGreaterEqual(time.time() - since, 3)

    def test_a_tumbling_window_is_added_up(self):
        name, stream = function(), Stream()

        def act(records):
            event = collector.of(name)[-1]["event"]
            state = dict(event["state"])
            for record in records:
                state[body_of(record)] = state.get(body_of(record), 0) + 1
            return {"return": {"state": state}}

        collector.acts[name] = act
        connect(stream, name, BatchSize=2, TumblingWindowInSeconds=2)
        stream.put("a", "b", "a", "a", "b")
        # If a window has ended between two records, there are two.
        wait_until(lambda: sums(collector.of(name)) == {"a": 3, "b": 2}, lambda: f"{collector.of(name)}")
        events = [batch["event"] for batch in collector.of(name)]
        final = next(event for event in events if event["isFinalInvokeForWindow"])
        self.assertEqual(final["Records"], [])
        self.assertEqual(final["shardId"], "shardId-000000000000")
        self.assertEqual(final["eventSourceARN"], stream.arn)
        self.assertIs(final["isWindowTerminatedEarly"], False)
        self.assertEqual(events[0]["window"], final["window"])
        begin, end = (
            datetime.datetime.fromisoformat(final["window"][side]).timestamp() for side in ("start", "end")
        )
        self.assertEqual((begin % 2, end - begin), (0, 2))

    def test_a_throttle_counts_for_nothing(self):
        name, stream = function(), Stream()
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        stream.put("later")
        connect(stream, name, MaximumRetryAttempts=0)
        cloudwatch = service.client("cloudwatch")

        def throttles():
            found = cloudwatch.get_metric_statistics(**metric("Throttles", name, "Sum"))
            return sum(point["Sum"] for point in found["Datapoints"]) >= 2

        wait_until(throttles, "it was throttled twice")
        client.delete_function_concurrency(FunctionName=name)
        collector.wait_for(name, "later")

        def aged():
            found = cloudwatch.get_metric_statistics(**metric("IteratorAge", name, "Maximum"))
            return [point["Maximum"] for point in found["Datapoints"]]

        (age,) = wait_until(aged, "the age of the last record is measured")
        self.assertGreater(age, 0)
        self.assertLess(age, 60_000)

    def test_a_stream_that_is_gone_is_told_once(self):
        name, stream = function(), Stream()
        mapping = connect(stream, name)
        stream.put("first")
        wait_for(mapping, LastProcessingResult="OK")
        kinesis.delete_stream(StreamName=stream.name)
        warning = re.compile(rf"WARN.*a stream cannot be polled mapping={mapping}.*ResourceNotFound")
        said = lambda: re.sub(r"\x1b\[[0-9;]*m", "", service.stderr())
        wait_until(lambda: warning.search(said()), said)
        kinesis.create_stream(StreamName=stream.name, ShardCount=1)
        # Its numbers begin anew: the first is taken for the one that is done.
        stream.put("taken for done", "again")
        collector.wait_for(name, "again")
        self.assertEqual(len(warning.findall(said())), 1)


def sums(batches):
    """What the windows that have closed come to."""
    total = {}
    for event in (batch["event"] for batch in batches):
        if event["isFinalInvokeForWindow"]:
            for key, count in event["state"].items():
                total[key] = total.get(key, 0) + count
    return total


def metric(name, function, statistic):
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    return {
        "Namespace": "AWS/Lambda",
        "MetricName": name,
        "Dimensions": [{"Name": "FunctionName", "Value": function}],
        "StartTime": now - hour,
        "EndTime": now + hour,
        "Period": 7200,
        "Statistics": [statistic],
    }


class DynamoDB(unittest.TestCase):
    def test_what_happens_to_items_comes_in_order(self):
        name, table = function(), Table()
        table.put("1", text="old")
        table.put("1", text="new")
        table.delete("1")
        connect(table, name)
        batches = collector.wait_for(name, "INSERT 1", "MODIFY 1", "REMOVE 1")
        records = [record for batch in batches for record in batch["event"]["Records"]]
        self.assertEqual([one["eventName"] for one in records], ["INSERT", "MODIFY", "REMOVE"])
        record = records[1]
        self.assertRegex(record.pop("eventID"), r"\A[0-9a-f]{32}\Z")
        inner = record["dynamodb"]
        self.assertIsInstance(inner["ApproximateCreationDateTime"], int)
        self.assertLess(abs(inner.pop("ApproximateCreationDateTime") - time.time()), 60)
        self.assertRegex(inner.pop("SequenceNumber"), r"\A\d{21,40}\Z")
        self.assertGreater(inner.pop("SizeBytes"), 0)
        # moto's version; AWS has 1.1.
        self.assertEqual(record.pop("eventVersion"), "1.0")
        image = lambda text: {"id": {"S": "1"}, "text": {"S": text}}
        self.assertEqual(
            record,
            {
                "eventName": "MODIFY",
                "eventSource": "aws:dynamodb",
                "awsRegion": REGION,
                "dynamodb": {
                    "Keys": {"id": {"S": "1"}},
                    "NewImage": image("new"),
                    "OldImage": image("old"),
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
                "eventSourceARN": table.arn,
            },
        )
        self.assertNotIn("OldImage", records[0]["dynamodb"])
        self.assertNotIn("NewImage", records[2]["dynamodb"])

    def test_filters_and_failures(self):
        name, table, queue = function(), Table(), Queue()
        collector.acts[name] = lambda records: {"raise": "no"}
        table.put("1", text="no")
        table.put("2", text="yes")
        table.delete("1")
        pattern = '{"eventName":["INSERT"],"dynamodb":{"NewImage":{"text":{"S":["yes"]}}}}'
        connect(
            table,
            name,
            FilterCriteria={"Filters": [{"Pattern": pattern}]},
            MaximumRetryAttempts=0,
            DestinationConfig=destination(queue.arn),
        )
        told = queue.told()
        self.assertEqual(collector.bodies(name), ["INSERT 2"])
        info = told["DDBStreamBatchInfo"]
        self.assertEqual((info["batchSize"], info["streamArn"]), (1, table.arn))
        moment = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"
        self.assertRegex(info["approximateArrivalOfFirstRecord"], moment)

    def test_the_latest(self):
        name, table = function(), Table()
        table.put("before")
        connect(table, name, StartingPosition="LATEST")
        numbers = iter(range(1000))

        # What comes in the first moment may be missed, as on AWS.
        def told():
            table.put(f"after {next(numbers)}")
            return collector.bodies(name)

        bodies = wait_until(told, service.stderr)
        self.assertNotIn("INSERT before", bodies)


class Ending(unittest.TestCase):
    """Services of their own, whose ends leave nothing undone."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.data = directory.name

    def test_the_next_service_goes_on_at_the_checkpoint(self):
        first = start(data=self.data)
        name, stream = function(first.client()), Stream()
        table, items = Table(), function(first.client())
        stream.put("done")
        table.put("done")
        for source, of in ((stream, name), (table, items)):
            mapping = connect(source, of, first.client())
            wait_for(mapping, first.client(), LastProcessingResult="OK")
        first.kill()
        stream.put("between")
        table.put("between")
        second = start(data=self.data)
        self.addCleanup(second.stop)
        collector.wait_for(name, "between")
        collector.wait_for(items, "INSERT between")
        self.assertEqual(collector.bodies(name), ["done", "between"])
        self.assertEqual(collector.bodies(items), ["INSERT done", "INSERT between"])

    def test_the_latest_of_a_killed_service_is_not_lost(self):
        first = start(data=self.data)
        name, stream = function(first.client()), Stream()
        stream.put("before")
        mapping = connect(stream, name, first.client(), StartingPosition="LATEST")
        stream.put("first")
        collector.wait_for(name, "first")
        first.kill()
        stream.put("between")
        second = start(data=self.data)
        self.addCleanup(second.stop)
        collector.wait_for(name, "between")
        self.assertNotIn("before", collector.bodies(name))
        self.assertEqual(get(mapping, second.client())["State"], "Enabled")

    def test_nothing_is_lost_whenever_the_service_is_killed(self):
        current = start(data=self.data)
        own = current.client()
        name, stream = function(own), Stream(shards=2)
        connect(stream, name, own, BatchSize=2)
        expected = [f"m{number}" for number in range(20 * (KILLS + 1))]
        for kill in range(KILLS + 1):
            part = expected[20 * kill : 20 * (kill + 1)]
            for body in part:
                stream.put(body, key=body)
            # In the midst of them.
            collector.wait(name, lambda bodies: len(set(part) & set(bodies)) >= 5, 60)
            if kill < KILLS:
                current.kill()
                current = start(data=self.data)
        self.addCleanup(current.stop)
        collector.wait(name, lambda bodies: set(expected) <= set(bodies), 60)
        # Each kill lets no more than the batch in flight of each shard come again, and what was done
        # as the disk was about to know.
        again = len(collector.bodies(name)) - len(expected)
        self.assertLessEqual(again, 8 * KILLS)


if __name__ == "__main__":
    unittest.main()
