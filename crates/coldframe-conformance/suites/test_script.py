"""One script of twenty steps by four clients that sign: boto3, the AWS CLI, AWS's SDKs for JavaScript
and Rust. Each does it with its own means and reports the same.

The steps stand three times, as each client's users would write them: here (`Driver`), in
`node/script.cjs`, and in `rust-sdk/src/script.rs`.
"""

import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import subprocess
import tempfile
import unittest
import urllib.parse
from pathlib import Path

import botocore.exceptions
import botocore.eventstream

import support
import test_auth
import test_observe
import test_tools
import tools

NAME = "script"
ARN = f"arn:aws:lambda:us-east-1:000000000000:function:{NAME}"
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:words"
STALE = "00000000-0000-0000-0000-000000000000"

APP = """
import os

EVENTS = []

def handler(event, context):
    if "rawPath" in event:
        query = event["rawQueryString"]
        return {"statusCode": 203, "headers": {"x-by": "url"}, "body": event["rawPath"] + query}
    if "remember" in event:
        EVENTS.append(event["remember"])
    print("it runs")
    words = "/opt/words.txt"
    return {
        "text": %r,
        "name": event.get("name"),
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "colour": os.environ.get("COLOUR"),
        "words": open(words).read() if os.path.exists(words) else None,
        "by": context.client_context and context.client_context.custom["by"],
        "events": EVENTS,
    }
"""


def step_names(steps):
    return [name for name in vars(steps) if not name.startswith("_")]


def run_steps(client):
    return {name: getattr(client, name)() for name in step_names(Steps)}


class Steps:
    """What each step does, and what is told of it.

    The order is the script's.
    """

    def create(self):
        """A function from a zip, with a tag and a variable."""

    def wait(self):
        """Until it is active; then its configuration, by its ARN."""

    def invoke(self):
        """With the log's tail and a client context."""

    def code(self):
        """Other code; until it serves."""

    def configuration(self):
        """Other memory, description, variables; until they serve."""

    def publish(self):
        """A version; until it is active."""

    def publishAgain(self):
        """The same version again, as nothing has changed."""

    def alias(self):
        """A second version, and an alias with weights."""

    def qualifier(self):
        """An invocation by the alias: whichever version runs tells the truth; then the second."""

    def layer(self):
        """A layer that is published, attached, and read."""

    def tags(self):
        """Tags whose keys and values are hard to encode."""

    def policy(self):
        """A permission that is added, shown, removed."""

    def concurrency(self):
        """None, which throttles; then one."""

    def event(self):
        """How events are invoked, and one that is seen to have run."""

    def url(self):
        """A public function URL, and a call of it."""

    def stream(self):
        """A streamed invocation."""

    def pages(self):
        """Versions, one a page."""

    def errors(self):
        """What isn't there, what is there already, what is stale, who signs with a wrong key."""

    def deleteParts(self):
        """URL, event configuration, alias, version, layer."""

    def delete(self):
        """The function."""


