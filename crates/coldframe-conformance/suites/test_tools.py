"""Unmodified tools and SDKs against `coldframe up`, and coldframe's own command line."""

import base64
import gzip
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path

import botocore.exceptions

import schema
import support
import tools

ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
AWS = Path(sys.executable).parent / "aws"

# What the SDKs' programs deploy. The second is what it is updated to.
ONE = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("asked to fail")
    print("one runs")
    return {"greeting": "Hello, " + event.get("name", "world") + "!"}
"""
TWO = ONE.replace("Hello", "Good day")


class Served(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(support.Service(*cls.options))
        cls.client = cls.service.client()
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.zips = []
        for name, source in [("one", ONE), ("two", TWO)]:
            path = cls.directory / f"{name}.zip"
            path.write_bytes(support.zip_of({"app.py": source}))
            cls.zips.append(path)
        # No configuration of whoever runs this is read.
        cls.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(cls.directory),
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": support.REGION,
            "AWS_DEFAULT_REGION": support.REGION,
            "AWS_PAGER": "",
            "RUNTIME": support.python_runtime(),
        }


class Cli(Served):
    """The AWS CLI, as its users type it."""

    def aws(self, *words, check=True):
        command = [AWS, "--endpoint-url", self.service.url, "--output", "json", "lambda", *words]
        return tools.run(*command, check=check, env=self.environment)

    def json(self, *words):
        return json.loads(self.aws(*words).stdout)

    def create(self, name):
        return self.json(
            *["create-function", "--function-name", name, "--handler", "app.handler"],
            *["--runtime", support.python_runtime(), "--role", support.ROLE],
            *["--zip-file", f"fileb://{self.zips[0]}"],
        )

    def invoke(self, name, *words):
        out = self.directory / "out.json"
        seen = self.json("invoke", "--function-name", name, *words, str(out))
        return seen, json.loads(out.read_text())

    def test_the_life_of_a_function(self):
        created = self.create("life")
        self.assertEqual(created["State"], "Pending")
        self.assertEqual(created["FunctionArn"], ARN + "life")
        self.aws("wait", "function-active-v2", "--function-name", "life")

        seen, answer = self.invoke("life", "--log-type", "Tail", "--payload", '{"name": "CLI"}')
        self.assertEqual(answer, {"greeting": "Hello, CLI!"})
        self.assertEqual(seen["StatusCode"], 200)
        self.assertEqual(seen["ExecutedVersion"], "$LATEST")
        self.assertNotIn("FunctionError", seen)
        log = base64.b64decode(seen["LogResult"]).decode()
        self.assertRegex(
            log,
            r"\ASTART RequestId: \S+ Version: \$LATEST\none runs\nEND RequestId: \S+\n"
            r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
            r"Memory Size: 128 MB\tMax Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t\n\Z",
        )

        seen, answer = self.invoke("life", "--payload", '{"fail": true}')
        self.assertEqual(seen["FunctionError"], "Unhandled")
        self.assertEqual(answer["errorType"], "ValueError")
        self.assertNotIn("LogResult", seen)

        code = ["--zip-file", f"fileb://{self.zips[1]}"]
        updated = self.json("update-function-code", "--function-name", "life", *code)
        self.assertEqual(updated["LastUpdateStatus"], "InProgress")
        self.aws("wait", "function-updated-v2", "--function-name", "life")
        self.assertEqual(self.invoke("life")[1], {"greeting": "Good day, world!"})

        settings = ["--environment", "Variables={COLOUR=green}", "--memory-size", "256"]
        settings += ["--timeout", "7"]
        updated = self.json("update-function-configuration", "--function-name", "life", *settings)
        self.assertEqual(updated["LastUpdateStatus"], "InProgress")
        self.aws("wait", "function-updated-v2", "--function-name", "life")

        shown = self.json("get-function", "--function-name", "life")
        self.assertEqual(shown["Code"]["RepositoryType"], "S3")
        configuration = self.json("get-function-configuration", "--function-name", ARN + "life")
        self.assertEqual(configuration, shown["Configuration"])
        expected = {
            "FunctionName": "life",
            "FunctionArn": ARN + "life",
            "Runtime": support.python_runtime(),
            "Role": support.ROLE,
            "Handler": "app.handler",
            "CodeSize": self.zips[1].stat().st_size,
            "CodeSha256": sha256(self.zips[1]),
            "Description": "",
            "Timeout": 7,
            "MemorySize": 256,
            "Environment": {"Variables": {"COLOUR": "green"}},
            "TracingConfig": {"Mode": "PassThrough"},
            "PackageType": "Zip",
            "Version": "$LATEST",
            "Architectures": ["x86_64"],
            "EphemeralStorage": {"Size": 512},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/life"},
            "State": "Active",
            "LastUpdateStatus": "Successful",
        }
        self.assertEqual(configuration, configuration | expected)

        deleted = self.aws("delete-function", "--function-name", "life").stdout
        # The status is a member of the model's answer; the body itself is empty.
        self.assertEqual(json.loads(deleted), {"StatusCode": 204})
        self.fails("ResourceNotFoundException", "GetFunction", f"Function not found: {ARN}life")(
            "get-function", "--function-name", "life"
        )

    def fails(self, code, operation, message):
        """Runs what must end in that error, as the CLI prints it."""

        def run(*words):
            done = self.aws(*words, check=False)
            self.assertEqual(done.returncode, 255, done)
            said = f"An error occurred ({code}) when calling the {operation} operation: {message}"
            self.assertEqual(done.stderr.strip().removeprefix("aws: [ERROR]: "), said)

        return run

    def test_lists_come_in_pages(self):
        names = [f"page-{letter}" for letter in "abc"]
        for name in names:
            support.deploy(self.client, name, self.zips[0].read_bytes())
        self.addCleanup(lambda: [self.client.delete_function(FunctionName=n) for n in names])
        # The CLI asks for page after page.
        all_of_it = self.json("list-functions", "--page-size", "1")
        there = [function["FunctionName"] for function in all_of_it["Functions"]]
        self.assertEqual([name for name in there if name in names], names)
        self.assertNotIn("State", all_of_it["Functions"][0])
        first = self.json("list-functions", "--max-items", "2")
        self.assertEqual(len(first["Functions"]), 2)
        rest = self.json("list-functions", "--starting-token", first["NextToken"])
        again = [found["FunctionName"] for found in first["Functions"] + rest["Functions"]]
        self.assertEqual(again, there)

    def test_errors_are_shown(self):
        support.deploy(self.client, "there", self.zips[0].read_bytes())
        self.addCleanup(self.client.delete_function, FunctionName="there")
        self.fails(
            "NotImplementedException",
            "ListCodeSigningConfigs",
            "ListCodeSigningConfigs is not supported by this server",
        )("list-code-signing-configs")
        self.fails("ResourceNotFoundException", "Invoke", f"Function not found: {ARN}no:$LATEST")(
            "invoke", "--function-name", "no", str(self.directory / "out.json")
        )


def sha256(path):
    return base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()


class Sdks(Served):
    """The same life of a function by each SDK, and the errors that each has types for."""

    @classmethod
    def setUpClass(cls):
        rust_sdk()
        super().setUpClass()

    def setUp(self):
        # Each has a service of its own, where it lists nothing but what it made.
        self.service = self.enterContext(support.Service())
        self.client = self.service.client()

    def check_life(self, name, seen):
        self.assertEqual(
            seen["created"],
            {
                "State": "Pending",
                "StateReasonCode": "Creating",
                "FunctionArn": ARN + name,
                "CodeSize": self.zips[0].stat().st_size,
            },
        )
        log = base64.b64decode(seen["invoked"].pop("log")).decode()
        self.assertIn("\none runs\nEND RequestId: ", log)
        self.assertEqual(
            seen["invoked"],
            {
                "status": 200,
                "error": None,
                "version": "$LATEST",
                "payload": {"greeting": "Hello, SDK!"},
            },
        )
        self.assertEqual(seen["failed"]["error"], "Unhandled")
        self.assertEqual(seen["failed"]["payload"]["errorMessage"], "asked to fail")
        self.assertEqual(seen["updated"], {"LastUpdateStatus": "InProgress", "State": "Active"})
        self.assertEqual(seen["invokedAnew"]["payload"], {"greeting": "Good day, world!"})
        self.assertEqual(seen["configured"], {"LastUpdateStatus": "InProgress", "MemorySize": 256})
        self.assertIn("made-by", seen["function"].pop("Tags"))
        self.assertEqual(
            seen["function"],
            {
                "State": "Active",
                "LastUpdateStatus": "Successful",
                "Description": "by an SDK",
                "MemorySize": 256,
                "CodeSha256": sha256(self.zips[1]),
                "RepositoryType": "S3",
            },
        )
        self.assertTrue(seen["sameConfiguration"])
        self.assertEqual(seen["pages"], 3)
        self.assertEqual(seen["listed"], [name, f"{name}-b", f"{name}-c"])
        self.assertEqual(seen["deleted"], 204)
        content = seen["errors"]["content"]
        parsed = "Could not parse request body into json: Could not parse payload into json: "
        self.assertTrue(content["message"].startswith(parsed), content)
        content["message"] = parsed
        for key, code, status, message in [
            ("notFound", "ResourceNotFoundException", 404, f"Function not found: {ARN}absent"),
            (
                "invokeNotFound",
                "ResourceNotFoundException",
                404,
                f"Function not found: {ARN}absent:$LATEST",
            ),
            ("conflict", "ResourceConflictException", 409, f"Function already exist: {name}"),
            (
                "invalid",
                "InvalidParameterValueException",
                400,
                "Could not unzip uploaded file. Please check your file, then try to upload again.",
            ),
            (
                "precondition",
                "PreconditionFailedException",
                412,
                "The Revision Id provided does not match the latest Revision Id. Call the"
                " GetFunction/GetAlias API to retrieve the latest Revision Id",
            ),
            ("content", "InvalidRequestContentException", 400, parsed),
            (
                "unimplemented",
                "NotImplementedException",
                501,
                "ListCodeSigningConfigs is not supported by this server",
            ),
        ]:
            with self.subTest(error=key):
                expected = {"typed": True, "code": code, "message": message, "status": status}
                self.assertEqual(seen["errors"][key], expected)

    def test_boto3(self):
        self.check_life("python", life(self.client, "python", self.zips))

    def test_javascript(self):
        seen = json.loads(javascript(self, "life", "javascript", *self.zips))
        self.check_life("javascript", seen)

    def test_rust(self):
        seen = json.loads(rust(self, "life", "rust", *self.zips))
        self.check_life("rust", seen)


class Wire(Served):
    """What SDKs may send and seldom do (service-api.md §9.1)."""

    def curl(self, *arguments, path="/2015-03-31/functions"):
        command = ["curl", "--silent", "--show-error", *arguments, self.service.url + path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_http_2_with_prior_knowledge(self):
        shown = self.curl("--http2-prior-knowledge", "--write-out", " %{http_version}")
        self.assertTrue(shown.startswith('{"Functions":['), shown)
        self.assertTrue(shown.endswith(" 2"), shown)

    def test_gzip(self):
        body = gzip.compress(b'{"FunctionName": "a b"}')
        headers = {"Content-Encoding": "gzip"}
        path = "/2015-03-31/functions"
        status, fields, _ = self.service.request("POST", path, body, headers)
        self.assertEqual((status, fields["x-amzn-errortype"]), (400, "ValidationException"))
        status, fields, _ = self.service.request("POST", path, b"no gzip", headers)
        self.assertEqual((status, fields["x-amzn-errortype"]), (400, "SerializationException"))
        # A bomb is measured by what comes out of it.
        bomb = gzip.compress(bytes(100_000_000))
        status, fields, _ = self.service.request("POST", path, bomb, headers)
        self.assertEqual((status, fields["x-amzn-errortype"]), (413, "RequestEntityTooLargeException"))

    def test_chunked_and_expected(self):
        chunked = ("--request", "POST", "--header", "Transfer-Encoding: chunked", "--data", "{}")
        self.assertIn("validation error", self.curl(*chunked))
        expected = ("--request", "POST", "--header", "Expect: 100-continue", "--data", "{}")
        self.assertIn("validation error", self.curl(*expected))

    def unread(self, connection):
        """What the service has not read yet of what a connection has sent, bytes."""
        client = connection.getsockname()[1]
        left = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            ends = [int(end.split(":")[1], 16) for end in fields[1:3]]
            sending, received = (int(queue, 16) for queue in fields[4].split(":"))
            if ends == [client, self.service.port]:
                left += sending
            if ends == [self.service.port, client]:
                left += received
        return left

    def test_a_caller_who_hangs_up_leaves_no_half_change(self):
        def code():
            # Takes longer to unpack than what is done here until the caller is gone.
            ballast = os.urandom(16) + bytes(100_000_000)
            package = support.zip_of({"app.py": ONE, "ballast": ballast})
            return {"ZipFile": base64.b64encode(package).decode()}

        def send_and_leave(method, path, body=None, abruptly=False):
            body = b"" if body is None else json.dumps(body).encode()
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", self.service.port)) as connection:
                connection.sendall(head.encode() + body)
                support.wait_until(lambda: not self.unread(connection), "the request is read")
                # Another answer: what has been read has come to those who do it.
                self.service.request("GET", "/2015-03-31/functions")
                if abruptly:
                    # A reset instead of an end.
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        def check(name, *expected):
            def state():
                status, _, reply = self.service.request("GET", f"/2015-03-31/functions/{name}")
                shown = json.loads(reply).get("Configuration", {})
                found = [shown.get(field) for field in ("State", "LastUpdateStatus", "CodeSha256")]
                return [status, *found, self.service.invoke_plain(name)[0]]

            support.wait_until(lambda: state() == list(expected), lambda: f"{name} {state()}")

        def sha256(code):
            digest = hashlib.sha256(base64.b64decode(code["ZipFile"])).digest()
            return base64.b64encode(digest).decode()

        for name, abruptly in [("left", False), ("torn", True)]:
            one, two = code(), code()
            path = f"/2015-03-31/functions/{name}"
            function = {
                "FunctionName": name, "Runtime": support.python_runtime(), "Role": support.ROLE,
                "Handler": "app.handler", "Code": one,
            }
            send_and_leave("POST", "/2015-03-31/functions", function, abruptly)
            check(name, 200, "Active", "Successful", sha256(one), 200)
            send_and_leave("PUT", f"{path}/code", two, abruptly)
            check(name, 200, "Active", "Successful", sha256(two), 200)
            send_and_leave("DELETE", path, None, abruptly)
            check(name, 404, None, None, None, 404)

    def test_pages_of_other_origins_are_refused(self):
        path = "/2015-03-31/functions"
        own = f"http://127.0.0.1:{self.service.port}"
        for origin, status in [("http://evil.example", 403), ("null", 403), (own, 200)]:
            with self.subTest(origin):
                headers = {"Origin": origin}
                self.assertEqual(self.service.request("GET", path, None, headers)[0], status)

    def test_only_functions_have_logs(self):
        self.assertEqual(self.service.request("GET", "/_coldframe/logs/nobody")[0], 404)

    def test_a_runtime_the_host_lacks(self):
        lacking = next(
            name for name in ("python3.15", "python3.14", "nodejs26.x", "java21")
            if name not in support.interpreters()
        )
        function = {
            "FunctionName": "lacking",
            "Runtime": lacking,
            "Handler": "app.handler",
            "Role": support.ROLE,
            "Code": {"ZipFile": base64.b64encode(self.zips[0].read_bytes()).decode()},
        }
        path = "/2015-03-31/functions"
        status, fields, _ = self.service.request("POST", path, json.dumps(function))
        # A warning, as the function may be for another host; at init it is the reason.
        self.assertEqual(status, 201)
        self.assertRegex(fields["warning"], f'^299 coldframe ".*{lacking}')
        self.client.get_waiter("function_active_v2").wait(FunctionName="lacking")
        answer = support.invoke(self.client, "lacking")
        self.assertEqual(answer.json["errorType"], "Runtime.InvalidEntrypoint")
        self.assertIn(lacking, answer.json["errorMessage"])

    def test_unknown_paths_and_methods(self):
        for method, path, status in [
            ("GET", "/nothing", 404),
            ("PATCH", "/2015-03-31/functions", 405),
            ("GET", "/2015-03-31/functions/%zz", 400),
        ]:
            with self.subTest(path):
                self.assertEqual(self.service.request(method, path)[0], status)


class Throttled(Served):
    """One invocation at a time is allowed, and each SDK has a type for the second's refusal."""

    @classmethod
    def setUpClass(cls):
        rust_sdk()
        cls.gate = support.Gate()
        cls.addClassCleanup(cls.gate.close)
        cls.options = ["--concurrency", "1", "--allow-host-port", str(cls.gate.port)]
        super().setUpClass()
        support.deploy_lab(cls.client, "busy")
        code = f"result = meet({cls.gate.port}, 'busy') and 'done'"
        [cls.running] = support.together(lambda: support.run(cls.client, "busy", code))
        cls.gate.wait_for("busy")

    @classmethod
    def tearDownClass(cls):
        cls.gate.open("busy")
        assert cls.running.result().json == "done"
        # And the next may run again.
        assert support.result_of(cls.client, "busy", "result = 1") == 1

    def check(self, seen):
        expected = {
            "typed": True,
            "code": "TooManyRequestsException",
            "message": "Rate Exceeded.",
            "status": 429,
            "reason": "ConcurrentInvocationLimitExceeded",
        }
        self.assertEqual(seen, expected)

    def test_boto3(self):
        seen = error_of(
            self.client.exceptions.TooManyRequestsException,
            lambda: self.client.invoke(FunctionName="busy"),
        )
        self.check(seen)

    def test_javascript(self):
        self.check(json.loads(javascript(self, "throttled", "busy")))

    def test_rust(self):
        self.check(json.loads(rust(self, "throttled", "busy")))


