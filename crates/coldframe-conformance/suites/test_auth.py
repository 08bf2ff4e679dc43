"""Accounts, keys and signatures: who gets in, and what the others are told.

Spec: service-api.md §9.2–9.5.
"""

import datetime
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from unittest import mock

import boto3
import botocore.auth
import botocore.config
import botocore.credentials
import botocore.exceptions
from botocore.awsrequest import AWSRequest

import support
import tools

FUNCTION = {"app.py": "def handler(event, context):\n    return event\n"}
OTHER = "123456789012"


def keys(data, *arguments):
    """`coldframe key …`, its JSON."""
    done = tools.coldframe("key", *arguments, "--data", data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def create_key(data, *arguments):
    return json.loads(keys(data, "create", "--json", *arguments))["AccessKey"]


def client(service, key, region=support.REGION, name="lambda", token=None):
    made = boto3.session.Session().client(
        name,
        endpoint_url=service.url,
        region_name=region,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=120),
    )
    made.coldframe = service
    return made


def invoke(client, name, event):
    answer = support.Answer(client.invoke(FunctionName=name, Payload=json.dumps(event)))
    assert answer.error is None, answer.payload
    return answer.json


class Answer:
    def __init__(self, service, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            self.status = reply.status
            self.code = reply.headers.get("x-amzn-ErrorType")
            self.body = reply.read()
        finally:
            connection.close()

    @property
    def message(self):
        return json.loads(self.body)["message"]


class At(datetime.datetime):
    """The clock of a caller that is wrong."""

    off = datetime.timedelta()

    @classmethod
    def utcnow(cls):
        return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + cls.off

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(datetime.timezone.utc).astimezone(tz) + cls.off


def signed(service, key, method="GET", path="/2015-03-31/functions", body=b"", late_s=0, scope="lambda"):
    """Headers of a request as botocore signs it, perhaps some time ago."""
    request = AWSRequest(method, service.url + path, data=body)
    credentials = botocore.credentials.Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    signer = botocore.auth.SigV4Auth(credentials, scope, support.REGION)
    with late(late_s):
        signer.add_auth(request)
    return dict(request.headers)


def late(seconds):
    At.off = -datetime.timedelta(seconds=seconds)
    if hasattr(botocore.auth, "get_current_datetime"):
        return mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: At.utcnow())
    return mock.patch.object(botocore.auth, "datetime", mock.Mock(datetime=At))


def presigned(service, key, path="/2015-03-31/functions", expires_s=60, late_s=0):
    """Path and query of a presigned GET."""
    request = AWSRequest("GET", service.url + path)
    credentials = botocore.credentials.Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    signer = botocore.auth.SigV4QueryAuth(credentials, "lambda", support.REGION, expires=expires_s)
    with late(late_s):
        signer.add_auth(request)
    return request.url.removeprefix(service.url)


