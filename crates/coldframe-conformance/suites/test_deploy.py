"""Tools that deploy and invoke, unmodified, as their users type them: cargo-lambda, SAM, Chalice; and
the calls that Terraform makes.

Every service here asks for signatures. Spec: service-api.md §11.
"""

import http.client
import json
import os
import shutil
import sys
import tempfile
import unittest
import urllib.parse
from pathlib import Path

import botocore.exceptions

import services
import support
import test_auth
import test_observe
import tools

ACCOUNT = "000000000000"
ARN = f"arn:aws:lambda:{support.REGION}:{ACCOUNT}:function:"

CARGO_LAMBDA = "cargo-lambda==1.9.2"
CHALICE = "chalice==1.34.0"

PYTHON = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("asked to fail")
    print("it runs")
    return {"got": event, "arn": context.invoked_function_arn}
"""


def installed(name, requirement, *options):
    """The directory of a package from PyPI that has needs of its own."""

    def make(directory):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        tools.run(*pip, "--no-compile", *options, "--target", directory, requirement)

    return tools.once(name, requirement, make)


class Deployed(unittest.TestCase):
    options = ()
    variables = None
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        data = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.key = test_auth.create_key(data)
        cls.service = cls.enterClassContext(
            support.Service("--auth", "sigv4", *cls.options, data=data, variables=cls.variables)
        )
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.client, cls.iam, cls.logs = map(cls.client_of, ["lambda", "iam", "logs"])
        nothing = str(cls.directory / "nothing")
        # The toolchain is that of whoever runs this, AWS's configuration isn't.
        cls.environment = {
            **os.environ,
            "AWS_CONFIG_FILE": nothing,
            "AWS_SHARED_CREDENTIALS_FILE": nothing,
            "AWS_ACCESS_KEY_ID": cls.key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": cls.key["SecretAccessKey"],
            "AWS_REGION": support.REGION,
            "AWS_DEFAULT_REGION": support.REGION,
            "AWS_ENDPOINT_URL": cls.service.url,
        }

    @classmethod
    def client_of(cls, name):
        client = test_auth.client(cls.service, cls.key, name=name)
        client.coldframe = cls.service
        return client

    def fetch(self, url):
        """A GET of a function URL that nobody signs."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        try:
            host = urllib.parse.urlsplit(url).netloc
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class CargoLambda(Deployed):
    """`cargo lambda`: a Rust function and an extension."""

    variables = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    @classmethod
    def setUpClass(cls):
        cls.s3 = cls.enterClassContext(services.Moto())
        cls.options = ["--s3-endpoint", cls.s3.url]
        super().setUpClass()
        # Without what cross-compiles: the examples are compiled already.
        place = installed("cargo-lambda", CARGO_LAMBDA, "--no-deps")
        cls.program = place / "bin/cargo-lambda"
        cls.environment["AWS_ENDPOINT_URL_S3"] = cls.s3.url
        cls.project = cls.directory / "greeter"
        cls.project.mkdir()
        (cls.project / "main.rs").write_text("fn main() {}\n")
        (cls.project / "Cargo.toml").write_text(
            '[package]\nname = "greeter"\nversion = "0.1.0"\nedition = "2024"\n'
            '[[bin]]\nname = "greeter"\npath = "main.rs"\n'
        )

    def cargo_lambda(self, *words, check=True):
        command = [self.program, "lambda", *words]
        return tools.run(*command, check=check, cwd=self.project, env=self.environment)

    def deploy(self, name, *words, binary=None):
        binary = binary or tools.hello_rust() / "bootstrap"
        # It leaves its package beside the program.
        copy = self.project / binary.name
        if not copy.exists():
            shutil.copy(binary, copy)
        words = ["--binary-path", copy, "--output-format", "json", *words]
        said = self.cargo_lambda("deploy", name, *words).stdout
        # Its progress stands before.
        return json.loads(said[said.index("{") :])

    def invoke(self, name, event, *words, check=True):
        words = ["--remote", "--data-ascii", json.dumps(event), *words]
        return self.cargo_lambda("invoke", name, *words, check=check)

    def test_the_life_of_a_function(self):
        # It makes a role and waits until that can be taken on.
        made = self.deploy("greeter")
        self.assertEqual((made["function_arn"], made["version"]), (f"{ARN}greeter", "1"))
        role = self.client.get_function_configuration(FunctionName="greeter")["Role"]
        self.assertRegex(role, rf"^arn:aws:iam::{ACCOUNT}:role/cargo-lambda-role-")
        [attached] = self.iam.list_attached_role_policies(RoleName=role.rpartition("/")[2])[
            "AttachedPolicies"
        ]
        self.assertEqual(attached["PolicyName"], "AWSLambdaBasicExecutionRole")
        answer = json.loads(self.invoke("greeter", {"name": "cargo"}).stdout)
        self.assertEqual(answer["greeting"], "Hello, cargo!")
        failed = self.invoke("greeter", {"fail": True}, check=False)
        self.assertEqual(failed.returncode, 1, failed)
        self.assertIn("asked to fail", failed.stderr)

        extension = self.deploy(
            "observer",
            *["--extension", "--compatible-runtimes", "provided.al2023", "--tag", "one=1"],
            binary=tools.extension_rust() / "extensions/extension-rust",
        )
        layer = f"arn:aws:lambda:{support.REGION}:{ACCOUNT}:layer:observer:1"
        self.assertEqual(extension["extension_arn"], layer)

        settings = ["--memory", "256", "--timeout", "9", "--env-var", "COLOUR=red,SHAPE=round"]
        settings += ["--tracing", "active", "--layer", layer, "--description", "greets"]
        tags = ["--tag", "team=blue", "--tag", "stage=test"]
        changed = self.deploy("greeter", *settings, *tags, "--log-retention", "7")
        self.assertEqual(changed["version"], "2")
        shown = self.client.get_function(FunctionName="greeter", Qualifier="2")
        self.assertEqual(shown["Tags"], {"team": "blue", "stage": "test"})
        configuration = shown["Configuration"]
        expected = {
            "MemorySize": 256,
            "Timeout": 9,
            "Environment": {"Variables": {"COLOUR": "red", "SHAPE": "round"}},
            "TracingConfig": {"Mode": "Active"},
            "Description": "greets",
        }
        self.assertEqual(configuration, configuration | expected)
        self.assertEqual([one["Arn"] for one in configuration["Layers"]], [layer])
        group = {"logGroupNamePrefix": "/aws/lambda/greeter"}
        [group] = self.logs.describe_log_groups(**group)["logGroups"]
        self.assertEqual(group["retentionInDays"], 7)

    def test_an_alias_with_a_url(self):
        self.deploy("aliased", "--role", support.ROLE)
        # No settings: where some change, it waits for the alias before it has made it.
        made = self.deploy("aliased", "--alias", "live", "--enable-function-url")
        self.assertEqual((made["alias"], made["version"]), ("live", "1"))
        status, body = self.fetch(made["function_url"])
        self.assertEqual(status, 200, body)
        self.assertEqual(json.loads(body)["functionArn"], f"{ARN}aliased:live")

        program = self.project / "changed"
        shutil.copy(tools.hello_rust() / "bootstrap", program)
        with program.open("ab") as file:
            file.write(b"\0")
        words = ["--alias", "live", "--disable-function-url"]
        moved = self.deploy("aliased", *words, binary=program)
        self.assertEqual((moved["alias"], moved["version"]), ("live", "2"))
        self.assertEqual(self.fetch(made["function_url"])[0], 403)
        answer = json.loads(self.invoke("aliased", {}, "--alias", "live").stdout)
        self.assertEqual(answer["functionArn"], f"{ARN}aliased:live")
        alias = self.client.get_alias(FunctionName="aliased", Name="live")
        self.assertEqual(alias["FunctionVersion"], "2")

    def test_code_by_way_of_s3(self):
        self.s3.client().create_bucket(Bucket="code")
        self.deploy("stored", "--role", support.ROLE, "--s3-bucket", "code", "--s3-key", "a/key")
        [found] = self.s3.client().list_objects_v2(Bucket="code")["Contents"]
        shown = self.client.get_function_configuration(FunctionName="stored")
        self.assertEqual((found["Key"], found["Size"]), ("a/key", shown["CodeSize"]))
        answer = json.loads(self.invoke("stored", {"name": "S3"}).stdout)
        self.assertEqual(answer["greeting"], "Hello, S3!")