def javascript(test, mode, name, *zips):
    environment = {**test.environment, "NODE_PATH": str(tools.TOOLS / "node/node_modules")}
    script = tools.SUITES / "node/lambda.cjs"
    return tools.run("node", script, mode, test.service.url, name, *zips, env=environment).stdout


def rust(test, mode, name, *zips):
    command = [rust_sdk(), mode, test.service.url, name, *zips]
    return tools.run(*command, env=test.environment).stdout


def rust_sdk():
    """The program of `rust-sdk`, built if it isn't."""
    target = tools.TOOLS / "rust-sdk"
    build = ["cargo", "build", "--quiet", "--locked", "--target-dir", target]
    tools.run(*build, cwd=tools.SUITES / "rust-sdk", timeout=1800)
    return target / "debug/rust-sdk"


def life(client, name, zips):
    """What `node/lambda.cjs` and `rust-sdk` do, by boto3."""
    one, two = [path.read_bytes() for path in zips]
    errors = client.exceptions

    def create(name, package):
        # As the others do: no settings but those that must be.
        return client.create_function(
            FunctionName=name,
            Runtime=support.python_runtime(),
            Handler="app.handler",
            Role=support.ROLE,
            Code={"ZipFile": package},
            Tags={"made-by": "python"},
        )

    def invoke(event):
        answer = client.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
        return {
            "status": answer["StatusCode"],
            "error": answer.get("FunctionError"),
            "version": answer["ExecutedVersion"],
            "payload": json.loads(answer["Payload"].read()),
            "log": answer["LogResult"],
        }

    def wait(waiter, name=name):
        waiter = client.get_waiter(waiter)
        waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 1000})

    seen = {
        "created": chosen(create(name, one), "State", "StateReasonCode", "FunctionArn", "CodeSize")
    }
    wait("function_active_v2")
    seen["invoked"] = invoke({"name": "SDK"})
    seen["failed"] = invoke({"fail": True})
    updated = client.update_function_code(FunctionName=name, ZipFile=two)
    seen["updated"] = chosen(updated, "LastUpdateStatus", "State")
    wait("function_updated_v2")
    seen["invokedAnew"] = invoke({})
    settings = {"MemorySize": 256, "Description": "by an SDK"}
    configured = client.update_function_configuration(FunctionName=name, **settings)
    seen["configured"] = chosen(configured, "LastUpdateStatus", "MemorySize")
    wait("function_updated_v2")
    function = client.get_function(FunctionName=name)
    shown = function["Configuration"]
    members = ["State", "LastUpdateStatus", "Description", "MemorySize", "CodeSha256"]
    seen["function"] = chosen(shown, *members) | {
        "RepositoryType": function["Code"]["RepositoryType"],
        "Tags": function["Tags"],
    }
    plain = client.get_function_configuration(FunctionName=name)
    seen["sameConfiguration"] = plain["RevisionId"] == shown["RevisionId"]
    for letter in "bc":
        create(f"{name}-{letter}", one)
    paginator = client.get_paginator("list_functions")
    pages = [page["Functions"] for page in paginator.paginate(PaginationConfig={"PageSize": 1})]
    seen["pages"] = len([page for page in pages if page])
    seen["listed"] = [function["FunctionName"] for page in pages for function in page]
    stale = "00000000-0000-0000-0000-000000000000"
    seen["errors"] = {
        key: error_of(kind, call)
        for key, kind, call in [
            (
                "notFound",
                errors.ResourceNotFoundException,
                lambda: client.get_function(FunctionName="absent"),
            ),
            (
                "invokeNotFound",
                errors.ResourceNotFoundException,
                lambda: client.invoke(FunctionName="absent"),
            ),
            ("conflict", errors.ResourceConflictException, lambda: create(name, one)),
            (
                "invalid",
                errors.InvalidParameterValueException,
                lambda: create(f"{name}-d", b"no zip"),
            ),
            (
                "precondition",
                errors.PreconditionFailedException,
                lambda: client.update_function_configuration(FunctionName=name, RevisionId=stale),
            ),
            (
                "content",
                errors.InvalidRequestContentException,
                lambda: client.invoke(FunctionName=name, Payload=b"{"),
            ),
            (
                "unimplemented",
                botocore.exceptions.ClientError,
                lambda: client.list_code_signing_configs(),
            ),
        ]
    }
    seen["deleted"] = client.delete_function(FunctionName=name)["ResponseMetadata"][
        "HTTPStatusCode"
    ]
    for letter in "bc":
        wait("function_active_v2", f"{name}-{letter}")
        client.delete_function(FunctionName=f"{name}-{letter}")
    return seen


