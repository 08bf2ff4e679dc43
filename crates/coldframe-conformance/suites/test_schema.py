"""Every operation that the service implements gives an answer that is of AWS's model.

Which those are is asked of the service itself, operation by operation of each model. One that is
implemented, and not called here with success, fails the test: add its call to those below.
"""

import json
import tempfile
import time
import unittest
import xml.etree.ElementTree

import boto3
import botocore
import botocore.config
import botocore.exceptions

import schema
import services
import support
import test_auth

ARN = "arn:aws:lambda:us-east-1:000000000000:function:every"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com", "AWS": "arn:aws:iam::000000000000:root"},
            "Action": "sts:AssumeRole",
        }
    ],
}
POLICY = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}],
})
APP = """
def handler(event, context):
    print("it runs")
    return event
"""

# What has no success here, and why.
NEVER = {
    # There are no code signing configurations, so none can be put: it tells that there is none.
    ("lambda", "PutFunctionCodeSigningConfig"),
}
# How each service says that it lacks an operation.
LACKING = {
    "lambda": "NotImplementedException",
    "sts": "NotImplemented",
    "iam": "NotImplemented",
    "logs": "UnknownOperationException",
    "cloudwatch": "InvalidAction",
}
# Of shapes whose patterns no letters match.
EXAMPLES = {
    "Arn": "arn:aws:signer:us-east-1:000000000000:/signing-profiles/absent/0",
    "CodeSigningConfigArn": f"arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-{17 * 'a'}",
    "DurableExecutionArn": f"{ARN}:1/durable-execution/absent/0",
    "PolicyResourceArn": ARN,
    "PublishedFunctionQualifier": "1",
    "RoleArn": support.ROLE,
    "SecurityGroupId": "sg-0",
    "SubnetId": "subnet-0",
}