class Sam(Deployed):
    """`sam remote invoke`: functions by their ARN; names would be asked of CloudFormation."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.deploy(cls.client, "plain", {"app.py": PYTHON})

    def remote(self, function, *words, event=None, check=True, **options):
        words = ["remote", "invoke", function, *words]
        if event is not None:
            words += ["--event", json.dumps(event)]
        return test_observe.sam(*words, env=self.environment, cwd=self.directory, check=check, **options)

    def test_an_event_and_its_log(self):
        event = {"name": "sam"}
        done = self.remote(f"{ARN}plain", event=event)
        self.assertEqual(json.loads(done.stdout), {"got": event, "arn": f"{ARN}plain"})
        self.assertRegex(done.stderr, r"START RequestId: [\s\S]*\nit runs\nEND RequestId: [\s\S]*\nREPORT ")

    def test_a_file_and_the_whole_answer(self):
        event = self.directory / "event.json"
        event.write_text('{"from": "a file"}')
        done = self.remote(f"{ARN}plain", "--event-file", event, "--output", "json")
        answer = json.loads(done.stdout)
        self.assertEqual((answer["StatusCode"], answer["ExecutedVersion"]), (200, "$LATEST"))
        self.assertEqual(json.loads(answer["Payload"])["got"], {"from": "a file"})
        with event.open() as file:
            done = self.remote(f"{ARN}plain", "--event-file", "-", stdin=file)
        self.assertEqual(json.loads(done.stdout)["got"], {"from": "a file"})

    def test_other_types_and_qualifiers(self):
        whole = ["--output", "json", "--parameter"]
        done = self.remote(f"{ARN}plain", *whole, "InvocationType=DryRun", event={})
        self.assertEqual(json.loads(done.stdout)["StatusCode"], 204)
        done = self.remote(f"{ARN}plain", *whole, "InvocationType=Event", event={"an": "event"})
        self.assertEqual(json.loads(done.stdout)["StatusCode"], 202)
        version = self.client.publish_version(FunctionName="plain")["Version"]
        done = self.remote(f"{ARN}plain", *whole, f"Qualifier={version}", event={})
        self.assertEqual(json.loads(done.stdout)["ExecutedVersion"], version)

    def test_failures(self):
        done = self.remote(f"{ARN}plain", event={"fail": True})
        self.assertEqual(json.loads(done.stdout)["errorMessage"], "asked to fail")
        done = self.remote(f"{ARN}absent", event={}, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"Function not found: {ARN}absent", done.stderr)

    def test_a_function_that_streams(self):
        package = tools.package(tools.rust_example("stream-rust"))
        support.deploy(self.client, "streams", package, Runtime="provided.al2023")
        # By this it knows how to invoke.
        self.client.create_function_url_config(
            FunctionName="streams", AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM"
        )
        stream = self.client.invoke_with_response_stream(FunctionName="streams", Payload=b"{}")
        pieces = [event.get("PayloadChunk", {}).get("Payload", b"") for event in stream["EventStream"]]
        done = self.remote(f"{ARN}streams", event={})
        self.assertEqual(done.stdout.encode(), b"".join(pieces))
        self.assertIn("REPORT RequestId: ", done.stderr)


class Chalice(Deployed):
    """`chalice`: functions of an application in Python, with a role of their own."""

    APP = """