def chosen(answer, *members):
    return {member: answer.get(member) for member in members}


def error_of(kind, call):
    """What a caller can tell of an error: its type, code, text and status."""
    try:
        call()
    except botocore.exceptions.ClientError as error:
        reason = {"reason": error.response["Reason"]} if "Reason" in error.response else {}
        return {
            "typed": isinstance(error, kind),
            "code": error.response["Error"]["Code"],
            "message": error.response["Error"]["Message"],
            "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
        } | reason
    return {"code": None}


class Schema(Served):
    """Every answer is what AWS's model says: no unknown members, the right types and values."""

    def setUp(self):
        self.client = self.service.client()
        self.seen = schema.watch(self.client)

    def test_every_operation(self):
        client, (package, other) = self.client, [path.read_bytes() for path in self.zips]
        name, plain = "every", "plain"
        support.deploy(client, plain, package)
        support.deploy(
            client,
            name,
            package,
            Description="with all that may be set",
            Publish=False,
            Tags={"key": "value"},
            Environment={"Variables": {"KEY": "value"}},
            EphemeralStorage={"Size": 1024},
            TracingConfig={"Mode": "Active"},
            LoggingConfig={
                "LogFormat": "JSON",
                "ApplicationLogLevel": "DEBUG",
                "SystemLogLevel": "WARN",
                "LogGroup": "/of/my/own",
            },
            DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-1:000000000000:dead"},
            KMSKeyArn="arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
            SnapStart={"ApplyOn": "None"},
            Architectures=["x86_64"],
        )
        for function in [name, plain, f"{name}:$LATEST", ARN + name]:
            client.get_function(FunctionName=function)
            client.get_function_configuration(FunctionName=function)
        client.update_function_code(FunctionName=name, ZipFile=package, DryRun=True)
        client.update_function_code(FunctionName=name, ZipFile=package)
        support.updated(client, name)
        cleared = {"Environment": {"Variables": {}}, "DeadLetterConfig": {"TargetArn": ""}}
        cleared |= {"KMSKeyArn": "", "LoggingConfig": {"LogFormat": "Text"}}
        client.update_function_configuration(FunctionName=name, **cleared)
        support.updated(client, name)
        client.get_function(FunctionName=name)
        client.list_functions()
        client.list_functions(MaxItems=1)
        client.list_functions(FunctionVersion="ALL")
        client.publish_version(FunctionName=name)
        client.update_function_code(FunctionName=name, ZipFile=other, Publish=True)
        support.updated(client, name)
        client.list_versions_by_function(FunctionName=name)
        client.get_function(FunctionName=name, Qualifier="2")
        routing = {"AdditionalVersionWeights": {"2": 0.5}}
        client.create_alias(
            FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig=routing
        )
        client.get_alias(FunctionName=name, Name="live")
        client.list_aliases(FunctionName=name)
        client.get_function(FunctionName=name, Qualifier="live")
        self.assertIsNone(support.invoke(client, name, Qualifier="live").error)
        client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
        client.delete_alias(FunctionName=name, Name="live")
        client.delete_function(FunctionName=name, Qualifier="1")
        self.assertIsNone(support.invoke(client, name, tail=True).error)
        self.assertEqual(support.invoke(client, name, {"fail": True}).error, "Unhandled")
        self.assertEqual(
            client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"], 204
        )
        for function in [name, plain]:
            client.delete_function(FunctionName=function)
        self.assertEqual(
            set(self.seen),
            {
                "CreateFunction",
                "GetFunction",
                "GetFunctionConfiguration",
                "UpdateFunctionCode",
                "UpdateFunctionConfiguration",
                "DeleteFunction",
                "ListFunctions",
                "Invoke",
                "PublishVersion",
                "ListVersionsByFunction",
                "CreateAlias",
                "GetAlias",
                "UpdateAlias",
                "DeleteAlias",
                "ListAliases",
            },
        )

    def test_errors(self):
        client, package = self.client, self.zips[0].read_bytes()
        support.deploy(client, "errors", package)
        stale = str(uuid.UUID(int=0))
        for code, call in [
            ("ResourceNotFoundException", lambda: client.get_function(FunctionName="absent")),
            ("ResourceNotFoundException", lambda: client.delete_function(FunctionName="absent")),
            ("ResourceNotFoundException", lambda: client.invoke(FunctionName="absent")),
            ("ResourceConflictException", lambda: support.create(client, "errors", package)),
            ("InvalidParameterValueException", lambda: support.create(client, "bad", b"no zip")),
            (
                "InvalidParameterValueException",
                lambda: support.create(
                    client, "bad", package, Environment={"Variables": {"KEY": "x" * 5000}}
                ),
            ),
            (
                "ValidationException",
                lambda: support.create(client, "bad", package, Role="somebody"),
            ),
            (
                "PreconditionFailedException",
                lambda: client.update_function_code(
                    FunctionName="errors", ZipFile=package, RevisionId=stale
                ),
            ),
            (
                "InvalidRequestContentException",
                lambda: client.invoke(FunctionName="errors", Payload=b"{"),
            ),
            (
                "RequestEntityTooLargeException",
                lambda: client.invoke(
                    FunctionName="errors", Payload=b'"' + b"x" * 6_291_456 + b'"'
                ),
            ),
            ("NotImplementedException", lambda: client.list_code_signing_configs()),
        ]:
            with self.subTest(code=code):
                with self.assertRaises(botocore.exceptions.ClientError) as raised:
                    call()
                self.assertEqual(raised.exception.response["Error"]["Code"], code)

    def test_the_check_sees_what_is_wrong(self):
        shape = self.client.meta.service_model.shape_for("FunctionConfiguration")
        for value, wrong in [
            ({"Timeout": 3, "FunctionName": "good"}, None),
            ({"Unknown": 1}, "FunctionConfiguration.Unknown is not in the model"),
            ({"Timeout": "3"}, "FunctionConfiguration.Timeout: '3' is no integer"),
            ({"Timeout": None}, "FunctionConfiguration.Timeout is null"),
            ({"State": "Busy"}, "FunctionConfiguration.State: 'Busy' is not of the enumeration"),
            ({"Layers": [{"Size": 1}]}, "FunctionConfiguration.Layers[0].Size is not in the model"),
        ]:
            self.assertEqual(
                schema.problems(shape, value, "FunctionConfiguration"), [wrong] if wrong else []
            )