def expected(one, two, layer, runtime):
    """What every client must report, of zips with these bytes."""

    def sha256(package):
        return base64.b64encode(hashlib.sha256(package).digest()).decode()

    def payload(text, version="$LATEST", arn=ARN, **more):
        plain = {"name": None, "colour": "green", "words": None, "by": None, "events": []}
        return {"text": text, "version": version, "arn": arn} | plain | more

    def error(code, message):
        return {"code": code, "message": message}

    def statement(sid, principal, action, **condition):
        return {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": principal,
            "Action": action,
            "Resource": ARN,
            "Condition": condition,
        }

    of_bucket = statement(
        "bucket",
        {"Service": "s3.amazonaws.com"},
        "lambda:InvokeFunction",
        StringEquals={"AWS:SourceAccount": "123456789012"},
        ArnLike={"AWS:SourceArn": "arn:aws:s3:::bucket"},
    )
    absent = error("ResourceNotFoundException", "The resource you requested does not exist.")
    return {
        "create": {
            "arn": ARN,
            "version": "$LATEST",
            "state": "Pending",
            "reason": "Creating",
            "sha256": sha256(one),
            "variables": {"COLOUR": "red"},
        },
        "wait": {"state": "Active", "update": "Successful"},
        "invoke": {
            "status": 200,
            "error": None,
            "version": "$LATEST",
            "payload": payload("one", name="Zoë", colour="red", by="ü"),
            "log": ["START", "it", "END", "REPORT"],
        },
        "code": {"update": "InProgress", "sha256": sha256(two), "changed": True},
        "configuration": {
            "update": "InProgress",
            "memory": 256,
            "description": "by a script",
            "variables": {"COLOUR": "green"},
        },
        "publish": {"version": "1", "arn": f"{ARN}:1", "description": "the first"},
        "publishAgain": {"version": "1", "same": True},
        "alias": {"arn": f"{ARN}:live", "version": "1", "weights": {"2": 0.25}},
        "qualifier": {
            "told": True,
            "version": "2",
            "payload": payload("one", version="2", arn=f"{ARN}:live"),
        },
        "layer": {
            "arn": f"{LAYER}:1",
            "version": 1,
            "sha256": sha256(layer),
            "runtimes": [runtime],
            "layers": [{"Arn": f"{LAYER}:1", "CodeSize": len(layer)}],
            "payload": payload("one", words="some words"),
        },
        "tags": {"team": "blue = grün"},
        "policy": {
            "statement": of_bucket,
            "policy": {"Version": "2012-10-17", "Id": "default", "Statement": [of_bucket]},
            "removed": absent,
        },
        "concurrency": {
            "reserved": 1,
            "throttled": error("TooManyRequestsException", "Rate Exceeded."),
        },
        "event": {
            "arn": f"{ARN}:$LATEST",
            "retries": 1,
            "age": 120,
            "status": 202,
            "events": ["this"],
            "reserved": None,
        },
        "url": {
            "arn": ARN,
            "auth": "NONE",
            "mode": "BUFFERED",
            "same": True,
            "status": 203,
            "by": "url",
            "body": "/a/bc=d",
        },
        "stream": {
            "version": "$LATEST",
            "payload": payload("one", name="stream", words="some words", events=["this"]),
            "complete": {"error": None},
        },
        "pages": ["$LATEST", "1", "2"],
        "errors": {
            "absent": error(
                "ResourceNotFoundException",
                "Function not found: arn:aws:lambda:us-east-1:000000000000:function:absent",
            ),
            "conflict": error("ResourceConflictException", f"Function already exist: {NAME}"),
            "stale": error(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the"
                " GetFunction/GetAlias API to retrieve the latest Revision Id",
            ),
            "signature": error(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided."
                " Check your AWS Secret Access Key and signing method. Consult the service"
                " documentation for details.",
            ),
        },
        "deleteParts": {
            "versions": ["$LATEST", "2"],
            "alias": error("ResourceNotFoundException", f"Cannot find alias arn: {ARN}:live"),
            "url": absent,
        },
        "delete": error("ResourceNotFoundException", f"Function not found: {ARN}"),
    }