from chalice import Chalice

app = Chalice(app_name="greeter")

@app.lambda_function(name="hello")
def hello(event, context):
    print("greets " + event["name"])
    return {"greeting": "Hello, " + event["name"] + "!"}

@app.lambda_function(name="other")
def other(event, context):
    return "%s"
"""

    def chalice(self, *words, **options):
        place = installed("chalice", CHALICE)
        environment = {**self.environment, "PYTHONPATH": str(place)}
        command = [sys.executable, place / "bin/chalice", *words]
        return tools.run(*command, cwd=self.project, env=environment, **options).stdout

    def test_the_life_of_an_application(self):
        self.project = self.directory / "greeter"
        (self.project / ".chalice").mkdir(parents=True)
        (self.project / "requirements.txt").write_text("")
        config = {"version": "2.0", "app_name": "greeter", "stages": {"dev": {}}}
        config["stages"]["dev"]["environment_variables"] = {"COLOUR": "red"}
        config["stages"]["dev"]["reserved_concurrency"] = 2
        (self.project / ".chalice/config.json").write_text(json.dumps(config))
        app = self.project / "app.py"
        app.write_text(self.APP % "one")
        said = self.chalice("deploy")
        self.assertIn(f"Lambda ARN: {ARN}greeter-dev-hello", said)
        shown = self.client.get_function(FunctionName="greeter-dev-hello")
        self.assertEqual(shown["Concurrency"], {"ReservedConcurrentExecutions": 2})
        shown = shown["Configuration"]
        self.assertEqual(shown["Environment"], {"Variables": {"COLOUR": "red"}})
        self.assertEqual(shown["Role"], f"arn:aws:iam::{ACCOUNT}:role/greeter-dev")
        event = self.directory / "event.json"
        event.write_text('{"name": "Chalice"}')
        with event.open() as file:
            answer = self.chalice("invoke", "-n", "hello", stdin=file)
        self.assertEqual(json.loads(answer), {"greeting": "Hello, Chalice!"})
        self.assertIn("greets Chalice\n", self.chalice("logs", "-n", "hello"))

        app.write_text(self.APP % "two")
        self.chalice("deploy")
        self.assertEqual(json.loads(self.chalice("invoke", "-n", "other")), "two")
        said = self.chalice("delete")
        self.assertIn("Deleting IAM role: greeter-dev", said)
        self.assertEqual(self.client.list_functions()["Functions"], [])
        self.assertEqual(self.iam.list_roles()["Roles"], [])


class Terraform(Deployed):
    """The calls of Terraform's provider, in its order: it comes from a registry of its own."""

    def error(self, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            call(**arguments)
        return raised.exception.response["Error"]["Code"]

    def read(self, name):
        """What a refresh asks for."""
        shown = self.client.get_function(FunctionName=name)
        versions = self.client.list_versions_by_function(FunctionName=name, MaxItems=10000)
        signing = self.client.get_function_code_signing_config(FunctionName=name)
        self.assertNotIn("CodeSigningConfigArn", signing)
        return shown, [one["Version"] for one in versions["Versions"]]

    def test_apply_change_and_destroy(self):
        name, role = {"FunctionName": "terraform"}, {"RoleName": "terraform"}
        identity = self.client_of("sts").get_caller_identity()
        self.assertEqual(identity["Account"], ACCOUNT)

        trust = json.dumps(test_auth.Companions.TRUST)
        made = self.iam.create_role(
            **role, AssumeRolePolicyDocument=trust, Path="/", MaxSessionDuration=3600
        )["Role"]
        self.assertEqual(self.iam.get_role(**role)["Role"]["Arn"], made["Arn"])
        self.assertEqual(self.iam.list_role_policies(**role)["PolicyNames"], [])
        basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        self.iam.attach_role_policy(**role, PolicyArn=basic)
        [attached] = self.iam.list_attached_role_policies(**role)["AttachedPolicies"]
        self.assertEqual(attached["PolicyArn"], basic)

        files = {"app.py": PYTHON}
        support.create(
            self.client,
            "terraform",
            files,
            Role=made["Arn"],
            Publish=True,
            Tags={"made-by": "terraform"},
            Architectures=["x86_64"],
            EphemeralStorage={"Size": 512},
            TracingConfig={"Mode": "PassThrough"},
            LoggingConfig={"LogFormat": "Text", "LogGroup": "/aws/lambda/terraform"},
            PackageType="Zip",
        )
        support.wait_until(
            lambda: self.client.get_function(**name)["Configuration"]["State"] == "Active", "active"
        )
        self.client.put_function_concurrency(**name, ReservedConcurrentExecutions=1)
        shown, versions = self.read("terraform")
        self.assertEqual(shown["Concurrency"], {"ReservedConcurrentExecutions": 1})
        self.assertEqual(versions, ["$LATEST", "1"])

        url = self.client.create_function_url_config(**name, AuthType="NONE")["FunctionUrl"]
        self.client.add_permission(
            **name,
            StatementId="FunctionURLAllowPublicAccess",
            Action="lambda:InvokeFunctionUrl",
            Principal="*",
            FunctionUrlAuthType="NONE",
        )
        self.client.add_permission(
            **name,
            StatementId="FunctionURLAllowInvokeAction",
            Action="lambda:InvokeFunction",
            Principal="*",
            InvokedViaFunctionUrl=True,
        )
        self.client.get_function_url_config(**name)
        self.assertEqual(self.fetch(url)[0], 200)
        self.client.add_permission(
            **name,
            StatementId="AllowExecutionFromBucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn="arn:aws:s3:::bucket",
        )
        policy = json.loads(self.client.get_policy(**name)["Policy"])
        self.assertEqual(len(policy["Statement"]), 3)

        self.client.update_function_configuration(**name, MemorySize=256, Role=made["Arn"])
        support.updated(self.client, "terraform")
        code = support.zip_of({**files, "more.py": "MORE = 1\n"})
        self.client.update_function_code(**name, ZipFile=code)
        support.updated(self.client, "terraform")
        self.assertEqual(self.client.publish_version(**name)["Version"], "2")
        self.assertEqual(self.read("terraform")[1], ["$LATEST", "1", "2"])

        self.client.remove_permission(**name, StatementId="AllowExecutionFromBucket")
        self.client.delete_function_url_config(**name)
        self.client.delete_function(**name)
        self.assertEqual(self.error(self.client.get_function, **name), "ResourceNotFoundException")
        self.iam.detach_role_policy(**role, PolicyArn=basic)
        self.assertEqual(self.iam.list_instance_profiles_for_role(**role)["InstanceProfiles"], [])
        self.iam.delete_role(**role)
        self.assertEqual(self.error(self.iam.get_role, **role), "NoSuchEntity")


class Absent(Deployed):
    """Services that aren't here, asked by tools that have one endpoint for all."""

    def test_their_clients_understand_it(self):
        for name, call, code, what in [
            # JSON 1.1 and 1.0, the query protocol, S3's XML, JSON over REST.
            ("events", "list_rules", "NotImplementedException", "ListRules of AWSEvents"),
            ("sqs", "list_queues", "NotImplementedException", "ListQueues of AmazonSQS"),
            ("cloudformation", "list_stacks", "NotImplemented", "ListStacks of version 2010-05-15"),
            ("s3", "list_buckets", "NotImplemented", "s3"),
            ("apigateway", "get_rest_apis", "NotImplementedException", "apigateway"),
            # Those that share Lambda's host and signing name.
            ("lambda-microvms", "list_microvms", "NotImplementedException", "lambda-microvms"),
            ("lambda-core", "list_network_connectors", "NotImplementedException", "lambda-core"),
            ("lambda-web", "list_web_functions", "NotImplementedException", "lambda-web"),
        ]:
            with self.subTest(name):
                with self.assertRaises(botocore.exceptions.ClientError) as raised:
                    getattr(self.client_of(name), call)()
                told = raised.exception.response
                self.assertEqual(told["ResponseMetadata"]["HTTPStatusCode"], 501)
                self.assertEqual(told["Error"]["Code"], code)
                message = f"{what} is not supported by this server"
                self.assertEqual(told["Error"]["Message"], message)


if __name__ == "__main__":
    unittest.main()