def example(shape):
    """The smallest value of a shape that is likely to be taken."""
    if shape.name in EXAMPLES:
        return EXAMPLES[shape.name]
    kind, least = shape.type_name, int(shape.metadata.get("min", 0))
    if kind == "structure":
        return {name: example(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [example(shape.member)] * max(least, 1)
    if kind == "map":
        return {}
    if kind == "string":
        return shape.enum[0] if shape.enum else "abc".ljust(least, "x")
    return {"blob": b"{}", "boolean": False, "timestamp": 0}.get(kind, max(least, 1))


class Every(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        data = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.key = test_auth.create_key(data)
        cls.moto = cls.enterClassContext(services.Moto())
        variables = {"AWS_ENDPOINT_URL_SQS": cls.moto.url}
        service = support.Service("--auth", "sigv4", data=data, variables=variables)
        cls.service = cls.enterClassContext(service)

    def client(self, name):
        return test_auth.client(self.service, self.key, name=name)

    def implemented(self, name):
        """The operations of a service's model that it doesn't say it lacks."""
        found = set()
        # Some operations ask for a host of their own.
        config = botocore.config.Config(
            inject_host_prefix=False,
            parameter_validation=False,
            retries={"total_max_attempts": 1},
        )
        with support.Service() as service:
            client = boto3.client(
                name,
                endpoint_url=service.url,
                region_name=support.REGION,
                aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key="secret",
                config=config,
            )
            for operation in client.meta.service_model.operation_names:
                model = client.meta.service_model.operation_model(operation)
                given = example(model.input_shape) if model.input_shape else {}
                try:
                    getattr(client, botocore.xform_name(operation))(**given)
                except botocore.exceptions.ClientError as error:
                    told = error.response["Error"]
                    self.assertNotEqual(told["Code"], "SerializationException", (operation, told))
                    if told["Code"] == LACKING[name]:
                        continue
                # Also what isn't valid: should such an operation be lacking, give a better example.
                found.add(operation)
        return found

    def check(self, name, calls):
        client = self.client(name)
        client.coldframe = self.service
        seen = schema.watch(client)
        calls(client)
        done = {operation for operation in seen if seen[operation]}
        never = {operation for service, operation in NEVER if service == name}
        implemented = self.implemented(name)
        self.assertEqual(implemented - done - never, set(), "implemented, and not called here")
        self.assertLessEqual(never, implemented - done)
        self.assertGreater(len(implemented), 1)

    def test_lambda(self):
        self.check("lambda", self.every_call_of_lambda)

    def every_call_of_lambda(self, client):
        name, package = {"FunctionName": "every"}, support.zip_of({"app.py": APP})
        support.deploy(client, "every", package, Tags={"key": "value"})
        client.get_function(**name)
        client.get_function_configuration(**name)
        client.list_functions()
        client.update_function_code(**name, ZipFile=package)
        support.updated(client, "every")
        client.update_function_configuration(**name, Description="more")
        support.updated(client, "every")
        client.publish_version(**name)
        client.list_versions_by_function(**name)
        alias = {**name, "Name": "live"}
        client.create_alias(**alias, FunctionVersion="1")
        client.get_alias(**alias)
        client.update_alias(**alias, Description="more")
        client.list_aliases(**name)

        self.assertEqual(client.invoke(**name, Payload=b"{}")["Payload"].read(), b"{}")
        client.invoke_async(**name, InvokeArgs=b"{}")
        stream = client.invoke_with_response_stream(**name, Payload=b"{}")["EventStream"]
        self.assertEqual([list(event) for event in stream], [["PayloadChunk"], ["InvokeComplete"]])

        content = {"ZipFile": support.zip_of({"words": "some"})}
        made = client.publish_layer_version(LayerName="every", Content=content)
        layer = {"LayerName": "every", "VersionNumber": 1}
        client.get_layer_version(**layer)
        client.get_layer_version_by_arn(Arn=made["LayerVersionArn"])
        client.list_layers()
        client.list_layer_versions(LayerName="every")
        statement = {"StatementId": "all", "Principal": "*"}
        client.add_layer_version_permission(
            **layer, **statement, Action="lambda:GetLayerVersion"
        )
        client.get_layer_version_policy(**layer)
        client.remove_layer_version_permission(**layer, StatementId="all")
        client.delete_layer_version(**layer)

        client.add_permission(**name, **statement, Action="lambda:InvokeFunction")
        client.get_policy(**name)
        client.remove_permission(**name, StatementId="all")
        allow = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "lambda:InvokeFunction",
            "Resource": ARN,
        }
        client.put_resource_policy(ResourceArn=ARN, Policy=json.dumps({"Statement": [allow]}))
        client.get_resource_policy(ResourceArn=ARN)
        client.delete_resource_policy(ResourceArn=ARN)
        client.tag_resource(Resource=ARN, Tags={"other": "value"})
        client.untag_resource(Resource=ARN, TagKeys=["other"])
        client.list_tags(Resource=ARN)

        client.put_function_concurrency(**name, ReservedConcurrentExecutions=2)
        client.get_function_concurrency(**name)
        provisioned = {**name, "Qualifier": "live"}
        client.put_provisioned_concurrency_config(
            **provisioned, ProvisionedConcurrentExecutions=1
        )
        client.get_provisioned_concurrency_config(**provisioned)
        client.list_provisioned_concurrency_configs(**name)
        client.delete_provisioned_concurrency_config(**provisioned)
        client.delete_function_concurrency(**name)
        client.get_account_settings()

        client.put_function_recursion_config(**name, RecursiveLoop="Allow")
        client.get_function_recursion_config(**name)
        client.put_runtime_management_config(**name, UpdateRuntimeOn="Auto")
        client.get_runtime_management_config(**name)
        client.get_function_code_signing_config(**name)
        client.delete_function_code_signing_config(**name)

        client.put_function_event_invoke_config(**name, MaximumRetryAttempts=0)
        client.update_function_event_invoke_config(**name, MaximumEventAgeInSeconds=60)
        client.get_function_event_invoke_config(**name)
        client.list_function_event_invoke_configs(**name)
        client.delete_function_event_invoke_config(**name)

        sqs = self.moto.client("sqs")
        url = sqs.create_queue(QueueName="every")["QueueUrl"]
        queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        made = client.create_event_source_mapping(
            **name, EventSourceArn=queue["Attributes"]["QueueArn"], Enabled=False
        )
        mapping = {"UUID": made["UUID"]}
        client.update_event_source_mapping(**mapping, BatchSize=1)
        support.wait_until(
            lambda: client.get_event_source_mapping(**mapping)["State"] == "Disabled",
            "the mapping is updated",
        )
        client.list_event_source_mappings()
        client.delete_event_source_mapping(**mapping)

        cors = {"AllowOrigins": ["*"], "AllowMethods": ["GET"], "MaxAge": 1}
        client.create_function_url_config(**name, AuthType="AWS_IAM", Cors=cors)
        client.get_function_url_config(**name)
        client.update_function_url_config(**name, InvokeMode="RESPONSE_STREAM")
        client.list_function_url_configs(**name)
        client.delete_function_url_config(**name)
        client.delete_alias(**alias)
        client.delete_function(**name)

    def test_sts(self):
        role = self.client("iam").create_role(
            RoleName="taken", AssumeRolePolicyDocument=json.dumps(TRUST)
        )["Role"]["Arn"]

        def calls(client):
            client.get_caller_identity()
            client.assume_role(RoleArn=role, RoleSessionName="session")
            client.get_session_token()

        self.check("sts", calls)

    def test_iam(self):
        self.check("iam", self.every_call_of_iam)

    def every_call_of_iam(self, client):
        role, trust = {"RoleName": "every"}, json.dumps(TRUST)
        tags = [{"Key": "key", "Value": "value"}]
        client.create_role(**role, AssumeRolePolicyDocument=trust, Tags=tags, Description="a role")
        client.get_role(**role)
        client.list_roles()
        client.update_role(**role, MaxSessionDuration=7200)
        client.update_assume_role_policy(**role, PolicyDocument=trust)
        client.tag_role(**role, Tags=[{"Key": "other", "Value": "value"}])
        client.untag_role(**role, TagKeys=["other"])
        client.list_role_tags(**role)
        inline = {**role, "PolicyName": "inline"}
        client.put_role_policy(**inline, PolicyDocument=POLICY)
        client.get_role_policy(**inline)
        client.list_role_policies(**role)
        client.delete_role_policy(**inline)
        client.list_instance_profiles_for_role(**role)
        made = client.create_policy(PolicyName="own", PolicyDocument=POLICY)["Policy"]
        policy = {"PolicyArn": made["Arn"]}
        client.get_policy(**policy)
        client.get_policy_version(**policy, VersionId="v1")
        client.list_policy_versions(**policy)
        client.attach_role_policy(**role, **policy)
        client.list_attached_role_policies(**role)
        client.detach_role_policy(**role, **policy)
        client.delete_policy(**policy)
        client.delete_role(**role)

    def test_the_check_sees_what_is_wrong_in_xml(self):
        shape = self.client("iam").meta.service_model.shape_for("ListRolePoliciesResponse")
        for body, wrong in [
            ("<PolicyNames><member>a</member></PolicyNames>", []),
            ("<PolicyNames/><IsTruncated>false</IsTruncated>", []),
            ("", ["Answer.PolicyNames is missing"]),
            ("<PolicyNames/><Extra>1</Extra>", ["Answer.Extra is not in the model"]),
        ]:
            element = xml.etree.ElementTree.fromstring(f'<Answer xmlns="x">{body}</Answer>')
            given = schema.from_xml(shape, element)
            self.assertEqual(schema.problems(shape, given, "Answer"), wrong)
        with self.assertRaises(AssertionError):
            listed = '<Answer xmlns="x"><PolicyNames><item>a</item></PolicyNames></Answer>'
            schema.from_xml(shape, xml.etree.ElementTree.fromstring(listed))

    def test_logs(self):
        self.check("logs", self.every_call_of_logs)

    def every_call_of_logs(self, client):
        group, stream = {"logGroupName": "/every"}, {"logStreamName": "one"}
        client.create_log_group(**group, tags={"key": "value"})
        client.put_retention_policy(**group, retentionInDays=7)
        arn = client.describe_log_groups()["logGroups"][0]["logGroupArn"]
        client.delete_retention_policy(**group)
        client.create_log_stream(**group, **stream)
        events = [{"timestamp": int(time.time() * 1000), "message": "said"}]
        client.put_log_events(**group, **stream, logEvents=events)
        client.describe_log_streams(**group)
        client.get_log_events(**group, **stream)
        client.filter_log_events(**group)
        client.tag_resource(resourceArn=arn, tags={"other": "value"})
        client.list_tags_for_resource(resourceArn=arn)
        client.untag_resource(resourceArn=arn, tagKeys=["other"])
        client.tag_log_group(**group, tags={"other": "value"})
        client.list_tags_log_group(**group)
        client.untag_log_group(**group, tags=["other"])
        client.delete_log_stream(**group, **stream)
        client.delete_log_group(**group)

    def test_cloudwatch(self):
        functions = self.client("lambda")
        functions.coldframe = self.service
        support.deploy(functions, "measured", {"app.py": APP})
        functions.invoke(FunctionName="measured")
        self.check("cloudwatch", self.every_call_of_cloudwatch)

    def every_call_of_cloudwatch(self, client):
        # Counted when it is over, and answered a little before.
        listed = lambda: client.list_metrics(Namespace="AWS/Lambda", MetricName="Invocations")
        support.wait_until(lambda: listed()["Metrics"], "the invocation is counted")
        now = time.time()
        times = {"StartTime": now - 3600, "EndTime": now + 60}
        metric = {
            "Namespace": "AWS/Lambda",
            "MetricName": "Invocations",
            "Dimensions": [{"Name": "FunctionName", "Value": "measured"}],
        }
        answer = client.get_metric_statistics(**metric, **times, Period=60, Statistics=["Sum"])
        self.assertNotEqual(answer["Datapoints"], [])
        stat = {"Metric": metric, "Period": 60, "Stat": "Sum"}
        client.get_metric_data(MetricDataQueries=[{"Id": "one", "MetricStat": stat}], **times)


if __name__ == "__main__":
    unittest.main()