class CommandLine(Served):
    """`coldframe env`, `coldframe logs` and `coldframe doctor`."""

    def tool(self, *words):
        done = tools.coldframe(*words, "--endpoint-url", self.service.url)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout

    def test_env_shows_environments(self):
        name = support.deploy(self.client, "shown", self.zips[0].read_bytes())
        self.assertEqual(json.loads(self.tool("env", "ls", "--json")), [])
        for _ in range(2):
            support.invoke(self.client, name)
        self.service.wait_for_states(name, "frozen")
        [one] = json.loads(self.tool("env", "ls", "--json"))
        self.assertEqual(one["functionName"], name)
        self.assertEqual(one["state"], "frozen")
        self.assertEqual(one["invocations"], 2)
        header, row = self.tool("env", "ls").splitlines()
        self.assertEqual(header.split()[:4], ["ID", "FUNCTION", "VERSION", "STATE"])
        self.assertTrue(one["id"].startswith(row.split()[0]))
        self.assertEqual(row.split()[1:5], [name, "$LATEST", "frozen", "2"])

        # What the table shows of an id is enough to ask for it.
        life = self.tool("env", "show", row.split()[0])
        self.assertTrue(life.startswith(one["id"]), life)
        self.assertIn(ARN + name, life)
        events = [
            moment["event"]
            for moment in json.loads(self.tool("env", "show", one["id"], "--json"))["timeline"]
        ]
        for event in ["initStart", "initReport", "start", "report", "frozen", "thawed"]:
            self.assertIn(event, events)
        self.assertEqual(events.count("start"), 2)
        done = tools.coldframe("env", "show", "nobody", "--endpoint-url", self.service.url)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no environment has this id", done.stderr)
        self.client.delete_function(FunctionName=name)

    def test_logs_prints_and_follows(self):
        name = support.deploy(self.client, "logged", self.zips[0].read_bytes())
        self.addCleanup(self.client.delete_function, FunctionName=name)
        first = support.invoke(self.client, name)
        for function in [name, ARN + name]:
            said = self.tool("logs", function)
            self.assertRegex(
                said,
                rf"START RequestId: {first.request_id} Version: \$LATEST\n"
                rf".* one runs\n.* END RequestId: {first.request_id}\n.* REPORT RequestId: ",
            )
        with subprocess.Popen(
            [support.BINARY, "logs", name, "--follow", "--endpoint-url", self.service.url],
            stdout=subprocess.PIPE,
            text=True,
        ) as follower:
            lines = iter(follower.stdout.readline, "")
            next(line for line in lines if f"END RequestId: {first.request_id}" in line)
            second = support.invoke(self.client, name)
            next(line for line in lines if f"END RequestId: {second.request_id}" in line)
            follower.terminate()

    def test_doctor_tells_of_everything(self):
        done = tools.coldframe("doctor")
        lines = done.stdout.splitlines()
        verdicts = [line for line in lines if not line.startswith("    ")]
        self.assertTrue(all(line[:2] in ("✓ ", "✗ ") for line in verdicts), done)
        # It says what is amiss, how to change it, and by its exit code that something is.
        wrong = [at for at, line in enumerate(lines) if line.startswith("✗")]
        self.assertEqual(done.returncode, 1 if wrong else 0, done)
        for at in wrong:
            self.assertTrue(lines[at + 1].startswith("    "), done)
        self.assertIn("✓ sandboxes can be made", done.stdout)
        for subject in ["frozen", "memory limit", "CPU share", "limit of processes", "/tmp is"]:
            self.assertEqual(len([line for line in verdicts if subject in line]), 1, subject)
        for path in support.interpreters().values():
            self.assertTrue(os.access(path, os.X_OK), path)

    def test_root_needs_no_home(self):
        # Managers of services set no HOME for it.
        done = tools.coldframe("doctor", env={"PATH": os.environ["PATH"]})
        self.assertIn("✓ sandboxes can be made", done.stdout, done)


