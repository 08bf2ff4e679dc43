"""Function URLs: their configuration, and functions as web servers.

Spec: service-api.md §6.
"""

import base64
import http.client
import json
import os
import re
import tempfile
import unittest
import urllib.parse

import botocore.auth
import botocore.credentials
import botocore.exceptions
from botocore.awsrequest import AWSRequest

import support
import test_auth
import tools

# Gives back what it got, or what the header `x-return` says.
ECHO = {
    "app.py": """
import json

def handler(event, context):
    if event["headers"].get("x-fail"):
        raise ValueError("wanted")
    wanted = event["headers"].get("x-return")
    return json.loads(wanted) if wanted else {"statusCode": 200, "body": json.dumps(event)}
"""
}
FORBIDDEN = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"


class Reply:
    def __init__(self, reply):
        self.status = reply.status
        self.fields = reply.headers
        self.body = reply.read()

    @property
    def json(self):
        return json.loads(self.body)


def send(service, url, method="GET", path="", body=None, headers=None, by_path=False):
    """A request for a function URL, by its host's name or by the path that stands for it."""
    host = urllib.parse.urlsplit(url).netloc
    headers = {"Host": host, **(headers or {})}
    if by_path:
        path = f"/_url/{host.split('.')[0]}/{path}"
        headers["Host"] = f"127.0.0.1:{service.port}"
    else:
        path = f"/{path}"
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                connection.putheader(name, one)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def signed(key, url, method="GET", path="", body=b"", token=None):
    """The headers of a signed request."""
    request = AWSRequest(method, url + path, data=body)
    credentials = botocore.credentials.Credentials(
        key["AccessKeyId"], key["SecretAccessKey"], token
    )
    botocore.auth.SigV4Auth(credentials, "lambda", support.REGION).add_auth(request)
    return dict(request.headers)


def code_of(error):
    return error.exception.response["Error"]["Code"], error.exception.response["Error"]["Message"]


