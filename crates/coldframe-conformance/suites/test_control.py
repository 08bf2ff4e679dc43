"""The control plane: versions, aliases, layers, policies, tags, concurrency, and what lists show.

Texts are AWS's, as service-api.md §2 records them.
"""

import base64
import collections
import hashlib
import tempfile
import unittest
import uuid

import botocore.exceptions

import support

ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:"
UUID4 = r"\A[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"
TIME = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000\Z"

# Tells what it is, and where it runs.
TELLS = """
import json, os

COUNT = 0

def handler(event, context):
    global COUNT
    COUNT += 1
    return {
        "text": %r,
        "version": context.function_version,
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "arn": context.invoked_function_arn,
        "colour": os.environ.get("COLOUR"),
        "initialised": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "count": COUNT,
    }
"""


def package(text):
    return support.zip_of({"app.py": TELLS % text})


class Control(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(support.Service(*cls.options))
        cls.client = cls.service.client()

    def deploy(self, name, text="one", **config):
        support.deploy(self.client, name, package(text), **config)
        self.addCleanup(self.gone, name)
        return name

    def gone(self, name):
        try:
            self.client.delete_function(FunctionName=name)
        except self.client.exceptions.ResourceNotFoundException:
            pass

    def update(self, name, **config):
        self.client.update_function_configuration(FunctionName=name, **config)
        support.updated(self.client, name)

    def update_code(self, name, text):
        self.client.update_function_code(FunctionName=name, ZipFile=package(text))
        support.updated(self.client, name)

    def publish(self, name, **config):
        return self.client.publish_version(FunctionName=name, **config)

    def told(self, name, **arguments):
        answer = support.invoke(self.client, name, **arguments)
        self.assertIsNone(answer.error, answer)
        return answer.json | {"executed": answer.version}

    def revision(self, name):
        return self.client.get_function_configuration(FunctionName=name)["RevisionId"]

    def fails(self, code, message, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            call(**arguments)
        error = raised.exception.response["Error"]
        self.assertEqual((error["Code"], error["Message"]), (code, message))
        return raised.exception.response


class Versions(Control):
    def test_a_version_stays_what_it_was(self):
        name = self.deploy("stays", Environment={"Variables": {"COLOUR": "red"}})
        one = self.publish(name, Description="the first")
        self.assertEqual(one["Version"], "1")
        self.assertEqual(one["FunctionArn"], f"{ARN}{name}:1")
        self.assertEqual(one["Description"], "the first")
        self.assertEqual((one["State"], one["LastUpdateStatus"]), ("Active", "Successful"))
        self.assertRegex(one["RevisionId"], UUID4)
        self.update_code(name, "two")
        self.update(name, Environment={"Variables": {"COLOUR": "green"}}, Timeout=7)
        self.assertEqual(self.publish(name)["Version"], "2")
        for qualifier, text, colour in [
            ("1", "one", "red"),
            ("2", "two", "green"),
            ("$LATEST", "two", "green"),
        ]:
            told = self.told(name, Qualifier=qualifier)
            expected = {"text": text, "colour": colour, "version": qualifier}
            expected |= {"variable": qualifier, "executed": qualifier}
            expected |= {"arn": f"{ARN}{name}:{qualifier}", "count": 1}
            self.assertEqual(told, told | expected)
            self.assertEqual(self.told(f"{name}:{qualifier}")["count"], 2)
        shown = self.client.get_function_configuration(FunctionName=name, Qualifier="1")
        self.assertEqual(shown["Environment"], {"Variables": {"COLOUR": "red"}})
        self.assertEqual(shown["Timeout"], 30)
        self.assertEqual(shown["RevisionId"], one["RevisionId"])
        sha256 = base64.b64encode(hashlib.sha256(package("one")).digest()).decode()
        self.assertEqual(shown["CodeSha256"], sha256)
        for call in [
            lambda: self.client.update_function_configuration(FunctionName=f"{name}:1", Timeout=9),
            lambda: self.client.update_function_code(
                FunctionName=f"{ARN}{name}:1", ZipFile=package("three")
            ),
        ]:
            with self.assertRaises(self.client.exceptions.InvalidParameterValueException):
                call()

    def test_publishing_what_is_published_gives_what_is_there(self):
        name = self.deploy("idempotent")
        before = self.revision(name)
        one = self.publish(name)
        self.assertNotEqual(self.revision(name), before, "a new version changes $LATEST's too")
        latest = self.revision(name)
        again = self.publish(name, Description="only a description")
        self.assertEqual(again["ResponseMetadata"]["HTTPStatusCode"], 201)
        for member in ["Version", "RevisionId", "Description", "FunctionArn"]:
            self.assertEqual(again[member], one[member], member)
        self.assertEqual(self.revision(name), latest, "nothing has changed")
        # The same code once more is no other code.
        self.update_code(name, "one")
        self.assertEqual(self.publish(name)["Version"], "1")
        self.update(name, Description="$LATEST's own")
        two = self.publish(name)
        self.assertEqual((two["Version"], two["Description"]), ("2", "$LATEST's own"))
        self.assertEqual(self.publish(name)["Version"], "2")
        # A number is never given twice, though the version is gone.
        self.client.delete_function(FunctionName=name, Qualifier="2")
        self.assertEqual(self.publish(name)["Version"], "3")

    def test_preconditions(self):
        name = self.deploy("preconditions")
        current = base64.b64encode(hashlib.sha256(package("one")).digest()).decode()
        self.fails(
            "InvalidParameterValueException",
            f"CodeSHA256 (wrong) is different from current CodeSHA256 in $LATEST ({current})."
            " Please try again with the CodeSHA256 in $LATEST.",
            self.client.publish_version,
            FunctionName=name,
            CodeSha256="wrong",
        )
        stale = str(uuid.UUID(int=0))
        mismatch = (
            "The Revision Id provided does not match the latest Revision Id. Call the"
            " GetFunction/GetAlias API to retrieve the latest Revision Id"
        )
        for call, arguments in [
            (self.client.publish_version, {}),
            (self.client.update_function_configuration, {}),
            (self.client.update_function_code, {"ZipFile": package("two")}),
        ]:
            self.fails(
                "PreconditionFailedException",
                mismatch,
                call,
                FunctionName=name,
                RevisionId=stale,
                **arguments,
            )
        good = {"CodeSha256": current, "RevisionId": self.revision(name)}
        self.assertEqual(self.publish(name, **good)["Version"], "1")

    def test_publish_at_create_and_update(self):
        name = "at-once"
        self.addCleanup(self.gone, name)
        made = support.create(self.client, name, package("one"), Publish=True)
        self.assertEqual((made["Version"], made["FunctionArn"]), ("1", ARN + name))
        self.assertEqual(made["State"], "Pending")
        waiter = self.client.get_waiter("published_version_active")
        for qualifier in ["1", "$LATEST"]:
            waiter.wait(
                FunctionName=name,
                Qualifier=qualifier,
                WaiterConfig={"Delay": 0.02, "MaxAttempts": 1000},
            )
        shown = self.client.get_function(FunctionName=name)["Configuration"]
        self.assertEqual((shown["Version"], shown["FunctionArn"]), ("$LATEST", ARN + name))
        self.assertEqual(self.told(name, Qualifier="1")["text"], "one")
        updated = self.client.update_function_code(
            FunctionName=name, ZipFile=package("two"), Publish=True
        )
        self.assertEqual((updated["Version"], updated["FunctionArn"]), ("2", f"{ARN}{name}:2"))
        self.assertEqual(updated["State"], "Pending")
        support.updated(self.client, name)
        self.assertEqual(self.told(name, Qualifier="2")["text"], "two")
        self.assertEqual(self.told(name)["text"], "two")
        self.assertEqual(self.told(name, Qualifier="1")["text"], "one")

    def test_dry_run_changes_nothing(self):
        name = self.deploy("dry")
        before = self.client.get_function_configuration(FunctionName=name)
        would = self.client.update_function_code(
            FunctionName=name, ZipFile=package("two"), DryRun=True, Publish=True
        )
        self.assertNotEqual(would["CodeSha256"], before["CodeSha256"])
        after = self.client.get_function_configuration(FunctionName=name)
        after["ResponseMetadata"] = before["ResponseMetadata"] = None
        self.assertEqual(after, before)
        versions = self.client.list_versions_by_function(FunctionName=name)["Versions"]
        self.assertEqual([version["Version"] for version in versions], ["$LATEST"])

    def test_lists(self):
        name = self.deploy("listed")
        for number in range(1, 4):
            self.update(name, Timeout=number)
            self.publish(name)
        pages = self.client.get_paginator("list_versions_by_function").paginate(
            FunctionName=name, PaginationConfig={"PageSize": 2}
        )
        pages = [page["Versions"] for page in pages]
        self.assertEqual([len(page) for page in pages], [2, 2])
        versions = sum(pages, [])
        self.assertEqual([one["Version"] for one in versions], ["$LATEST", "1", "2", "3"])
        self.assertEqual(
            [one["FunctionArn"] for one in versions],
            [f"{ARN}{name}:{version}" for version in ["$LATEST", "1", "2", "3"]],
        )
        for one in versions:
            self.assertFalse({"State", "LastUpdateStatus", "RuntimeVersionConfig"} & set(one))
        other = self.deploy("listed-too")
        pages = self.client.get_paginator("list_functions").paginate(
            FunctionVersion="ALL", PaginationConfig={"PageSize": 2}
        )
        pages = [page["Functions"] for page in pages]
        self.assertEqual({len(page) for page in pages[:-1]}, {2})
        found = [one["FunctionArn"].removeprefix(ARN) for one in sum(pages, [])]
        there = [f"{name}:{version}" for version in ["$LATEST", "1", "2", "3"]]
        self.assertEqual(found, there + [f"{other}:$LATEST"])
        self.fails(
            "InvalidParameterValueException",
            "Invalid marker",
            self.client.list_versions_by_function,
            FunctionName=name,
            Marker="!",
        )
        self.fails(
            "ResourceNotFoundException",
            f"Function not found: {ARN}absent",
            self.client.list_versions_by_function,
            FunctionName="absent",
        )

    def test_deleting_a_version(self):
        name = self.deploy("deleting")
        self.publish(name)
        self.update(name, Timeout=9)
        self.publish(name)
        self.client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        self.fails(
            "ResourceConflictException",
            "Unable to delete version because the following aliases reference it: [live]",
            self.client.delete_function,
            FunctionName=name,
            Qualifier="1",
        )
        self.fails(
            "InvalidParameterValueException",
            "$LATEST version cannot be deleted without deleting the function.",
            self.client.delete_function,
            FunctionName=name,
            Qualifier="$LATEST",
        )
        self.fails(
            "InvalidParameterValueException",
            "Deletion of aliases is not currently supported.",
            self.client.delete_function,
            FunctionName=name,
            Qualifier="live",
        )
        self.told(name, Qualifier="2")
        self.service.wait_for_states(name, "frozen")
        for _ in range(2):
            self.client.delete_function(FunctionName=name, Qualifier="2")
        # Its environments go with it.
        self.service.wait_for_states(name)
        for call in [self.client.get_function, self.client.invoke]:
            self.fails(
                "ResourceNotFoundException",
                f"Function not found: {ARN}{name}:2",
                call,
                FunctionName=name,
                Qualifier="2",
            )
        self.client.delete_function(FunctionName=name)
        # The name is free, and counts from one.
        self.deploy(name)
        self.assertEqual(self.publish(name)["Version"], "1")

    def test_names_and_qualifiers(self):
        name = self.deploy("named")
        self.publish(name)
        for function, qualifier, shown in [
            (name, None, ""),
            (f"{name}:1", None, ":1"),
            (f"000000000000:function:{name}:1", None, ":1"),
            (f"us-east-1:000000000000:function:{name}", "1", ":1"),
            (f"function:{name}", "$LATEST", ":$LATEST"),
            (f"{ARN}{name}:1", "1", ":1"),
        ]:
            more = {"Qualifier": qualifier} if qualifier else {}
            found = self.client.get_function_configuration(FunctionName=function, **more)
            self.assertEqual(found["FunctionArn"], ARN + name + shown, function)
        self.fails(
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
            self.client.get_function,
            FunctionName=f"{name}:1",
            Qualifier="2",
        )
        for qualifier in ["$latest", "7", "01", "0", "nobody", "99999999999999999999999"]:
            self.fails(
                "ResourceNotFoundException",
                f"Function not found: {ARN}{name}:{qualifier}",
                self.client.get_function,
                FunctionName=name,
                Qualifier=qualifier,
            )

    def test_versions_survive_kill(self):
        with tempfile.TemporaryDirectory() as data:
            service = support.Service(data=data).start()
            client = service.client()
            support.deploy(client, "kept", package("one"))
            client.publish_version(FunctionName="kept")
            client.update_function_code(FunctionName="kept", ZipFile=package("two"), Publish=True)
            client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
            service.kill()
            with support.Service(data=data) as service:
                client = service.client()
                support.updated(client, "kept")
                for qualifier, text in [("1", "one"), ("2", "two"), ("live", "one")]:
                    answer = support.invoke(client, "kept", Qualifier=qualifier)
                    self.assertEqual(answer.json["text"], text)


class Aliases(Control):
    def two_versions(self, name):
        self.deploy(name)
        self.publish(name)
        self.update_code(name, "two")
        self.publish(name)
        return name

    def test_the_life_of_an_alias(self):
        name = self.two_versions("aliased")
        function = self.revision(name)
        made = self.client.create_alias(
            FunctionName=name, Name="live", FunctionVersion="1", Description="what is live"
        )
        self.assertEqual(made["ResponseMetadata"].pop("HTTPStatusCode"), 201)
        revision = made["RevisionId"]
        expected = {
            "AliasArn": f"{ARN}{name}:live",
            "Name": "live",
            "FunctionVersion": "1",
            "Description": "what is live",
            "RevisionId": revision,
        }
        self.assertEqual({key: made[key] for key in made if key != "ResponseMetadata"}, expected)
        self.assertEqual(self.revision(name), function, "an alias changes no function")
        told = self.told(name, Qualifier="live")
        expected = {"text": "one", "version": "1", "executed": "1", "arn": f"{ARN}{name}:live"}
        self.assertEqual(told, told | expected)
        # An alias and its version share their environments.
        self.assertEqual(self.told(f"{ARN}{name}:1")["count"], 2)
        shown = self.client.get_function(FunctionName=name, Qualifier="live")["Configuration"]
        self.assertEqual((shown["FunctionArn"], shown["Version"]), (f"{ARN}{name}:live", "1"))

        moved = self.client.update_alias(
            FunctionName=name, Name="live", FunctionVersion="2", RevisionId=revision
        )
        self.assertNotEqual(moved["RevisionId"], revision)
        self.assertEqual(moved["Description"], "what is live")
        self.assertEqual(self.told(name, Qualifier="live")["text"], "two")
        again = self.client.update_alias(FunctionName=name, Name="live")
        self.assertNotEqual(again["RevisionId"], moved["RevisionId"], "an empty update counts")
        self.client.update_alias(FunctionName=name, Name="live", FunctionVersion="$LATEST")
        self.update_code(name, "three")
        self.assertEqual(self.told(name, Qualifier="live")["text"], "three")
        for _ in range(2):
            gone = self.client.delete_alias(FunctionName=name, Name="live")
            self.assertEqual(gone["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.fails(
            "ResourceNotFoundException",
            f"Function not found: {ARN}{name}:live",
            self.client.invoke,
            FunctionName=name,
            Qualifier="live",
        )

    def test_weights(self):
        name = self.two_versions("weighted")
        made = self.client.create_alias(
            FunctionName=name,
            Name="live",
            FunctionVersion="1",
            RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
        )
        self.assertEqual(made["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.5}})
        drawn = collections.Counter()
        for _ in range(60):
            told = self.told(name, Qualifier="live")
            self.assertEqual(told["executed"], told["version"])
            drawn[told["executed"]] += 1
        # One in 2**59 is this lopsided by chance.
        self.assertEqual(set(drawn), {"1", "2"}, drawn)
        self.client.update_alias(
            FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}}
        )
        self.assertEqual({self.told(name, Qualifier="live")["text"] for _ in range(10)}, {"two"})
        cleared = self.client.update_alias(
            FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}}
        )
        self.assertNotIn("RoutingConfig", cleared)
        self.assertEqual({self.told(name, Qualifier="live")["text"] for _ in range(10)}, {"one"})

    def test_refusals(self):
        name = self.two_versions("refused")
        client, absent = self.client, "ResourceNotFoundException"
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        alias = f"{ARN}{name}:live"
        self.fails(
            "ResourceConflictException",
            f"Alias already exists: {alias}",
            client.create_alias,
            FunctionName=name,
            Name="live",
            FunctionVersion="1",
        )
        self.fails(
            "ValidationException",
            "1 validation error detected: Value '2024' at 'name' failed to satisfy constraint:"
            " Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
            client.create_alias,
            FunctionName=name,
            Name="2024",
            FunctionVersion="1",
        )
        for function, version in [("absent", "1"), (name, "10")]:
            self.fails(
                absent,
                f"Function not found: {ARN}{function}:{version}",
                client.create_alias,
                FunctionName=function,
                Name="new",
                FunctionVersion=version,
            )
        self.fails(
            absent,
            f"Cannot find alias arn: {ARN}{name}:no",
            client.get_alias,
            FunctionName=name,
            Name="no",
        )
        self.fails(
            absent,
            f"Alias not found: {ARN}{name}:no",
            client.update_alias,
            FunctionName=name,
            Name="no",
        )
        self.fails(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the"
            " GetFunction/GetAlias API to retrieve the latest Revision Id",
            client.update_alias,
            FunctionName=name,
            Name="live",
            RevisionId=str(uuid.UUID(int=0)),
        )
        invalid = "InvalidParameterValueException"
        for version, weights, code, message in [
            (
                "1",
                {"2": 0.1, "1": 0.1},
                invalid,
                "Number of items in AdditionalVersionWeights cannot be greater than 1",
            ),
            (
                "1",
                {"1": 0.1},
                invalid,
                "Invalid function version 1. Function version 1 is already included in routing"
                " configuration.",
            ),
            (
                "$LATEST",
                {"1": 0.1},
                invalid,
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ),
            ("1", {"10": 0.1}, absent, f"Function not found: {ARN}{name}:10"),
            (
                "1",
                {"2": 1.5},
                "ValidationException",
                "1 validation error detected: Value '{2=1.5}' at"
                " 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map"
                " value must satisfy constraint: [Member must have value less than or equal to"
                " 1.0, Member must have value greater than or equal to 0.0, Member must not be"
                " null]",
            ),
        ]:
            self.fails(
                code,
                message,
                client.create_alias,
                FunctionName=name,
                Name="new",
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": weights},
            )
        listed = client.list_aliases(FunctionName=name)["Aliases"]
        self.assertEqual([alias["Name"] for alias in listed], ["live"], "nothing was made")

    def test_lists(self):
        name = self.two_versions("aliases")
        for alias, version in [("c", "1"), ("a", "1"), ("b", "2")]:
            self.client.create_alias(FunctionName=name, Name=alias, FunctionVersion=version)
        pages = self.client.get_paginator("list_aliases").paginate(
            FunctionName=name, PaginationConfig={"PageSize": 2}
        )
        pages = [[alias["Name"] for alias in page["Aliases"]] for page in pages]
        self.assertEqual(pages, [["a", "b"], ["c"]])
        ones = self.client.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]
        self.assertEqual([alias["Name"] for alias in ones], ["a", "c"])


if __name__ == "__main__":
    unittest.main()