class Driver(Steps):
    """The steps in Python, by `_call(operation, **input)`: its answer, or [`Refused`]."""

    def __init__(self, endpoint, files, runtime):
        self._endpoint, self._runtime = urllib.parse.urlsplit(endpoint), runtime
        self._one, self._two, self._layer = files

    def _invoke(self, event, **more):
        answer = self._call_invoke(json.dumps(event), **more)
        return {
            "status": answer["StatusCode"],
            "error": answer.get("FunctionError"),
            "version": answer["ExecutedVersion"],
            "payload": json.loads(answer["Payload"]),
            "log": answer.get("LogResult"),
        }

    def _error(self, operation, **more):
        try:
            self._call(operation, **more)
            return {"code": None}
        except Refused as refused:
            return {"code": refused.code, "message": refused.message}

    def _function(self):
        return {
            "Runtime": self._runtime,
            "Handler": "app.handler",
            "Role": support.ROLE,
            "Code": {"ZipFile": self._one},
        }

    def create(self):
        made = self._call(
            "CreateFunction",
            FunctionName=NAME,
            **self._function(),
            Tags={"made by": "script"},
            Environment={"Variables": {"COLOUR": "red"}},
        )
        self._revision = made["RevisionId"]
        return {
            "arn": made["FunctionArn"],
            "version": made["Version"],
            "state": made["State"],
            "reason": made["StateReasonCode"],
            "sha256": made["CodeSha256"],
            "variables": made["Environment"]["Variables"],
        }

    def wait(self):
        self._wait("function_active_v2")
        shown = self._call("GetFunctionConfiguration", FunctionName=ARN)
        return {"state": shown["State"], "update": shown["LastUpdateStatus"]}

    def invoke(self):
        context = base64.b64encode(json.dumps({"custom": {"by": "ü"}}).encode()).decode()
        return self._invoke({"name": "Zoë"}, LogType="Tail", ClientContext=context)

    def code(self):
        changed = self._call("UpdateFunctionCode", FunctionName=NAME, ZipFile=self._two)
        self._wait("function_updated_v2")
        return {
            "update": changed["LastUpdateStatus"],
            "sha256": changed["CodeSha256"],
            "changed": changed["RevisionId"] != self._revision,
        }

    def configuration(self):
        changed = self._call(
            "UpdateFunctionConfiguration",
            FunctionName=NAME,
            MemorySize=256,
            Description="by a script",
            Environment={"Variables": {"COLOUR": "green"}},
        )
        self._wait("function_updated_v2")
        return {
            "update": changed["LastUpdateStatus"],
            "memory": changed["MemorySize"],
            "description": changed["Description"],
            "variables": changed["Environment"]["Variables"],
        }

    def publish(self):
        made = self._call("PublishVersion", FunctionName=NAME, Description="the first")
        self._wait("published_version_active", Qualifier="1")
        return {
            "version": made["Version"],
            "arn": made["FunctionArn"],
            "description": made["Description"],
        }

    def publishAgain(self):
        made = self._call("PublishVersion", FunctionName=NAME, Description="the first")
        shown = self._call("GetFunctionConfiguration", FunctionName=NAME, Qualifier="1")
        return {"version": made["Version"], "same": made["RevisionId"] == shown["RevisionId"]}

    def alias(self):
        self._call("UpdateFunctionCode", FunctionName=NAME, ZipFile=self._one, Publish=True)
        self._wait("function_updated_v2")
        made = self._call(
            "CreateAlias",
            FunctionName=NAME,
            Name="live",
            FunctionVersion="1",
            RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}},
        )
        return {
            "arn": made["AliasArn"],
            "version": made["FunctionVersion"],
            "weights": made["RoutingConfig"]["AdditionalVersionWeights"],
        }

    def qualifier(self):
        drawn = self._invoke({}, Qualifier="live")
        routing = {"AdditionalVersionWeights": {"2": 1.0}}
        self._call("UpdateAlias", FunctionName=NAME, Name="live", RoutingConfig=routing)
        second = self._invoke({}, Qualifier="live")
        return {
            "told": drawn["version"] == drawn["payload"]["version"],
            "version": second["version"],
            "payload": second["payload"],
        }

    def layer(self):
        made = self._call(
            "PublishLayerVersion",
            LayerName="words",
            Content={"ZipFile": self._layer},
            CompatibleRuntimes=[self._runtime],
        )
        layers = [made["LayerVersionArn"]]
        changed = self._call("UpdateFunctionConfiguration", FunctionName=NAME, Layers=layers)
        self._wait("function_updated_v2")
        return {
            "arn": made["LayerVersionArn"],
            "version": made["Version"],
            "sha256": made["Content"]["CodeSha256"],
            "runtimes": made["CompatibleRuntimes"],
            "layers": changed["Layers"],
            "payload": self._invoke({})["payload"],
        }

    def tags(self):
        tags = {"team": "blue = grün", "a+b / c": "d=e"}
        self._call("TagResource", Resource=ARN, Tags=tags)
        self._call("UntagResource", Resource=ARN, TagKeys=["made by", "a+b / c"])
        return self._call("ListTags", Resource=ARN)["Tags"]

    def policy(self):
        added = self._call(
            "AddPermission",
            FunctionName=NAME,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn="arn:aws:s3:::bucket",
            SourceAccount="123456789012",
        )
        shown = self._call("GetPolicy", FunctionName=NAME)
        self._call("RemovePermission", FunctionName=NAME, StatementId="bucket")
        return {
            "statement": json.loads(added["Statement"]),
            "policy": json.loads(shown["Policy"]),
            "removed": self._error("GetPolicy", FunctionName=NAME),
        }

    def _reserve(self, count):
        put = {"ReservedConcurrentExecutions": count}
        self._call("PutFunctionConcurrency", FunctionName=NAME, **put)

    def concurrency(self):
        self._reserve(0)
        try:
            throttled = self._invoke({})
        except Refused as refused:
            throttled = {"code": refused.code, "message": refused.message}
        self._reserve(1)
        shown = self._call("GetFunctionConcurrency", FunctionName=NAME)
        return {"reserved": shown["ReservedConcurrentExecutions"], "throttled": throttled}

    def event(self):
        made = self._call(
            "PutFunctionEventInvokeConfig",
            FunctionName=NAME,
            MaximumRetryAttempts=1,
            MaximumEventAgeInSeconds=120,
        )
        sent = self._call_invoke(json.dumps({"remember": "this"}), InvocationType="Event")

        def told():
            try:
                return self._invoke({})["payload"]["events"]
            except Refused as refused:
                if refused.code != "TooManyRequestsException":
                    raise
                return None

        # One environment is reserved: who asks it after the event is told of it. Who asked all the
        # time would keep the event out.
        events = support.wait_until(told, "the event has run", every_s=0.1)
        self._call("DeleteFunctionConcurrency", FunctionName=NAME)
        after = self._call("GetFunctionConcurrency", FunctionName=NAME)
        return {
            "arn": made["FunctionArn"],
            "retries": made["MaximumRetryAttempts"],
            "age": made["MaximumEventAgeInSeconds"],
            "status": sent["StatusCode"],
            "events": events,
            "reserved": after.get("ReservedConcurrentExecutions"),
        }

    def url(self):
        made = self._call("CreateFunctionUrlConfig", FunctionName=NAME, AuthType="NONE")
        self._call(
            "AddPermission",
            FunctionName=NAME,
            StatementId="url",
            Principal="*",
            Action="lambda:InvokeFunctionUrl",
            FunctionUrlAuthType="NONE",
        )
        self._call(
            "AddPermission",
            FunctionName=NAME,
            StatementId="by-url",
            Principal="*",
            Action="lambda:InvokeFunction",
            InvokedViaFunctionUrl=True,
        )
        shown = self._call("GetFunctionUrlConfig", FunctionName=NAME)
        return {
            "arn": made["FunctionArn"],
            "auth": made["AuthType"],
            "mode": shown["InvokeMode"],
            "same": made["FunctionUrl"] == shown["FunctionUrl"],
            **self._fetch(made["FunctionUrl"]),
        }

    def errors(self):
        return {
            "absent": self._error("GetFunction", FunctionName="absent"),
            "conflict": self._error("CreateFunction", FunctionName=NAME, **self._function()),
            "stale": self._error("PublishVersion", FunctionName=NAME, RevisionId=STALE),
            "signature": self._stranger()._error("GetFunction", FunctionName=NAME),
        }

    def deleteParts(self):
        self._call("DeleteFunctionUrlConfig", FunctionName=NAME)
        self._call("DeleteFunctionEventInvokeConfig", FunctionName=NAME)
        self._call("DeleteAlias", FunctionName=NAME, Name="live")
        self._call("DeleteFunction", FunctionName=NAME, Qualifier="1")
        self._call("DeleteLayerVersion", LayerName="words", VersionNumber=1)
        versions = self._call("ListVersionsByFunction", FunctionName=NAME)["Versions"]
        return {
            "versions": [found["Version"] for found in versions],
            "alias": self._error("GetAlias", FunctionName=NAME, Name="live"),
            "url": self._error("GetFunctionUrlConfig", FunctionName=NAME),
        }

    def delete(self):
        self._call("DeleteFunction", FunctionName=NAME)
        return self._error("GetFunction", FunctionName=NAME)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(code, message)
        self.code, self.message = code, message