class Open(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = support.Service().start()
        cls.addClassCleanup(cls.service.stop)
        cls.client = cls.service.client()
        support.deploy(cls.client, "echo", ECHO)
        made = cls.client.create_function_url_config(FunctionName="echo", AuthType="NONE")
        cls.url = made["FunctionUrl"]

    def send(self, *arguments, **options):
        return send(self.service, self.url, *arguments, **options)

    def returned(self, value):
        return self.send(headers={"x-return": json.dumps(value)})


class Configuration(Open):
    def test_the_life_of_a_url(self):
        client, name = self.client, support.deploy(self.client, "life", ECHO)
        made = client.create_function_url_config(FunctionName=name, AuthType="NONE")
        self.assertEqual(made["ResponseMetadata"]["HTTPStatusCode"], 201)
        self.assertRegex(
            made["FunctionUrl"],
            rf"^http://[0-9a-z]{{32}}\.lambda-url\.us-east-1\.localhost:{self.service.port}/$",
        )
        self.assertRegex(made["CreationTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        self.assertEqual(made["FunctionArn"], arn)
        self.assertNotIn("InvokeMode", made)
        self.assertNotIn("LastModifiedTime", made)
        got = client.get_function_url_config(FunctionName=name)
        self.assertEqual((got["InvokeMode"], got["FunctionUrl"]), ("BUFFERED", made["FunctionUrl"]))
        cors = {"AllowOrigins": ["*"], "MaxAge": 60}
        updated = client.update_function_url_config(FunctionName=name, Cors=cors)
        self.assertEqual((updated["Cors"], updated["AuthType"]), (cors, "NONE"))
        self.assertNotIn("InvokeMode", updated)
        updated = client.update_function_url_config(FunctionName=name, InvokeMode="RESPONSE_STREAM")
        self.assertEqual((updated["Cors"], updated["InvokeMode"]), (cors, "RESPONSE_STREAM"))
        listed = client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
        self.assertEqual([one["FunctionUrl"] for one in listed], [made["FunctionUrl"]])
        with self.assertRaises(botocore.exceptions.ClientError) as error:
            client.create_function_url_config(FunctionName=name, AuthType="NONE")
        self.assertEqual(
            code_of(error),
            (
                "ResourceConflictException",
                f"Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists for this Lambda function",
            ),
        )
        gone = client.delete_function_url_config(FunctionName=name)
        self.assertEqual(gone["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.assertEqual(client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"], [])
        self.assertEqual(send(self.service, made["FunctionUrl"]).status, 403)

    def test_what_is_not_there(self):
        client, name = self.client, support.deploy(self.client, "bare", ECHO)
        absent = ("ResourceNotFoundException", "Function does not exist")
        nothing = ("ResourceNotFoundException", "The resource you requested does not exist.")

        def check(call, expected, **arguments):
            with self.assertRaises(botocore.exceptions.ClientError) as error:
                call(**arguments)
            self.assertEqual(code_of(error), expected)

        for qualifier in [{}, {"Qualifier": "none"}]:
            for function in ["absent", name] if qualifier else ["absent"]:
                named = {"FunctionName": function, **qualifier}
                check(client.create_function_url_config, absent, AuthType="NONE", **named)
                check(client.update_function_url_config, absent, AuthType="NONE", **named)
                check(client.get_function_url_config, nothing, **named)
                check(client.delete_function_url_config, nothing, **named)
        check(client.list_function_url_configs, absent, FunctionName="absent")
        check(client.update_function_url_config, nothing, FunctionName=name, AuthType="NONE")
        for qualifier in ["1", "$LATEST"]:
            with self.assertRaises(botocore.exceptions.ClientError) as error:
                client.create_function_url_config(
                    FunctionName=name, Qualifier=qualifier, AuthType="NONE"
                )
            self.assertEqual(code_of(error)[0], "ValidationException")

    def test_an_alias_has_its_own(self):
        client, name = self.client, support.deploy(self.client, "aliased", ECHO)
        client.publish_version(FunctionName=name)
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        named = {"FunctionName": name, "Qualifier": "live"}
        made = client.create_function_url_config(AuthType="NONE", **named)
        self.assertTrue(made["FunctionArn"].endswith(":function:aliased:live"))
        client.create_function_url_config(FunctionName=name, AuthType="NONE")
        listed = client.list_function_url_configs(FunctionName=name, MaxItems=1)
        self.assertEqual(len(listed["FunctionUrlConfigs"]), 1)
        more = client.list_function_url_configs(FunctionName=name, Marker=listed["NextMarker"])
        self.assertEqual(more["FunctionUrlConfigs"][0]["FunctionUrl"], made["FunctionUrl"])
        self.assertNotIn("NextMarker", more)
        self.assertEqual(send(self.service, made["FunctionUrl"]).status, 200)
        # Its URL stays, and lets nobody in.
        client.delete_alias(FunctionName=name, Name="live")
        refused = send(self.service, made["FunctionUrl"])
        self.assertEqual((refused.status, refused.json["Message"]), (403, FORBIDDEN))

    def test_a_deleted_functions_url_is_gone_and_a_killed_services_is_there(self):
        with tempfile.TemporaryDirectory() as data:
            service = support.Service(data=data).start()
            try:
                client = service.client()
                for name in ["stays", "goes"]:
                    support.deploy(client, name, ECHO)
                urls = [
                    client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
                    for name in ["stays", "goes"]
                ]
                client.delete_function(FunctionName="goes")
                service.kill()
                service.start()
                self.assertEqual([send(service, url).status for url in urls], [200, 403])
            finally:
                service.stop()

    def test_the_aws_cli(self):
        support.deploy(self.client, "cli", ECHO)
        aws = lambda *words: tools.run(
            *["aws", "--endpoint-url", self.service.url, "--region", "us-east-1", "lambda", *words],
            env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
        )
        cors = "AllowOrigins=https://a.example,AllowMethods=GET"
        words = ["--function-name", "cli", "--auth-type", "NONE", "--cors", cors]
        made = json.loads(aws("create-function-url-config", *words).stdout)
        self.assertEqual(made["Cors"]["AllowOrigins"], ["https://a.example"])
        self.assertEqual(send(self.service, made["FunctionUrl"]).status, 200)
        aws("delete-function-url-config", "--function-name", "cli")

    def test_another_domain(self):
        with support.Service("--url-domain", "functions.example:8080") as service:
            client = service.client()
            support.deploy(client, "f", ECHO)
            made = client.create_function_url_config(FunctionName="f", AuthType="NONE")
            self.assertRegex(made["FunctionUrl"], r"\.lambda-url\.us-east-1\.functions\.example:8080/$")
            event = json.loads(send(service, made["FunctionUrl"]).body)
            self.assertTrue(event["requestContext"]["domainName"].endswith(".functions.example"))


class Requests(Open):
    def test_curl_gets_in_by_the_hosts_name(self):
        done = tools.run("curl", "-sS", "-i", "--fail", f"{self.url}a/b?c=d")
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        event = json.loads(body)
        self.assertEqual((event["rawPath"], event["rawQueryString"]), ("/a/b", "c=d"))
        found = re.search(r"^x-amzn-requestid: (\S+)$", head, re.MULTILINE | re.IGNORECASE)
        self.assertEqual(found[1], event["requestContext"]["requestId"])

    def test_curl_speaks_http_2(self):
        done = tools.run("curl", "-sS", "--fail", "--http2-prior-knowledge", f"{self.url}x")
        event = json.loads(done.stdout)
        self.assertEqual(event["headers"]["host"], urllib.parse.urlsplit(self.url).netloc)

    def test_the_event(self):
        headers = {
            "Content-Type": "application/json",
            "X-Twice": ["a", "With WeiRd CapS"],
            "Cookie": "a=1; b=2",
            "User-Agent": "test/1",
            "Authorization": "Bearer mine",
            "Connection": "keep-alive",
        }
        target = "pa2%25th//../1?q=query&multiQuery=foo&multiQuery=%2Fbar"
        for by_path in [False, True]:
            event = self.send("POST", target, b'{"foo":"bar"}', headers, by_path=by_path).json
            self.assertEqual(event["rawPath"], "/pa2%25th//../1")
            self.assertEqual(event["rawQueryString"], "q=query&multiQuery=foo&multiQuery=%2Fbar")
            self.assertEqual(
                event["queryStringParameters"], {"q": "query", "multiQuery": "foo,/bar"}
            )
            self.assertEqual(event["cookies"], ["a=1", "b=2"])
            self.assertEqual((event["body"], event["isBase64Encoded"]), ('{"foo":"bar"}', False))
            seen = event["headers"]
            self.assertEqual(seen["x-twice"], "a,With WeiRd CapS")
            self.assertEqual(seen["authorization"], "Bearer mine")
            self.assertEqual((seen["x-forwarded-for"], seen["x-forwarded-proto"]), ("127.0.0.1", "http"))
            self.assertNotIn("cookie", seen)
            self.assertNotIn("connection", seen)
            context = event["requestContext"]
            host = urllib.parse.urlsplit(self.url).hostname
            self.assertEqual((context["domainName"], context["domainPrefix"]), (host, host[:32]))
            self.assertEqual(context["accountId"], "anonymous")
            self.assertEqual(
                context["http"],
                {
                    "method": "POST",
                    "path": "/pa2%25th//../1",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "test/1",
                },
            )
            self.assertRegex(context["time"], r"^\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000$")

    def test_every_method_and_binary_bodies(self):
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]:
            self.assertEqual(self.send(method).json["requestContext"]["http"]["method"], method)
        self.assertEqual(self.send("HEAD").status, 200)
        event = self.send("POST", "", b"\x00\xff", {"Content-Type": "image/png"}).json
        self.assertEqual((event["isBase64Encoded"], base64.b64decode(event["body"])), (True, b"\x00\xff"))

    def test_a_body_that_is_too_large(self):
        headers = {"Content-Type": "text/plain"}
        self.assertEqual(self.send("POST", "", b"x" * 6_291_457, headers).status, 413)
        # As base64, and with all that is told beside it.
        self.assertEqual(self.send("POST", "", b"x" * 5_000_000).status, 413)
        self.assertEqual(self.send("POST", "", b"x" * 4_000_000, {"x-return": "1"}).status, 200)

    def test_answers(self):
        reply = self.returned({"statusCode": 404, "headers": {"X-A": "b"}, "cookies": ["a=1", "b=2"], "body": "x"})
        self.assertEqual((reply.status, reply.body), (404, b"x"))
        self.assertEqual(reply.fields["x-a"], "b")
        self.assertEqual(reply.fields.get_all("set-cookie"), ["a=1", "b=2"])
        self.assertEqual(reply.fields["content-type"], "application/json")
        self.assertEqual(self.returned(["hello", 3, True]).body, b'["hello",3,true]')
        self.assertEqual(self.returned("text").body, b"text")
        self.assertEqual(self.returned(None).body, b"null")
        image = base64.b64encode(b"\x89PNG\xff").decode()
        reply = self.returned({"statusCode": 200, "body": image, "isBase64Encoded": True})
        self.assertEqual(reply.body, b"\x89PNG\xff")

    def test_failures(self):
        for reply in [self.send(headers={"x-fail": "1"}), self.returned({"statusCode": "no"})]:
            self.assertEqual((reply.status, reply.body), (502, b"Internal Server Error"))
        unknown = self.url.replace(urllib.parse.urlsplit(self.url).hostname[:32], "0" * 32)
        reply = send(self.service, unknown)
        self.assertEqual((reply.status, reply.json), (403, {"Message": None}))
        self.assertEqual(reply.fields["x-amzn-errortype"], "AccessDeniedException")

    def test_a_throttle(self):
        # §6.5: nothing is reserved; or all that is, is in use. In both modes of invoking.
        gate = support.Gate()
        self.addCleanup(gate.close)
        service = self.enterContext(support.Service("--allow-host-port", str(gate.port)))
        client, name = service.client(), "throttled"
        init = f"""
            def handler(event, context):
                if event["rawPath"] == "/wait":
                    meet({gate.port}, "throttled")
                return "done"
        """
        support.deploy_lab(client, name, init=init)
        url = client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]

        def throttled():
            for by_path in (False, True):
                reply = send(service, url, by_path=by_path)
                self.assertEqual(reply.status, 429)
                self.assertEqual(reply.fields["content-type"], "application/json")
                self.assertEqual(
                    reply.json,
                    {
                        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
                        "Type": "User",
                        "message": "Rate Exceeded.",
                    },
                )
                self.assertEqual(reply.fields["x-amzn-errortype"], "TooManyRequestsException")

        def reserve(count):
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=count)

        for mode in ("BUFFERED", "RESPONSE_STREAM"):
            with self.subTest(mode):
                client.update_function_url_config(FunctionName=name, InvokeMode=mode)
                reserve(0)
                throttled()
                reserve(1)
                [waiting] = support.together(lambda: send(service, url, path="wait"))
                gate.wait_for("throttled")
                throttled()
                gate.open("throttled")
                self.assertEqual((waiting.result().status, waiting.result().body), (200, b"done"))
                # And the next may run again.
                service.settle(name)
                self.assertEqual(send(service, url).body, b"done")

    def test_a_stream_with_a_prelude(self):
        # A runtime that answers every event so.
        init = """
            while True:
                identity = ask_next().fields["lambda-runtime-aws-request-id"]
                prelude = {"statusCode": 418, "headers": {"content-type": "text/tea"}, "cookies": ["a=1"]}
                post(identity, "response", json.dumps(prelude).encode() + bytes(8) + b"pot", {
                    "Content-Type": "application/vnd.awslambda.http-integration-response",
                    "Lambda-Runtime-Function-Response-Mode": "streaming",
                })
        """
        name = support.deploy_script(self.client, "prelude", init)
        made = self.client.create_function_url_config(
            FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM"
        )
        reply = send(self.service, made["FunctionUrl"])
        self.assertEqual((reply.status, reply.body), (418, b"pot"))
        self.assertEqual(reply.fields["content-type"], "text/tea")
        self.assertEqual(reply.fields["set-cookie"], "a=1")

    def test_what_is_streamed_comes_at_once(self):
        gate = support.Gate()
        self.addCleanup(gate.close)
        with support.Service("--allow-host-port", str(gate.port)) as service:
            client = service.client()
            init = f"""
                while True:
                    identity = ask_next().fields["lambda-runtime-aws-request-id"]
                    connection = Connection()
                    connection.send(f"POST {{API}}/invocation/{{identity}}/response HTTP/1.1\\r\\nHost: x\\r\\n"
                        "Content-Type: application/octet-stream\\r\\nTransfer-Encoding: chunked\\r\\n"
                        "Lambda-Runtime-Function-Response-Mode: streaming\\r\\n\\r\\n5\\r\\nfirst\\r\\n")
                    with socket.create_connection(("127.0.0.1", {gate.port})) as gate:
                        gate.sendall(b"half\\n")
                        gate.recv(1)
                    connection.send("4\\r\\nlast\\r\\n0\\r\\n\\r\\n").reply()
                    connection.close()
            """
            name = support.deploy_script(client, "streams", init)
            made = client.create_function_url_config(
                FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM"
            )
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
            self.addCleanup(connection.close)
            host = urllib.parse.urlsplit(made["FunctionUrl"]).netloc
            connection.request("GET", "/", headers={"Host": host})
            reply = connection.getresponse()
            self.assertEqual(reply.headers["content-type"], "application/octet-stream")
            # It has come while the function waits.
            self.assertEqual(reply.read(5), b"first")
            gate.wait_for("half")
            gate.open("half")
            self.assertEqual(reply.read(), b"last")

    def test_paths_of_the_service_are_the_functions_own_there(self):
        for path in ["_coldframe/environments", "metrics", "_url/x/y", "2015-03-31/functions"]:
            self.assertEqual(self.send(path=path).json["rawPath"], f"/{path}")

    def test_cors(self):
        support.deploy(self.client, "cors", ECHO)
        cors = {
            "AllowOrigins": ["https://a.example"],
            "AllowMethods": ["PUT"],
            "AllowHeaders": ["x-own"],
            "AllowCredentials": True,
            "MaxAge": 300,
        }
        made = self.client.create_function_url_config(FunctionName="cors", AuthType="NONE", Cors=cors)
        url = made["FunctionUrl"]
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
        reply = send(self.service, url, "OPTIONS", headers={**asked, "x-fail": "1"})
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(reply.fields["access-control-allow-origin"], "https://a.example")
        self.assertEqual(reply.fields["access-control-allow-methods"], "PUT")
        self.assertEqual(reply.fields["access-control-max-age"], "300")
        own = {"statusCode": 200, "headers": {"access-control-allow-origin": "https://own.example"}}
        headers = {"Origin": "https://a.example", "x-return": json.dumps(own)}
        reply = send(self.service, url, headers=headers)
        self.assertEqual(reply.fields.get_all("access-control-allow-origin"), ["https://a.example"])
        self.assertEqual(reply.fields["access-control-allow-credentials"], "true")
        reply = send(self.service, url, headers={"Origin": "https://b.example"})
        self.assertEqual((reply.status, reply.fields["access-control-allow-origin"]), (200, None))
        # The API itself stays closed to pages of other origins.
        api = {"Origin": "https://a.example", "Host": f"127.0.0.1:{self.service.port}"}
        status, _, _ = self.service.request("GET", "/2015-03-31/functions", headers=api)
        self.assertEqual(status, 403)