class Run(unittest.TestCase):
    """`coldframe run` on every example that needs no server."""

    def check(self, directory, *words):
        done = tools.coldframe("run", directory, *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        heads = re.findall(r"^invocation (\d)$", done.stdout, re.MULTILINE)
        self.assertEqual(heads, ["1", "2", "3"], done.stdout)
        first, second, third = re.split(r"^invocation \d$", done.stdout, flags=re.MULTILINE)[1:]
        self.assertIn("Init Duration", first)
        self.assertIn("init ", first)
        for reused in [second, third]:
            self.assertNotIn("Init Duration", reused)
            self.assertIn("thawed in", reused)
        for each in [first, second, third]:
            self.assertIn("│ REPORT RequestId: ", each)
            self.assertIn("frozen in", each)
        return [json.loads(one) for one in re.findall(r"^  → (.*)$", done.stdout, re.MULTILINE)]

    def test_hello_python(self):
        answers = self.check(tools.EXAMPLES / "hello-python", "--event", '{"name": "you"}')
        self.assertEqual([one["greeting"] for one in answers], ["Hello, you!"] * 3)
        self.assertEqual([one["invocations"] for one in answers], [1, 2, 3])

    def test_hello_rust(self):
        answers = self.check(tools.hello_rust())
        self.assertEqual([one["invocations"] for one in answers], [1, 2, 3])

    def test_tmp_python(self):
        answers = self.check(tools.EXAMPLES / "tmp-python")
        wrote = [one["wrote"] for one in answers]
        self.assertEqual([one["found"] for one in answers], [None, wrote[0], wrote[1]])

    def test_background_thread(self):
        answers = self.check(tools.EXAMPLES / "background-thread", "--event", '{"ticks": 20}')
        for before, after in zip(answers, answers[1:]):
            self.assertGreaterEqual(after["began"], before["ended"])

    def test_runtime_clients(self):
        for name, handler in [
            ("runtime-client-python", "app.handler"),
            ("runtime-client-node", "index.handler"),
        ]:
            with self.subTest(name):
                # More than the default: the directory is large.
                answers = self.check(tools.example(name), "--handler", handler, "--memory", "512")
                self.assertEqual([one["invocations"] for one in answers], [1, 2, 3])

    @classmethod
    def setUpClass(cls):
        # What installs isn't what is tested.
        for name in ["runtime-client-python", "runtime-client-node"]:
            tools.example(name)


class WrongUse(unittest.TestCase):
    """What is said when the command line is wrong: what it is, and what would be right."""

    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "mine"
        self.directory.mkdir()
        (self.directory / "app.py").write_text("def handler(event, context):\n    return 1\n")

    def check(self, *words, says, code=1):
        done = tools.coldframe(*words, timeout=30)
        self.assertEqual(done.returncode, code, done)
        self.assertRegex(done.stderr, says)
        # One sentence for a person: no panic, no debug rendering.
        self.assertNotIn("panicked", done.stderr)
        if code == 1:
            self.assertTrue(done.stderr.startswith("coldframe: "), done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done

    def test_run_without_a_directory(self):
        nowhere = self.directory / "nowhere"
        said = rf"cannot (find|read) .*{re.escape(str(nowhere))}.*No such file or directory"
        self.check("run", nowhere, says=said)
        self.check(
            "run", self.directory / "app.py", says="app.py.*(not a|no) directory|Not a directory"
        )
        self.check("run", says="<DIRECTORY>", code=2)

    def test_run_without_a_handler(self):
        (self.directory / "app.py").rename(self.directory / "other.py")
        said = re.escape(str(self.directory)) + ".* app.py.*--runtime and --handler"
        self.check("run", self.directory, says=said)

    def test_run_with_a_handler_that_is_not_there(self):
        for handler, kind in [
            ("absent.handler", "Runtime.ImportModuleError"),
            ("app.absent", "Runtime.HandlerNotFound"),
        ]:
            done = tools.coldframe("run", self.directory, "--handler", handler, "--times", "1")
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stdout, rf"(?m)^  ✗ .*{re.escape(kind)}")

    def test_run_with_an_unknown_runtime(self):
        said = (
            "Value cobol61 at 'runtime' failed to satisfy constraint: "
            r"Member must satisfy enum value set: \[.*\] or be a valid ARN"
        )
        self.check("run", self.directory, "--runtime", "cobol61", says=said)

    def test_run_with_a_runtime_that_the_host_lacks(self):
        there = support.interpreters()
        missing = [f"python3.{n}" for n in range(9, 15) if f"python3.{n}" not in there]
        if not missing:
            self.skipTest("this host has every interpreter")
        done = tools.coldframe("run", self.directory, "--runtime", missing[0], "--times", "1")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(
            f"no interpreter for the runtime {missing[0]} was found", done.stdout + done.stderr
        )
        self.assertIn("coldframe doctor", done.stdout + done.stderr)

    def test_run_with_a_wrong_event(self):
        self.check("run", self.directory, "--event", "{", says="the event is no JSON")
        said = "cannot read the event .*nowhere.json: No such file"
        self.check("run", self.directory, "--event", "@/nowhere.json", says=said)
        self.check("run", self.directory, "--env", "LONELY", says="KEY=VALUE, not LONELY")

    def test_up_on_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            said = rf"{address}.*Address already in use"
            self.check("up", "--ephemeral", "--listen", address, says=said)

    def test_up_on_what_is_no_loopback(self):
        said = "0.0.0.0:0 is no loopback address: without --auth sigv4 requests are not authenticated"
        self.check("up", "--ephemeral", "--listen", "0.0.0.0:0", says=said)
        self.check("up", "--listen", "localhost", says="invalid .*--listen", code=2)
        self.check("up", "--idle-timeout", "soon", says="try 90s, 10m or 1h", code=2)

    def test_up_on_data_in_use(self):
        data = self.directory / "data"
        with support.Service(data=str(data)):
            said = f"another coldframe uses {re.escape(str(data.resolve()))}"
            self.check("up", "--listen", "127.0.0.1:0", "--data", data, says=said)

    def test_nobody_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as held:
            url = f"http://127.0.0.1:{held.getsockname()[1]}"
        for words in [["env", "ls"], ["env", "show", "abc"], ["logs", "some"]]:
            said = f"no coldframe answers at {url}: start one by `coldframe up`"
            self.check(*words, "--endpoint-url", url, says=said)
        self.check("env", "ls", "--endpoint-url", "https://here", says="must begin with http://")


if __name__ == "__main__":
    unittest.main()