class Boto3(Driver):
    def __init__(self, service, key, *more):
        super().__init__(service.url, *more)
        self._client = test_auth.client(service, key)
        self._again = lambda key: Boto3(service, key, *more)
        self._key = key

    def _stranger(self):
        return self._again({**self._key, "SecretAccessKey": "wrong"})

    def _call(self, operation, **more):
        try:
            return getattr(self._client, botocore.xform_name(operation))(**more)
        except botocore.exceptions.ClientError as error:
            told = error.response["Error"]
            raise Refused(told["Code"], told["Message"]) from None

    def _call_invoke(self, payload, **more):
        answer = self._call("Invoke", FunctionName=NAME, Payload=payload, **more)
        return answer | {"Payload": answer["Payload"].read()}

    def _wait(self, waiter, **more):
        config = {"Delay": 0.02, "MaxAttempts": 1000}
        self._client.get_waiter(waiter).wait(FunctionName=NAME, WaiterConfig=config, **more)

    def _fetch(self, url):
        connection = http.client.HTTPConnection("127.0.0.1", self._endpoint.port, timeout=60)
        host = urllib.parse.urlsplit(url).netloc
        try:
            connection.request("GET", "/a/b?c=d", headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read().decode()
            return {"status": answer.status, "by": answer.headers["x-by"], "body": body}
        finally:
            connection.close()

    def stream(self):
        payload = json.dumps({"name": "stream"})
        answer = self._call("InvokeWithResponseStream", FunctionName=NAME, Payload=payload)
        chunks, complete = b"", None
        for event in answer["EventStream"]:
            chunks += event.get("PayloadChunk", {}).get("Payload", b"")
            if "InvokeComplete" in event:
                complete = {"error": event["InvokeComplete"].get("ErrorCode")}
        payload = json.loads(chunks)
        return {"version": answer["ExecutedVersion"], "payload": payload, "complete": complete}

    def pages(self):
        paginator = self._client.get_paginator("list_versions_by_function")
        pages = paginator.paginate(FunctionName=NAME, PaginationConfig={"PageSize": 1})
        return [version["Version"] for page in pages for version in page["Versions"]]


class Cli(Driver):
    """The AWS CLI: options where they are words, JSON and files where they are more."""

    def __init__(self, directory, environment, endpoint, *more):
        super().__init__(endpoint, *more)
        self._directory, self._environment = directory, environment
        self._again = lambda environment: Cli(directory, environment, endpoint, *more)
        self._endpoint_url = endpoint

    def _stranger(self):
        return self._again({**self._environment, "AWS_SECRET_ACCESS_KEY": "wrong"})

    def _aws(self, *words):
        command = [test_observe.cli_2(), "lambda", *words]
        done = tools.run(*command, check=False, env=self._environment)
        if done.returncode == 0:
            return json.loads(done.stdout) if done.stdout.strip() else {}
        # Members that an error has besides are shown below it.
        said = re.search(
            r"An error occurred \((\w+)\) when calling the \w+ operation(?: \(.*\))?: (.*)$",
            done.stderr,
            re.MULTILINE,
        )
        assert said, done
        raise Refused(said[1], said[2])

    def _words(self, more):
        for name, value in more.items():
            option = "--" + botocore.xform_name(name, "-")
            if name in ("ZipFile", "Code", "Content"):
                # A file, as it lies.
                value = value["ZipFile"] if isinstance(value, dict) else value
                path = self._directory / f"cli-{hashlib.sha256(value).hexdigest()}.zip"
                path.write_bytes(value)
                yield from ("--zip-file", f"fileb://{path}")
            elif value is True:
                yield option
            elif isinstance(value, list):
                yield from (option, *value)
            elif isinstance(value, dict):
                yield from (option, json.dumps(value))
            else:
                yield from (option, str(value))

    def _call(self, operation, **more):
        return self._aws(botocore.xform_name(operation, "-"), *self._words(more))

    def _call_invoke(self, payload, **more):
        out = self._directory / "cli.out"
        words = ["--cli-binary-format", "raw-in-base64-out", "--payload", payload]
        words += ["--function-name", NAME, *self._words(more), str(out)]
        return self._aws("invoke", *words) | {"Payload": out.read_bytes()}

    def _wait(self, waiter, **more):
        words = ["--function-name", NAME, *self._words(more)]
        self._aws("wait", waiter.replace("_", "-"), *words)

    def _fetch(self, url):
        shown = self._curl("-i", url + "a/b?c=d")
        head, body = shown.decode().split("\r\n\r\n", 1)
        first, *fields = head.split("\r\n")
        [by] = [field.partition(": ")[2] for field in fields if field.startswith("x-by: ")]
        return {"status": int(first.split()[1]), "by": by, "body": body}

    def _curl(self, *words):
        command = ["curl", "-sS", *words]
        return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout

    def stream(self):
        # The CLI has no command for it: its users have curl, which signs as well.
        variables = self._environment
        key = f"{variables['AWS_ACCESS_KEY_ID']}:{variables['AWS_SECRET_ACCESS_KEY']}"
        path = f"/2021-11-15/functions/{NAME}/response-streaming-invocations"
        got = self._curl(
            *["--aws-sigv4", "aws:amz:us-east-1:lambda", "--user", key, "-i"],
            *["-H", "Content-Type: application/json", "-d", '{"name": "stream"}'],
            self._endpoint_url + path,
        )
        head, body = got.split(b"\r\n\r\n", 1)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        buffer = botocore.eventstream.EventStreamBuffer()
        buffer.add_data(body)
        chunks, complete = b"", None
        for message in buffer:
            kind = message.headers[":event-type"]
            if kind == "PayloadChunk":
                chunks += message.payload
            else:
                complete = {"error": json.loads(message.payload).get("ErrorCode")}
        version = fields["x-amz-executed-version"]
        return {"version": version, "payload": json.loads(chunks), "complete": complete}

    def pages(self):
        words = ["list-versions-by-function", "--function-name", NAME, "--page-size", "1"]
        return [found["Version"] for found in self._aws(*words)["Versions"]]


class Script(unittest.TestCase):
    """Each client at a service of its own that lets nobody in who doesn't sign."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        test_tools.rust_sdk()
        test_observe.cli_2()
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.files = [
            support.zip_of({"app.py": APP % "one"}),
            support.zip_of({"app.py": APP % "two"}),
            support.zip_of({"words.txt": "some words"}),
        ]
        cls.paths = []
        for name, content in zip(["one", "two", "layer"], cls.files):
            cls.paths.append(cls.directory / f"{name}.zip")
            cls.paths[-1].write_bytes(content)
        cls.runtime = support.python_runtime()

    def served(self):
        data = self.enterContext(tempfile.TemporaryDirectory())
        key = test_auth.create_key(data)
        service = self.enterContext(support.Service("--auth", "sigv4", data=data))
        # No configuration of whoever runs this is read.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_REGION": support.REGION,
            "AWS_ENDPOINT_URL_LAMBDA": service.url,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "NODE_PATH": str(tools.TOOLS / "node/node_modules"),
            "RUNTIME": self.runtime,
        }
        return service, key, environment

    def boto3(self):
        service, key, _ = self.served()
        return run_steps(Boto3(service, key, self.files, self.runtime))

    def cli(self):
        service, _, environment = self.served()
        return run_steps(Cli(self.directory, environment, service.url, self.files, self.runtime))

    def program(self, *command):
        service, _, environment = self.served()
        done = tools.run(*command, service.url, NAME, *self.paths, env=environment)
        return json.loads(done.stdout)

    def javascript(self):
        return self.program("node", tools.SUITES / "node/script.cjs")

    def rust(self):
        return self.program(test_tools.rust_sdk(), "script")

    def test_twenty_steps_by_four_clients(self):
        clients = [self.boto3, self.cli, self.javascript, self.rust]
        wanted = expected(*self.files, self.runtime)
        self.assertEqual(len(step_names(Steps)), 20)
        self.assertEqual(list(wanted), step_names(Steps))
        running = support.together(*clients)
        # All of them: nobody starts a service once this test cleans up.
        concurrent.futures.wait(running)
        for client, report in zip(clients, running):
            seen = report.result()
            # Ids and times apart, it is the same log.
            log = base64.b64decode(seen["invoke"]["log"]).decode().splitlines()
            seen["invoke"]["log"] = [line.split()[0] for line in log]
            for step in wanted:
                with self.subTest(client=client.__name__, step=step):
                    self.assertEqual(seen[step], wanted[step])
            self.assertEqual(set(seen), set(wanted))


if __name__ == "__main__":
    unittest.main()