class Iam(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.data = directory.name
        cls.key = test_auth.create_key(cls.data)
        cls.service = support.Service("--auth", "sigv4", data=cls.data).start()
        cls.addClassCleanup(cls.service.stop)
        cls.client = test_auth.client(cls.service, cls.key)
        support.deploy(cls.client, "iam", ECHO)
        made = cls.client.create_function_url_config(FunctionName="iam", AuthType="AWS_IAM")
        cls.url = made["FunctionUrl"]

    def refused(self, reply):
        self.assertEqual((reply.status, reply.json), (403, {"Message": FORBIDDEN}))
        self.assertEqual(reply.fields["x-amzn-errortype"], "AccessDeniedException")

    def test_who_signs_gets_in(self):
        headers = {**signed(self.key, self.url, "POST", "a%20b?c=d", b"{}")}
        headers["Content-Type"] = "application/json"
        event = send(self.service, self.url, "POST", "a%20b?c=d", b"{}", headers).json
        iam = event["requestContext"]["authorizer"]["iam"]
        self.assertEqual(iam["userArn"], "arn:aws:iam::000000000000:user/admin")
        self.assertEqual(iam["accessKey"], self.key["AccessKeyId"])
        self.assertEqual(event["requestContext"]["accountId"], "000000000000")
        self.assertNotIn("authorization", event["headers"])

    def test_curl_signs(self):
        done = tools.run(
            *["curl", "-sS", "--fail-with-body", "--aws-sigv4", f"aws:amz:{support.REGION}:lambda"],
            *["--user", f"{self.key['AccessKeyId']}:{self.key['SecretAccessKey']}", self.url],
        )
        self.assertIn("authorizer", json.loads(done.stdout)["requestContext"])

    def test_all_others_do_not(self):
        self.refused(send(self.service, self.url))
        wrong = {**self.key, "SecretAccessKey": "wrong"}
        self.refused(send(self.service, self.url, headers=signed(wrong, self.url)))
        unknown = {**self.key, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}
        self.refused(send(self.service, self.url, headers=signed(unknown, self.url)))
        self.refused(send(self.service, self.url, path="other", headers=signed(self.key, self.url)))
        self.refused(send(self.service, self.url, headers={"Authorization": "Bearer x"}))
        account = tools.coldframe("account", "create", "--data", self.data).stdout.strip()
        stranger = test_auth.create_key(self.data, "--account", account)
        self.refused(send(self.service, self.url, headers=signed(stranger, self.url)))

    def test_where_keys_count_a_public_url_needs_a_policy_that_says_so(self):
        support.deploy(self.client, "public", ECHO)
        made = self.client.create_function_url_config(FunctionName="public", AuthType="NONE")
        self.refused(send(self.service, made["FunctionUrl"]))
        for statement, more in [
            ("url", {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"}),
            ("function", {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}),
        ]:
            self.refused(send(self.service, made["FunctionUrl"]))
            self.client.add_permission(
                FunctionName="public", StatementId=statement, Principal="*", **more
            )
        self.assertEqual(send(self.service, made["FunctionUrl"]).status, 200)
        # It opens the URL, and nothing else.
        account = tools.coldframe("account", "create", "--data", self.data).stdout.strip()
        stranger = test_auth.client(self.service, test_auth.create_key(self.data, "--account", account))
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "AccessDeniedException"):
            stranger.invoke(FunctionName=made["FunctionArn"])

    def test_a_policy_lets_another_account_use_a_url(self):
        support.deploy(self.client, "shared", ECHO)
        made = self.client.create_function_url_config(FunctionName="shared", AuthType="AWS_IAM")
        account = tools.coldframe("account", "create", "--data", self.data).stdout.strip()
        stranger = test_auth.create_key(self.data, "--account", account)
        url = made["FunctionUrl"]
        self.refused(send(self.service, url, headers=signed(stranger, url)))
        for statement, more in [
            ("url", {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "AWS_IAM"}),
            ("function", {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}),
        ]:
            self.client.add_permission(
                FunctionName="shared", StatementId=statement, Principal=account, **more
            )
        event = send(self.service, url, headers=signed(stranger, url)).json
        self.assertEqual(event["requestContext"]["accountId"], account)

    def test_where_nothing_is_checked_a_signature_is_still_asked_for(self):
        with support.Service() as service:
            client = service.client()
            support.deploy(client, "iam", ECHO)
            made = client.create_function_url_config(FunctionName="iam", AuthType="AWS_IAM")
            url = made["FunctionUrl"]
            self.refused(send(service, url))
            key = {"AccessKeyId": "any", "SecretAccessKey": "thing"}
            self.assertEqual(send(service, url, headers=signed(key, url)).status, 200)
            other = {**key, "AccessKeyId": "123456789012"}
            self.refused(send(service, url, headers=signed(other, url)))


if __name__ == "__main__":
    unittest.main()