class Signatures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.data = directory.name
        # Before the service ever ran.
        cls.key = create_key(cls.data)
        cls.service = support.Service("--auth", "sigv4", data=cls.data).start()
        cls.addClassCleanup(cls.service.stop)
        cls.client = client(cls.service, cls.key)

    def refused(self, answer, code, message):
        self.assertEqual((answer.status, answer.code), (403, code), answer.body)
        self.assertRegex(answer.message, message)
        # Some clients look for one spelling, some for the other.
        self.assertEqual(json.loads(answer.body)["Message"], answer.message)

    def test_boto3_deploys_and_invokes(self):
        support.deploy(self.client, "signed", FUNCTION)
        self.assertEqual(invoke(self.client, "signed", {"a": "ü"}), {"a": "ü"})
        # A name that is percent-encoded on its way, and once more in the signature.
        arn = self.client.get_function(FunctionName="signed")["Configuration"]["FunctionArn"]
        self.assertEqual(self.client.invoke(FunctionName=arn, Qualifier="$LATEST")["StatusCode"], 200)

    def test_a_large_body_is_checked(self):
        package = support.zip_of({**FUNCTION, "data.bin": os.urandom(2_000_000)})
        support.deploy(self.client, "large", package)

    def test_the_aws_cli_shows_why(self):
        aws = ["aws", "lambda", "list-functions", "--endpoint-url", self.service.url]
        variables = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.key["SecretAccessKey"],
            "AWS_DEFAULT_REGION": support.REGION,
        }
        done = subprocess.run(aws, env=variables, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        variables["AWS_SECRET_ACCESS_KEY"] = "wrong"
        done = subprocess.run(aws, env=variables, capture_output=True, text=True, check=False)
        self.assertIn("(InvalidSignatureException)", done.stderr)
        self.assertIn("The request signature we calculated does not match", done.stderr)

    def test_curl_signs_too(self):
        done = tools.run(
            *["curl", "-sS", "--fail-with-body", "--aws-sigv4", f"aws:amz:{support.REGION}:lambda"],
            *["--user", f"{self.key['AccessKeyId']}:{self.key['SecretAccessKey']}"],
            f"{self.service.url}/2015-03-31/functions",
        )
        self.assertIn("Functions", json.loads(done.stdout))

    def test_who_is_not_let_in_is_told_why(self):
        path = "/2015-03-31/functions"
        self.refused(
            Answer(self.service, "GET", path),
            "MissingAuthenticationTokenException",
            "^Missing Authentication Token$",
        )
        self.refused(
            Answer(self.service, "GET", path, headers={"Authorization": "AWS4-HMAC-SHA256 Signature=0"}),
            "IncompleteSignatureException",
            "^Authorization header requires 'Credential' parameter. .*Authorization=AWS4-HMAC-SHA256 Signature=0$",
        )
        unknown = {**self.key, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}
        self.refused(
            Answer(self.service, "GET", path, headers=signed(self.service, unknown)),
            "UnrecognizedClientException",
            r"^The security token included in the request is invalid\.$",
        )
        wrong = {**self.key, "SecretAccessKey": "wrong"}
        self.refused(
            Answer(self.service, "GET", path, headers=signed(self.service, wrong)),
            "InvalidSignatureException",
            "^The request signature we calculated does not match the signature you provided",
        )
        self.refused(
            Answer(self.service, "GET", path, headers=signed(self.service, self.key, scope="s3")),
            "InvalidSignatureException",
            "^Credential should be scoped to correct service: 'lambda'",
        )

    def test_the_date_of_http_will_do(self):
        for late_s, status in [(0, 200), (3600, 403)]:
            now = time.time() - late_s
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
            date = email.utils.formatdate(now, usegmt=True)
            scope = f"{stamp[:8]}/{support.REGION}/lambda/aws4_request"
            host = f"127.0.0.1:{self.service.port}"
            path, nothing = "/2015-03-31/functions", hashlib.sha256(b"").hexdigest()
            canonical = f"GET\n{path}\n\ndate:{date}\nhost:{host}\n\ndate;host\n{nothing}"
            digest = hashlib.sha256(canonical.encode()).hexdigest()
            mac = ("AWS4" + self.key["SecretAccessKey"]).encode()
            for part in [*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"]:
                mac = hmac.digest(mac, part.encode(), "sha256")
            authorization = (
                f"AWS4-HMAC-SHA256 Credential={self.key['AccessKeyId']}/{scope},"
                f" SignedHeaders=date;host, Signature={mac.hex()}"
            )
            headers = {"Host": host, "Date": date, "Authorization": authorization}
            answer = Answer(self.service, "GET", path, headers=headers)
            self.assertEqual(answer.status, status, answer.body)

    def test_what_is_signed_cannot_be_changed(self):
        wrong = ("InvalidSignatureException", "^The request signature we calculated does not match")
        headers = signed(self.service, self.key)
        self.assertEqual(Answer(self.service, "GET", "/2015-03-31/functions", headers=headers).status, 200)
        self.refused(Answer(self.service, "GET", "/2015-03-31/functions?MaxItems=1", headers=headers), *wrong)
        self.refused(Answer(self.service, "GET", "/2016-08-19/account-settings", headers=headers), *wrong)
        self.refused(Answer(self.service, "POST", "/2015-03-31/functions", b"{}", headers), *wrong)
        body = signed(self.service, self.key, "POST", body=b"{}")
        self.refused(Answer(self.service, "POST", "/2015-03-31/functions", b'{"a":1}', body), *wrong)

    def test_a_signature_can_be_sent_again_for_five_minutes(self):
        get = lambda late_s: Answer(
            self.service,
            "GET",
            "/2015-03-31/functions",
            headers=signed(self.service, self.key, late_s=late_s),
        )
        self.assertEqual(get(240).status, 200)
        self.assertEqual(get(-240).status, 200)
        self.refused(
            get(330),
            "InvalidSignatureException",
            r"^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 5 min\.\)$",
        )
        self.refused(
            get(-330),
            "InvalidSignatureException",
            r"^Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)$",
        )

    def test_presigned_requests_hold_as_long_as_they_say(self):
        get = lambda **options: Answer(self.service, "GET", presigned(self.service, self.key, **options))
        self.assertEqual(get().status, 200)
        self.assertEqual(get(expires_s=900, late_s=800).status, 200)
        self.refused(get(expires_s=60, late_s=90), "InvalidSignatureException", "^Signature expired: ")
        self.refused(get(expires_s=604801), "IncompleteSignatureException", "X-Amz-Expires")
        changed = presigned(self.service, self.key) + "&MaxItems=1"
        self.refused(
            Answer(self.service, "GET", changed),
            "InvalidSignatureException",
            "^The request signature we calculated does not match",
        )

    def test_the_admin_api_is_not_open_either(self):
        for path in ["/_coldframe/environments", "/_coldframe/logs/x", "/metrics"]:
            self.assertEqual(Answer(self.service, "GET", path).status, 403)
        variables = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.key["SecretAccessKey"],
        }
        done = tools.coldframe("env", "ls", "--json", "--endpoint-url", self.service.url, env=variables)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_logs_and_metrics_are_not_open_either(self):
        support.deploy(self.client, "logged", FUNCTION)
        invoke(self.client, "logged", {})
        logs = client(self.service, self.key, name="logs")
        groups = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
        self.assertIn("/aws/lambda/logged", groups)
        metrics = client(self.service, self.key, name="cloudwatch")
        self.assertTrue(metrics.list_metrics(Namespace="AWS/Lambda")["Metrics"])
        wrong = {**self.key, "SecretAccessKey": "wrong"}
        for name, call in [("logs", "describe_log_groups"), ("cloudwatch", "list_metrics")]:
            with self.assertRaises(botocore.exceptions.ClientError) as error:
                getattr(client(self.service, wrong, name=name), call)()
            found = error.exception.response["Error"]
            self.assertIn(found["Code"], ("InvalidSignatureException", "SignatureDoesNotMatch"))
            self.assertIn("The request signature we calculated does not match", found["Message"])
        target = {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}
        unsigned = Answer(self.service, "POST", "/", b"{}", target)
        self.assertEqual(unsigned.status, 400)
        self.assertEqual(json.loads(unsigned.body)["__type"], "MissingAuthenticationTokenException")

    def test_code_locations_need_no_signature_but_their_own(self):
        support.deploy(self.client, "located", FUNCTION)
        location = self.client.get_function(FunctionName="located")["Code"]["Location"]
        path = location.removeprefix(self.service.url)
        self.assertEqual(Answer(self.service, "GET", path).status, 200)
        self.assertEqual(Answer(self.service, "GET", path[:-1] + "x").status, 403)

    def test_an_environment_acts_as_its_functions_role(self):
        name = support.deploy_lab(self.client, "role", Role="arn:aws:iam::000000000000:role/path/own")
        code = "result = {name: value for name, value in os.environ.items() if name.startswith('AWS_')}"
        given = invoke(self.client, name, {"code": code})
        key = {
            "AccessKeyId": given["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": given["AWS_SECRET_ACCESS_KEY"],
        }
        self.assertRegex(key["AccessKeyId"], "^ASIA[A-Z2-7]{16}$")
        token = given["AWS_SESSION_TOKEN"]
        inside = client(self.service, key, token=token)
        self.assertIn(name, [one["FunctionName"] for one in inside.list_functions()["Functions"]])
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "UnrecognizedClientException"):
            client(self.service, key, token="another").list_functions()
        # Another memory size is another environment: the one of before is gone, and its key too.
        self.client.update_function_configuration(FunctionName=name, MemorySize=128)
        support.updated(self.client, name)

        def is_gone():
            try:
                inside.list_functions()
                return False
            except botocore.exceptions.ClientError as error:
                return error.response["Error"]["Code"] == "UnrecognizedClientException"

        support.wait_until(is_gone, "the environment's credentials are gone")


class Accounts(unittest.TestCase):
    def test_each_account_has_its_functions_to_itself(self):
        with tempfile.TemporaryDirectory() as data:
            with support.Service("--auth", "sigv4", data=data) as service:
                # While the service runs, by the socket in its data directory.
                done = tools.coldframe("account", "create", "--name", "team", "--data", data)
                account = done.stdout.strip()
                self.assertRegex(account, r"^[1-9]\d{11}$")
                own, other = create_key(data), create_key(data, "--account", account, "--user", "ann")
                self.assertEqual(other["AccountId"], account)
                here, there = client(service, own), client(service, other)
                support.deploy(here, "f", FUNCTION)
                self.assertEqual(there.list_functions()["Functions"], [])
                support.deploy(there, "f", FUNCTION)
                arn = there.get_function(FunctionName="f")["Configuration"]["FunctionArn"]
                self.assertEqual(arn, f"arn:aws:lambda:{support.REGION}:{account}:function:f")
                with self.assertRaisesRegex(
                    botocore.exceptions.ClientError,
                    r"\(AccessDeniedException\).*User: arn:aws:iam::000000000000:user/admin is not authorized to perform: lambda:GetFunction on resource: ",
                ):
                    here.get_function(FunctionName=arn)
                invoke(there, "f", {})
                for key, count in [(own, 0), (other, 1)]:
                    headers = signed(service, key, path="/_coldframe/environments")
                    shown = Answer(service, "GET", "/_coldframe/environments", headers=headers)
                    self.assertEqual(len(json.loads(shown.body)["environments"]), count)

    def test_policies_let_other_accounts_in(self):
        with tempfile.TemporaryDirectory() as data:
            with support.Service("--auth", "sigv4", data=data) as service:
                tools.coldframe("account", "create", "--id", OTHER, "--data", data)
                here = client(service, create_key(data))
                ann, ben = [
                    client(service, create_key(data, "--account", OTHER, "--user", user))
                    for user in ["ann", "ben"]
                ]
                support.deploy(here, "f", FUNCTION)
                here.publish_version(FunctionName="f")
                here.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
                arn = here.get_function(FunctionName="f")["Configuration"]["FunctionArn"]
                live = f"{arn}:live"

                def allow(principal, action="lambda:InvokeFunction", **more):
                    here.add_permission(
                        FunctionName="f", StatementId="s", Action=action, Principal=principal, **more
                    )

                def take_back(**more):
                    here.remove_permission(FunctionName="f", StatementId="s", **more)

                def refused(call, resource=arn, action="InvokeFunction"):
                    with self.assertRaises(botocore.exceptions.ClientError) as error:
                        call()
                    self.assertRegex(
                        str(error.exception),
                        rf"\(AccessDeniedException\).*User: arn:aws:iam::{OTHER}:user/\w+ is not authorized to perform: lambda:{action} on resource: {resource} because no resource-based policy allows the lambda:{action} action$",
                    )

                refused(lambda: invoke(ann, arn, {}))
                allow(OTHER)
                self.assertEqual(invoke(ann, arn, {"a": 1}), {"a": 1})
                self.assertEqual(invoke(ben, f"{arn}:$LATEST", {"a": 1}), {"a": 1})
                # The action that is allowed, of what it is allowed for.
                refused(lambda: ann.get_function(FunctionName=arn), action="GetFunction")
                refused(lambda: ann.delete_function(FunctionName=arn), action="DeleteFunction")
                refused(lambda: invoke(ann, live, {}), live)
                refused(lambda: invoke(ann, f"{arn}g", {}), f"{arn}g")
                take_back()
                refused(lambda: invoke(ann, arn, {}))
                allow(f"arn:aws:iam::{OTHER}:user/ann", Qualifier="live")
                self.assertEqual(invoke(ann, live, {}), {})
                refused(lambda: invoke(ben, live, {}), live)
                refused(lambda: invoke(ann, arn, {}))
                take_back(Qualifier="live")
                allow("*", PrincipalOrgID="o-1234567890")
                refused(lambda: invoke(ann, arn, {}))
                # Whole documents are the same policy.
                refused(
                    lambda: ann.get_resource_policy(ResourceArn=arn), action="GetResourcePolicy"
                )
                ben_only = {"AWS": f"arn:aws:iam::{OTHER}:user/ben"}
                here.put_resource_policy(
                    ResourceArn=arn,
                    Policy=json.dumps({
                        "Version": "2012-10-17",
                        "Statement": [
                            {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Resource": arn,
                             "Action": ["lambda:Invoke*", "lambda:GetResourcePolicy"]},
                            {"Effect": "Deny", "Principal": ben_only, "Resource": "*",
                             "Action": "lambda:InvokeFunction"},
                        ],
                    }),
                )
                self.assertEqual(invoke(ann, arn, {"a": 1}), {"a": 1})
                self.assertIn("Deny", ann.get_resource_policy(ResourceArn=arn)["Policy"])
                with self.assertRaises(botocore.exceptions.ClientError) as error:
                    invoke(ben, arn, {})
                self.assertIn(
                    "with an explicit deny in a resource-based policy", str(error.exception)
                )
                here.delete_resource_policy(ResourceArn=arn)
                refused(lambda: invoke(ann, arn, {}))

    def test_keys_are_made_listed_and_revoked(self):
        with tempfile.TemporaryDirectory() as data:
            shown = keys(data, "create", "--user", "ann")
            self.assertRegex(
                shown,
                r"^export AWS_ACCESS_KEY_ID=AKIA[A-Z2-7]{16}\nexport AWS_SECRET_ACCESS_KEY=[\w+/]{40}\n$",
            )
            first = shown.splitlines()[0].partition("=")[2]
            with support.Service("--auth", "sigv4", data=data) as service:
                second = create_key(data)
                client(service, second).list_functions()
                listed = keys(data, "list")
                self.assertIn(f"{first}  000000000000  ", listed)
                self.assertNotIn(second["SecretAccessKey"], listed)
                keys(data, "revoke", second["AccessKeyId"])
                with self.assertRaisesRegex(
                    botocore.exceptions.ClientError, "UnrecognizedClientException"
                ):
                    client(service, second).list_functions()
                third = create_key(data)
                service.kill()
                service.start()
                # Both the making and the revoking have survived.
                client(service, third).list_functions()
                with self.assertRaises(botocore.exceptions.ClientError):
                    client(service, second).list_functions()
            done = tools.coldframe("key", "revoke", "AKIANONE", "--data", data)
            self.assertEqual(done.returncode, 1)
            self.assertIn("there is no access key AKIANONE", done.stderr)
            done = tools.coldframe("key", "create", "--account", OTHER, "--data", data)
            self.assertIn(f"there is no account {OTHER}", done.stderr)


class Companions(unittest.TestCase):
    """STS, and the roles that deployment tools make. Spec: service-api.md §11."""

    TRUST = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.data = directory.name
        cls.key = create_key(cls.data, "--user", "ann")
        cls.service = support.Service("--auth", "sigv4", data=cls.data).start()
        cls.addClassCleanup(cls.service.stop)
        cls.sts = client(cls.service, cls.key, name="sts")
        cls.iam = client(cls.service, cls.key, name="iam")

    def trusting(self, principal):
        statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
        return json.dumps({**self.TRUST, "Statement": [*self.TRUST["Statement"], statement]})

    def fails(self, code, message, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as error:
            call(**arguments)
        found = error.exception.response["Error"]
        self.assertEqual(found["Code"], code)
        self.assertRegex(found["Message"], message)

    def test_who_one_is(self):
        identity = self.sts.get_caller_identity()
        self.assertEqual(identity["Arn"], "arn:aws:iam::000000000000:user/ann")
        self.assertEqual(identity["Account"], "000000000000")
        self.assertRegex(identity["UserId"], "^AIDA[A-Z2-7]{17}$")
        wrong = {**self.key, "SecretAccessKey": "wrong"}
        text = "The request signature we calculated does not match"
        self.fails("SignatureDoesNotMatch", text, client(self.service, wrong, name="sts").get_caller_identity)
        unknown = {**self.key, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}
        text = "The security token included in the request is invalid"
        self.fails("InvalidClientTokenId", text, client(self.service, unknown, name="sts").get_caller_identity)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        unsigned = Answer(self.service, "POST", "/", body, form)
        self.assertEqual(unsigned.status, 403)
        self.assertIn(b"<Code>MissingAuthenticationToken</Code>", unsigned.body)
        # Signed for Lambda, and sent to STS.
        headers = signed(self.service, self.key, "POST", "/", body) | form
        self.assertIn(b"SignatureDoesNotMatch", Answer(self.service, "POST", "/", body, headers).body)

    def test_presigned_as_kubernetes_does(self):
        url = self.sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
        answer = Answer(self.service, "GET", url.removeprefix(self.service.url))
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIn(b"<Arn>arn:aws:iam::000000000000:user/ann</Arn>", answer.body)

    def test_the_aws_cli(self):
        variables = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.key["SecretAccessKey"],
            "AWS_DEFAULT_REGION": support.REGION,
            "AWS_ENDPOINT_URL": self.service.url,
        }
        done = tools.run("aws", "sts", "get-caller-identity", env=variables)
        self.assertEqual(json.loads(done.stdout)["Arn"], "arn:aws:iam::000000000000:user/ann")

    def test_a_role_is_taken_on(self):
        lam = client(self.service, self.key)
        support.deploy(lam, "taken", FUNCTION)
        self.iam.create_role(RoleName="taken", AssumeRolePolicyDocument=json.dumps(self.TRUST))
        arn = "arn:aws:iam::000000000000:role/taken"
        take = {"RoleArn": arn, "RoleSessionName": "me"}
        text = f"^User: arn:aws:iam::000000000000:user/ann is not authorized to perform: sts:AssumeRole on resource: {arn}$"
        self.fails("AccessDenied", text, self.sts.assume_role, **take)
        self.iam.update_assume_role_policy(
            RoleName="taken", PolicyDocument=self.trusting("arn:aws:iam::000000000000:user/ann")
        )
        taken = self.sts.assume_role(**take)
        role = "arn:aws:sts::000000000000:assumed-role/taken/me"
        self.assertEqual(taken["AssumedRoleUser"]["Arn"], role)
        left = taken["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
        self.assertTrue(3500 < left.total_seconds() <= 3600, left)
        credentials = taken["Credentials"]
        token = credentials["SessionToken"]
        self.assertEqual(
            client(self.service, credentials, name="sts", token=token).get_caller_identity()["Arn"], role
        )
        names = client(self.service, credentials, token=token).list_functions()["Functions"]
        self.assertEqual([one["FunctionName"] for one in names], ["taken"])
        forged = client(self.service, credentials, name="sts", token=token[:-4] + "AAAA")
        self.fails("InvalidClientTokenId", ".", forged.get_caller_identity)
        self.fails("ValidationError", "durationSeconds", self.sts.assume_role, DurationSeconds=43201, **take)
        self.fails("ValidationError", "x is invalid", self.sts.assume_role, RoleArn="x" * 20, RoleSessionName="me")

    def test_a_session_of_ones_own(self):
        got = self.sts.get_session_token()["Credentials"]
        left = got["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
        self.assertTrue(43100 < left.total_seconds() <= 43200, left)
        mine = client(self.service, got, name="sts", token=got["SessionToken"])
        self.assertEqual(mine.get_caller_identity()["Arn"], "arn:aws:iam::000000000000:user/ann")
        client(self.service, got, token=got["SessionToken"]).list_functions()
        self.fails("AccessDenied", "with session credentials$", mine.get_session_token)
        self.fails("ValidationError", "durationSeconds", self.sts.get_session_token, DurationSeconds=129601)
        forged = client(self.service, got, name="sts", token=got["SessionToken"][:-4] + "AAAA")
        self.fails("InvalidClientTokenId", ".", forged.get_caller_identity)

    def test_another_accounts_role(self):
        tools.coldframe("account", "create", "--id", OTHER, "--data", self.data)
        stranger = create_key(self.data, "--account", OTHER)
        self.iam.create_role(RoleName="lent", AssumeRolePolicyDocument=self.trusting(OTHER))
        arn = "arn:aws:iam::000000000000:role/lent"
        taken = client(self.service, stranger, name="sts").assume_role(RoleArn=arn, RoleSessionName="me")
        credentials = taken["Credentials"]
        inside = client(self.service, credentials, name="sts", token=credentials["SessionToken"])
        self.assertEqual(inside.get_caller_identity()["Account"], "000000000000")
        # Roles are their account's.
        self.assertEqual(client(self.service, stranger, name="iam").list_roles()["Roles"], [])

    def test_the_life_of_a_role(self):
        iam, name = self.iam, {"RoleName": "life"}
        self.fails("NoSuchEntity", "^The role with name life cannot be found.$", iam.get_role, **name)
        made = iam.create_role(
            AssumeRolePolicyDocument=json.dumps(self.TRUST),
            Path="/service-role/",
            Description="a < b",
            Tags=[{"Key": "k", "Value": "v"}],
            **name,
        )["Role"]
        self.assertEqual(made["Arn"], "arn:aws:iam::000000000000:role/service-role/life")
        self.assertRegex(made["RoleId"], "^AROA[A-Z2-7]{17}$")
        got = iam.get_role(**name)["Role"]
        self.assertEqual(got["AssumeRolePolicyDocument"], self.TRUST)
        self.assertEqual((got["Description"], got["MaxSessionDuration"]), ("a < b", 3600))
        self.fails(
            "EntityAlreadyExists",
            "^Role with name life already exists.$",
            iam.create_role,
            AssumeRolePolicyDocument=json.dumps(self.TRUST),
            **name,
        )
        self.fails(
            "MalformedPolicyDocument", ".", iam.create_role, RoleName="bad", AssumeRolePolicyDocument="{"
        )
        managed = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        iam.attach_role_policy(PolicyArn=managed, **name)
        attached = iam.list_attached_role_policies(**name)["AttachedPolicies"]
        self.assertEqual(
            attached, [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": managed}]
        )
        iam.put_role_policy(PolicyName="own", PolicyDocument=json.dumps(self.TRUST), **name)
        self.assertEqual(iam.list_role_policies(**name)["PolicyNames"], ["own"])
        self.assertEqual(
            iam.get_role_policy(PolicyName="own", **name)["PolicyDocument"], self.TRUST
        )
        iam.tag_role(Tags=[{"Key": "l", "Value": "w"}], **name)
        iam.untag_role(TagKeys=["k"], **name)
        self.assertEqual(iam.list_role_tags(**name)["Tags"], [{"Key": "l", "Value": "w"}])
        iam.update_role(Description="new", MaxSessionDuration=7200, **name)
        self.assertEqual(iam.get_role(**name)["Role"]["MaxSessionDuration"], 7200)
        self.assertEqual(iam.list_instance_profiles_for_role(**name)["InstanceProfiles"], [])
        self.fails("DeleteConflict", "detach all policies first", iam.delete_role, **name)
        iam.detach_role_policy(PolicyArn=managed, **name)
        self.fails("NoSuchEntity", "was not found", iam.detach_role_policy, PolicyArn=managed, **name)
        self.fails("DeleteConflict", "delete policies first", iam.delete_role, **name)
        iam.delete_role_policy(PolicyName="own", **name)
        iam.delete_role(**name)
        self.fails("NoSuchEntity", ".", iam.get_role, **name)

    def test_a_policy_of_ones_own(self):
        iam = self.iam
        made = iam.create_policy(PolicyName="mine", PolicyDocument=json.dumps(self.TRUST))["Policy"]
        arn = made["Arn"]
        self.assertEqual(arn, "arn:aws:iam::000000000000:policy/mine")
        iam.create_role(RoleName="holder", AssumeRolePolicyDocument=json.dumps(self.TRUST))
        iam.attach_role_policy(RoleName="holder", PolicyArn=arn)
        self.assertEqual(iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"], 1)
        version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
        self.assertEqual(version["Document"], self.TRUST)
        self.assertEqual(len(iam.list_policy_versions(PolicyArn=arn)["Versions"]), 1)
        self.fails("DeleteConflict", ".", iam.delete_policy, PolicyArn=arn)
        iam.detach_role_policy(RoleName="holder", PolicyArn=arn)
        iam.delete_policy(PolicyArn=arn)
        self.fails("NoSuchEntity", ".", iam.attach_role_policy, RoleName="holder", PolicyArn=arn)

    def test_what_is_not_there_says_so(self):
        self.fails("NotImplemented", "ListUsers is not supported by this server", self.iam.list_users)
        sns = client(self.service, self.key, name="sns")
        self.fails("NotImplemented", "ListTopics of version 2010-03-31 is not", sns.list_topics)

    def test_where_nothing_is_checked(self):
        with support.Service() as service:
            anybody = {"AccessKeyId": OTHER, "SecretAccessKey": "x"}
            sts = client(service, anybody, name="sts")
            self.assertEqual(sts.get_caller_identity()["Arn"], f"arn:aws:iam::{OTHER}:root")
            # As deployment tools do, with a role that nobody has made.
            arn = "arn:aws:iam::210987654321:role/cdk-deploy"
            credentials = sts.assume_role(RoleArn=arn, RoleSessionName="cdk")["Credentials"]
            inside = client(service, credentials, token=credentials["SessionToken"])
            support.deploy(inside, "f", FUNCTION)
            found = inside.get_function(FunctionName="f")["Configuration"]["FunctionArn"]
            self.assertEqual(found.split(":")[4], "210987654321")


class Listening(unittest.TestCase):
    def test_other_addresses_than_loopback_need_signatures(self):
        with tempfile.TemporaryDirectory() as data:
            done = tools.coldframe("up", "--listen", "0.0.0.0:0", "--data", data)
            self.assertEqual(done.returncode, 1)
            self.assertIn(
                "0.0.0.0:0 is no loopback address: without --auth sigv4 requests are not authenticated, so whoever reaches the service could run code on this host",
                done.stderr,
            )
            done = tools.coldframe("up", "--ephemeral", "--auth", "sigv4", "--listen", "127.0.0.1:0")
            self.assertEqual(done.returncode, 1)
            self.assertIn("give --data instead", done.stderr)

    def test_with_signatures_any_address_will_do(self):
        with tempfile.TemporaryDirectory() as data:
            command = [support.BINARY, "up", "--auth", "sigv4", "--listen", "0.0.0.0:0", "--data", data]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                ready = process.stdout.readline()
                self.assertRegex(ready, r"^ready on http://0\.0\.0\.0:\d+ ")
                url = ready.split()[2].replace("0.0.0.0", "127.0.0.1")
                self.assertEqual(urllib.parse.urlsplit(url).hostname, "127.0.0.1")
                service = mock.Mock(url=url)
                client(service, create_key(data)).list_functions()
            finally:
                process.terminate()
                self.assertEqual(process.wait(support.DEADLINE_S), 0)
                process.stdout.close()


if __name__ == "__main__":
    unittest.main()
