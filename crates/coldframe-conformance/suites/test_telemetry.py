"""Telemetry and Logs APIs: subscriptions, records, deliveries, and subscribers that misbehave.

Spec: execution-environment.md §4. Names carry the ids of its test catalogue, §12.
"""

import json
import textwrap
import time
import unittest

from support import (
    Gate,
    Layered,
    deploy,
    deploy_lab,
    extensions,
    result_of,
    run,
    updated,
    wait_until,
)

# Over HTTP, soon, and tells what it has got at the end. `%s`: further arguments of the subscription.
SUBSCRIBES = """
    subscriber = Subscriber()
    extension = Extension()
    extension.register("INVOKE", "SHUTDOWN")
    reply = extension.subscribe(subscriber.destination, %s)
    assert [reply.status, reply.text] == [200, '"OK"'], reply.both
    extension.serve(None, subscriber.tell)
"""
SOON = "buffering={'timeoutMs': 25}"

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

# The members of each record: those that are always there, and those that may be. Spec: §4.3.
INIT = {"initializationType", "phase", "status"}
RECORDS = {
    "platform.initStart": (
        {"initializationType", "phase", "functionName", "functionVersion", "runtimeVersion",
         "runtimeVersionArn", "instanceId", "instanceMaxMemory"},
        {"functionArn"},
    ),
    "platform.initRuntimeDone": (INIT, {"errorType"}),
    "platform.initReport": (INIT | {"metrics"}, {"errorType"}),
    "platform.start": ({"requestId", "version"}, {"tracing", "functionArn"}),
    "platform.runtimeDone": ({"requestId", "status", "metrics"}, {"errorType", "spans", "tracing"}),
    "platform.report": ({"requestId", "status", "metrics"}, {"errorType", "spans", "tracing"}),
    "platform.extension": ({"name", "state", "events"}, {"errorType"}),
    "platform.telemetrySubscription": ({"name", "state", "types"}, set()),
    "platform.logsDropped": ({"reason", "droppedRecords", "droppedBytes"}, set()),
}
REPORTED = {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB"}
STATUSES = {"success", "failure", "error", "timeout"}


def setUpModule():
    global gate
    gate = Gate()


def tearDownModule():
    gate.close()


class Subscribed(unittest.TestCase):
    """Each test has a service of its own, as each has another layer."""

    def serve(self, layer, *options):
        options = ["--allow-host-port", str(gate.port), *options]
        self.service = self.enterContext(Layered(layer, *options))
        self.client = self.service.client()
        return self.service

    def lab(self, name="lab", **config):
        variables = {"Variables": {"GATE": str(gate.port)}}
        return deploy_lab(self.client, name, **{"Environment": variables, **config})

    def run_out(self, name):
        """Changes the function: its environments go through the shutdown phase."""
        self.service.wait_for_states(name, "frozen")
        timeout = self.client.get_function_configuration(FunctionName=name)["Timeout"]
        self.client.update_function_configuration(FunctionName=name, Timeout=timeout + 1)
        updated(self.client, name)
        wait_until(lambda: not self.service.environments(name), "the environment is gone")

    def posts(self, name, by=None):
        """What a subscriber has got, as it told at its end."""
        lines = self.service.said(name)
        return [one["post"] for one in lines if "post" in one and by in (None, one["by"])]

    def events(self, name, by=None):
        events = [event for post in self.posts(name, by) for event in post["batch"]]
        for event in events:
            self.check_event(event)
        return events

    def check_event(self, event):
        self.assertEqual(sorted(event), ["record", "time", "type"])
        self.assertRegex(event["time"], TIME)
        kind, record = event["type"], event["record"]
        if kind in ("function", "extension"):
            self.assertIsInstance(record, (str, dict))
            return
        always, perhaps = RECORDS[kind]
        self.assertLessEqual(always, set(record), event)
        self.assertLessEqual(set(record), always | perhaps, event)
        if "status" in record:
            self.assertIn(record["status"], STATUSES)
            failed = record["status"] in ("error", "failure")
            if failed:
                self.assertIn("errorType", record, event)
        if "initializationType" in record:
            self.assertEqual(record["initializationType"], "on-demand")
            self.assertIn(record["phase"], ("init", "invoke"))
        for span in record.get("spans", []):
            self.assertEqual(sorted(span), ["durationMs", "name", "start"])
            self.assertRegex(span["start"], TIME)
        if kind == "platform.report":
            metrics = set(record["metrics"])
            self.assertLessEqual(REPORTED, metrics)
            self.assertLessEqual(metrics, REPORTED | {"initDurationMs"})
        if kind == "platform.runtimeDone":
            self.assertLessEqual(set(record["metrics"]), {"durationMs", "producedBytes"})
        if kind == "platform.initReport":
            self.assertEqual(set(record["metrics"]), {"durationMs"})


class Subscriptions(Subscribed):
    def test_ee_T1_bounds(self):
        self.serve(extensions(bounds="""
            extension = Extension()
            extension.register("SHUTDOWN")
            http = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}
            tries = []
            def check(*args, **more):
                reply = extension.subscribe(*args, **more)
                tries.append([reply.status, reply.text])
            for name, values in {
                "maxItems": (999, 1000, 10000, 10001),
                "maxBytes": (262143, 262144, 1048576, 1048577),
                "timeoutMs": (24, 25, 30000, 30001),
            }.items():
                for value in values:
                    check(http, buffering={name: value})
            say(bounds=tries[:])
            del tries[:]
            for port in (0, 1, 65535, 65536, "4243", None):
                check({"protocol": "TCP", "port": port})
            say(ports=tries[:])
            del tries[:]
            for schema in ("2022-07-01", "2022-12-13", "2025-01-29", "2021-01-01", None):
                check(http, schemaVersion=schema)
            say(schemas=tries[:])
            del tries[:]
            for uri in ("http://sandbox:4243", "http://sandbox.localdomain", "http://localhost:4243", "https://sandbox.localdomain:1", "x"):
                check({"protocol": "HTTP", "URI": uri})
            check(http, types=("platform", "everything"))
            check({"protocol": "UDP", "port": 1})
            check({"protocol": "HTTP", "URI": "http://sandbox.localdomain/x"}, types=())
            say(others=tries[:])
            extension.serve()
        """))
        name = self.lab()
        result_of(self.client, name, "")
        said = {key: value for one in self.service.said(name) for key, value in one.items()}
        refused = lambda status: [reply[0] for reply in said[status]]
        self.assertEqual(refused("bounds"), [400, 200, 200, 400] * 3)
        self.assertEqual(refused("ports"), [400, 200, 200, 400, 400, 400])
        self.assertEqual(refused("schemas"), [200, 200, 200, 400, 400])
        self.assertEqual(refused("others"), [200, 400, 400, 400, 400, 400, 400, 400])
        self.assertEqual(said["bounds"][1][1], '"OK"')
        last = json.loads(said["others"][-1][1])
        self.assertEqual(last["errorType"], "ValidationError")
        # What AWS says of the two faults, joined.
        self.assertEqual(
            sorted(last["errorMessage"].split("; ")), ["URI port is not provided", "types should not be empty"]
        )

    def test_ee_T5_too_late(self):
        self.serve(extensions(late="""
            extension = Extension()
            destination = {"protocol": "TCP", "port": 4244}
            say(before=extension.subscribe(destination).both)
            extension.register("INVOKE", "SHUTDOWN")
            extension.serve(lambda event: say(late=[extension.subscribe(destination).both, extension.subscribe(destination, schemaVersion=None, api="2020-08-15/logs").both]))
        """))
        name = self.lab()
        result_of(self.client, name, "")
        before, late = self.service.said(name)
        self.assertEqual(before["before"], [403, {
            "errorType": "Extension.MissingExtensionIdentifier",
            "errorMessage": "Missing Lambda-Extension-Identifier header",
        }])
        self.assertEqual(late["late"], [
            [403, {
                "errorType": f"{api}.SubscriptionClosed", "errorMessage": f"{api} API subscription is closed",
            }]
            for api in ("Telemetry", "Logs")
        ])

    def test_eleven_times(self):
        # The same again is fine, other arguments replace; one API excludes the other.
        self.serve(extensions(eager="""
            subscriber, other = Subscriber(), Subscriber(4250)
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            replies = [extension.subscribe(other.destination, types=["platform"]).status for _ in range(10)]
            replies.append(extension.subscribe(subscriber.destination, buffering={"timeoutMs": 25}).status)
            replies.append(extension.subscribe(subscriber.destination, schemaVersion=None, api="2020-08-15/logs").status)
            say(replies=replies)
            def tell(event):
                assert not other.posts, other.posts
                subscriber.tell()
            extension.serve(None, tell)
        """))
        name = self.lab()
        result_of(self.client, name, "print('once')")
        self.run_out(name)
        self.assertEqual(self.service.said(name)[0]["replies"], [200] * 11 + [400])
        records = [event["record"] for event in self.events(name) if event["type"] == "function"]
        self.assertEqual(records, ["once"])
        self.assertEqual(self.service.log(name).count("TELEMETRY\t"), 2)

    def test_an_internal_extension_subscribes(self):
        self.serve(extensions())
        name = self.lab(init="""
            import lab_extension
            lab_extension.NAME = "inside"
            STATE["subscriber"] = lab_extension.Subscriber()
            inside = lab_extension.Extension("inside")
            inside.register()
            reply = inside.subscribe(STATE["subscriber"].destination, types=["platform"], buffering={"timeoutMs": 25})
            assert reply.status == 200, reply.both
            threading.Thread(target=inside.next, daemon=True).start()
        """)
        types = result_of(self.client, name, """
            while True:
                types = [event["type"] for post in list(STATE["subscriber"].posts) for event in post["batch"]]
                if "platform.start" in types:
                    break
                time.sleep(0.001)
            result = types
        """)
        self.assertEqual(types[0], "platform.initStart")


class Records(Subscribed):
    def test_ee_I16_ee_T2_ee_T3_ee_T7_a_cold_start(self):
        # Not what extensions print: the one that ends first would lose what the other says.
        script = SUBSCRIBES % f"types=['platform', 'function'], {SOON}"
        # Over TCP the same.
        self.serve(extensions(http=script, tcp=script.replace("Subscriber(", "Receiver(")))
        name = self.lab(init="print('from init')", TracingConfig={"Mode": "Active"})
        result_of(self.client, name, "print('one')\nprint('two', file=sys.stderr)\nresult = 'x' * 10")
        self.run_out(name)
        for by in ("http", "tcp"):
            with self.subTest(by):
                events = self.events(name, by)
                platform = [event["type"].removeprefix("platform.") for event in events if event["type"].startswith("platform.")]
                self.assertEqual(platform[0], "initStart")
                self.assertEqual(sorted(platform[1:3]), ["telemetrySubscription"] * 2)
                # Of both extensions; then the rest in its order.
                self.assertEqual(platform[3:], [
                    "initRuntimeDone", "extension", "extension", "initReport", "start", "runtimeDone", "report",
                ])
                order = [
                    event["record"] if event["type"] == "function" else event["type"]
                    for event in events
                    if event["type"] in ("function", "platform.start", "platform.runtimeDone", "platform.initRuntimeDone")
                ]
                self.assertEqual(order, [
                    "from init", "platform.initRuntimeDone", "platform.start", "one", "two", "platform.runtimeDone",
                ])
        post = self.posts(name, "http")[0]
        self.assertEqual(post["line"], "POST /a/path?and=query HTTP/1.1")
        self.assertEqual(post["fields"]["content-type"], "application/json")
        self.assertEqual(post["fields"]["host"], "sandbox.localdomain:4243")
        records = {event["type"]: event["record"] for event in events}
        start = records["platform.initStart"]
        self.assertEqual(start["functionName"], name)
        self.assertEqual(start["instanceMaxMemory"], 1769 << 20)
        self.assertRegex(start["instanceId"], r"^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$")
        self.assertRegex(start["runtimeVersionArn"], r"^arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}$")
        done, report = records["platform.runtimeDone"], records["platform.report"]
        self.assertEqual(done["metrics"]["producedBytes"], len('"xxxxxxxxxx"'))
        self.assertEqual((done["status"], report["status"]), ("success", "success"))
        self.assertEqual(report["metrics"]["memorySizeMB"], 1769)
        self.assertIn("initDurationMs", report["metrics"])
        billed = report["metrics"]["durationMs"] + report["metrics"]["initDurationMs"]
        self.assertTrue(billed <= report["metrics"]["billedDurationMs"] < billed + 1.01, report)
        self.assertEqual(records["platform.telemetrySubscription"]["types"], ["platform", "function"])
        self.assertEqual(records["platform.extension"]["events"], ["INVOKE", "SHUTDOWN"])

    def test_ee_T7_failures(self):
        self.serve(extensions(subscriber="    os.write(1, b'not of any function\\n')" + SUBSCRIBES % SOON))
        name = self.lab(Timeout=1)
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        self.service.invoke_plain(name, json.dumps({"code": "raise ValueError('x')"}), {"X-Amzn-Trace-Id": trace})
        self.service.settle(name)
        run(self.client, name, "os._exit(3)")
        run(self.client, name, "time.sleep(60)")
        run(self.client, name, "")
        self.run_out(name)
        events = self.events(name)
        of = lambda kind: [event["record"] for event in events if event["type"] == kind]
        done, reports = of("platform.runtimeDone"), of("platform.report")
        # What it printed before it subscribed, in each generation.
        self.assertEqual(of("extension").count("not of any function"), 3)
        for records in (done, reports):
            found = [(record["status"], record.get("errorType")) for record in records]
            self.assertEqual(found, [
                ("error", "Runtime.Unknown"), ("error", "Runtime.ExitError"), ("timeout", None), ("success", None),
            ])
        # Only what is sampled is told.
        self.assertEqual([record.get("tracing", {}).get("value") for record in reports][1:], [None] * 3)
        self.assertIn("Root=1-5759e988-bd862e3fe1be46a994272793;", reports[0]["tracing"]["value"])
        self.assertNotIn("producedBytes", done[0]["metrics"])
        self.assertEqual([done[1]["metrics"]["producedBytes"], done[2]["metrics"]["producedBytes"]], [0, 0])
        # The timeout exactly; the runtime's as it was, which an init inside the invocation cuts short.
        self.assertEqual(reports[2]["metrics"]["durationMs"], 1000)
        self.assertGreater(done[2]["metrics"]["durationMs"], 0)
        self.assertNotIn("spans", done[1])
        phases = [record["phase"] for record in of("platform.initReport")]
        self.assertEqual(phases, ["init", "invoke", "invoke"])
        # The suppressed init comes before `start`.
        kinds = [event["type"].removeprefix("platform.") for event in events if event["type"].startswith("platform.")]
        second = kinds[kinds.index("initStart", 1):]
        self.assertEqual(
            [kind for kind in second if kind not in ("extension", "telemetrySubscription")][:6],
            ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"],
        )

    def test_ee_T7_a_failed_init(self):
        self.serve(extensions(subscriber=SUBSCRIBES % SOON))
        name = self.lab(init="raise ValueError('no init')")
        run(self.client, name, "")
        # Gone with a shutdown of their own, both inits.
        records = [(event["type"], event["record"]) for event in self.events(name)]
        for kind in ("platform.initRuntimeDone", "platform.initReport"):
            found = [(record["phase"], record["status"]) for name, record in records if name == kind]
            self.assertEqual(found, [("init", "error"), ("invoke", "error")], kind)
        [report] = [record for kind, record in records if kind == "platform.report"]
        self.assertEqual(report["status"], "error")

    def test_ee_T8_spans(self):
        self.serve(extensions(subscriber=SUBSCRIBES % SOON))
        name = self.lab()
        result_of(self.client, name, "time.sleep(0.05)")
        self.run_out(name)
        records = {event["type"]: event["record"] for event in self.events(name)}
        done, report = records["platform.runtimeDone"], records["platform.report"]
        spans = {span["name"]: span["durationMs"] for span in done["spans"]}
        self.assertEqual(list(spans), ["responseLatency", "responseDuration", "runtimeOverhead"])
        self.assertLess(abs(sum(spans.values()) - done["metrics"]["durationMs"]), 1)
        self.assertGreaterEqual(spans["responseLatency"], 50)
        [overhead] = report["spans"]
        self.assertEqual(overhead["name"], "extensionOverhead")
        self.assertGreaterEqual(report["metrics"]["durationMs"] + 1, done["metrics"]["durationMs"] + overhead["durationMs"])

    def test_ee_T9_objects(self):
        old = SUBSCRIBES.replace("Subscriber()", "Subscriber(4300)") % f"schemaVersion='2022-07-01', {SOON}"
        self.serve(extensions(new=SUBSCRIBES % SOON, old=old))
        printed = ['{"a": [1, {"b": null}]}', "[1]", "plain", '{"broken"', '  {"c": 1}', ""]
        code = "os.write(1, event['text'].encode())"
        for log_format in ("JSON", "Text"):
            with self.subTest(log_format):
                name = self.lab(f"objects-{log_format}", LoggingConfig={"LogFormat": log_format})
                result_of(self.client, name, code, text="\n".join(printed) + "\n")
                self.run_out(name)
                found = lambda by: [event["record"] for event in self.events(name, by) if event["type"] == "function"]
                self.assertEqual(found("old"), printed)
                if log_format == "JSON":
                    self.assertEqual(found("new"), [{"a": [1, {"b": None}]}, "[1]", "plain", '{"broken"', {"c": 1}, ""])
                else:
                    self.assertEqual(found("new"), printed)

    def test_ee_T12_the_logs_api(self):
        script = """
            subscriber = Subscriber()
            subscriber.destination["URI"] = subscriber.destination["URI"].replace("http://sandbox.localdomain", "http://sandbox")
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            reply = extension.subscribe({**subscriber.destination, "method": "PUT"}, schemaVersion=%r, api="2020-08-15/logs", buffering={"timeoutMs": 25})
            assert [reply.status, reply.text] == [200, '"OK"'], reply.both
            say(other=extension.subscribe(subscriber.destination).both, bad=Extension.ask(extension, "PUT", "/2020-08-15/logs", {"types": []}).both)
            extension.serve(None, subscriber.tell)
        """
        for schema in (None, "2021-03-18"):
            with self.subTest(schema):
                self.serve(extensions(logs=script % schema))
                name = self.lab(Timeout=5)
                result_of(self.client, name, "print('line')")
                run(self.client, name, "os._exit(1)")
                run(self.client, name, "")
                self.run_out(name)
                said = self.service.said(name)[0]
                self.assertEqual(said["other"][0], 400)
                self.assertEqual((said["bad"][0], said["bad"][1]["errorType"]), (400, "Logs.ValidationError"))
                posts = self.posts(name)
                self.assertEqual(posts[0]["line"], "PUT /a/path?and=query HTTP/1.1")
                events = [event for post in posts for event in post["batch"]]
                by_kind = {}
                for event in events:
                    self.assertEqual(sorted(event), ["record", "time", "type"])
                    by_kind.setdefault(event["type"], []).append(event["record"])
                expected = {
                    "platform.start", "platform.end", "platform.report", "platform.fault", "platform.extension",
                    "platform.logsSubscription", "function",
                }
                if schema:
                    expected.add("platform.runtimeDone")
                    done = [record["status"] for record in by_kind["platform.runtimeDone"]]
                    self.assertEqual(done, ["success", "failure", "success"])
                self.assertEqual(set(by_kind) - {"extension"}, expected)
                self.assertEqual(sorted(by_kind["platform.start"][0]), ["requestId", "version"])
                self.assertEqual(list(by_kind["platform.end"][0]), ["requestId"])
                report = by_kind["platform.report"][0]
                self.assertEqual(sorted(report), ["metrics", "requestId"])
                self.assertEqual(set(report["metrics"]), REPORTED | {"initDurationMs"})
                identity = by_kind["platform.report"][1]["requestId"]
                self.assertEqual(
                    by_kind["platform.fault"], [f"RequestId: {identity} Process exited before completing request"]
                )
                self.assertEqual(by_kind["platform.logsSubscription"][0], {
                    "name": "logs", "state": "Subscribed", "types": ["platform", "function", "extension"],
                })
                self.assertEqual(by_kind["function"], ["line"])
                self.assertIn(
                    "LOGS\tName: logs\tState: Subscribed\tTypes: [Platform, Function, Extension]\n", self.service.log(name)
                )


class Deliveries(Subscribed):
    # In the handler: what the subscriber has got until now.
    GOT = """
        def got():
            return json.load(open("/tmp/" + event["by"])) if os.path.exists("/tmp/" + event["by"]) else []
        def lines():
            return [one["record"] for post in got() for one in post["batch"] if one["type"] == "function"]
    """

    def inside(self, name, code, by="subscriber", **event):
        return result_of(self.client, name, textwrap.dedent(self.GOT) + textwrap.dedent(code), by=by, **event)

    def test_ee_T4_by_count(self):
        self.serve(extensions(subscriber=SUBSCRIBES % "types=['function'], buffering={'maxItems': 1000, 'timeoutMs': 30000}"))
        name = self.lab()
        sizes = self.inside(name, """
            for number in range(2500):
                print(number)
            sys.stdout.flush()
            while len(got()) < 2:
                time.sleep(0.001)
            result = [len(post["batch"]) for post in got()]
        """)
        self.assertEqual(sizes, [1000, 1000])
        # The rest isn't due for half a minute; the shutdown doesn't lose it.
        self.run_out(name)
        posts = self.posts(name)
        self.assertEqual([len(post["batch"]) for post in posts], [1000, 1000, 500])
        records = [event["record"] for post in posts for event in post["batch"]]
        self.assertEqual(records, [str(number) for number in range(2500)])

    def test_ee_T4_by_bytes(self):
        self.serve(extensions(subscriber=SUBSCRIBES % "types=['function'], buffering={'maxBytes': 262144, 'timeoutMs': 30000}"))
        name = self.lab()
        sizes = self.inside(name, """
            for _ in range(5):
                os.write(1, b"x" * 100_000 + b"\\n")
            while len(got()) < 2:
                time.sleep(0.001)
            result = [len(post["batch"]) for post in got()]
        """)
        self.assertEqual(sizes, [2, 2])

    def test_ee_T4_by_time(self):
        self.serve(extensions(subscriber=SUBSCRIBES % "types=['function'], buffering={'timeoutMs': 500}"))
        name = self.lab()
        waited = self.inside(name, """
            began = time.time()
            os.write(1, b"one\\n")
            while not got():
                time.sleep(0.001)
            result = got()[0]["at"] - began
        """)
        self.assertTrue(0.45 < waited < 2, waited)

    def test_ee_T10_names(self):
        self.serve(extensions())
        name = self.lab()
        found = result_of(self.client, name, """
            result = [socket.gethostbyname(name) for name in ("sandbox.localdomain", "sandbox")]
            for name in ("sandbox.localdomain", "sandbox"):
                socket.create_server((name, 0)).close()
        """)
        self.assertEqual(found, ["127.0.0.1"] * 2)

    def test_ee_T11_frozen(self):
        self.serve(extensions(subscriber=SUBSCRIBES % "types=['platform'], buffering={'timeoutMs': 100}"))
        name = self.lab()
        first = run(self.client, name, "")
        self.service.wait_for_states(name, "frozen")
        # Time that passes is what this is about: the report has long been due.
        time.sleep(0.5)
        thawed = time.time()
        found = self.inside(name, """
            def reports():
                return [[post["at"], one["time"], one["record"]["requestId"]] for post in got() for one in post["batch"] if one["type"] == "platform.report"]
            while not reports():
                time.sleep(0.001)
            result = reports()
        """)
        [[at, told, request_id]] = found
        self.assertEqual(request_id, first.request_id)
        self.assertGreaterEqual(at, thawed)
        # As it happened, not as it was delivered.
        self.assertLess(told, time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime(thawed)))

    def test_ee_T6_refused(self):
        self.serve(extensions(subscriber="""
            subscriber = Subscriber(refuses=lambda batch: any(one["record"] == "poison" for one in batch))
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            extension.subscribe(subscriber.destination, buffering={"timeoutMs": 25})
            extension.serve(None, subscriber.tell)
        """))
        name = self.lab()
        self.inside(name, """
            os.write(1, b"before\\n")
            while "before" not in lines():
                time.sleep(0.001)
            os.write(1, b"poison\\nwith it\\n")
            while not any(one["type"] == "platform.logsDropped" for post in got() for one in post["batch"]):
                time.sleep(0.001)
        """)
        self.run_out(name)
        posts = self.posts(name)
        refused = [post for post in posts if post["status"] == 500]
        # The first try and three more, each later than the one before.
        self.assertEqual(len(refused), 4)
        self.assertEqual([post["batch"] for post in refused], [refused[0]["batch"]] * 4)
        pauses = [later["at"] - earlier["at"] for earlier, later in zip(refused, refused[1:])]
        self.assertTrue(pauses[0] < pauses[1] < pauses[2], pauses)
        taken = [event for post in posts if post["status"] == 200 for event in post["batch"]]
        [dropped] = [event["record"] for event in taken if event["type"] == "platform.logsDropped"]
        self.assertEqual(dropped["droppedRecords"], len(refused[0]["batch"]))
        self.assertGreater(dropped["droppedBytes"], len("poison"))
        records = [event["record"] for event in taken if event["type"] == "function"]
        self.assertIn("before", records)
        self.assertNotIn("poison", records)
        self.assertIn("Dropped Records: %d" % dropped["droppedRecords"], self.service.log(name))


class Misbehaving(Subscribed):
    """Destinations that refuse, stall or trickle: the function doesn't notice, nor do others."""

    LAYER = extensions(bad="""
        kind = os.environ.get("KIND")
        extension = Extension()
        extension.register("INVOKE", "SHUTDOWN")
        if kind:
            listener = socket.create_server(("sandbox.localdomain", 4243), backlog=64)
            def misbehave():
                held = []
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    if kind != "stalls":
                        threading.Thread(target=trickle, args=(connection,), daemon=True).start()
            def trickle(connection):
                try:
                    connection.recv(1)
                    if kind == "trickles":
                        connection.sendall(b"HTTP/1.1 200 OK\\r\\nX: ")
                    while kind == "trickles":
                        connection.sendall(b"x")
                        time.sleep(0.05)
                    # An answer without end, as fast as it is taken.
                    connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
                    while kind == "floods":
                        connection.sendall(b"10000\\r\\n" + b"x" * 65536 + b"\\r\\n")
                    connection.sendall(b"nonsense")
                    connection.close()
                except OSError:
                    pass
            if kind != "refuses":
                threading.Thread(target=misbehave, daemon=True).start()
            else:
                listener.close()
            tcp, http = {"protocol": "TCP", "port": 4243}, {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"}
            extension.subscribe(tcp if os.environ.get("TCP") else http, buffering={"timeoutMs": 25})
        extension.serve()
    """)

    def check(self, kind, tcp=False):
        self.serve(self.LAYER)
        variables = {"KIND": kind, **({"TCP": "yes"} if tcp else {})}
        name = deploy_lab(self.client, "bad", Environment={"Variables": variables})
        neighbour = deploy(self.client, "good", {"app.py": "def handler(event, context):\n    return 1\n"})
        begun = self.service.memory_mb()
        block = """
            for _ in range(100):
                os.write(1, (b"y" * 99 + b"\\n") * 10_000)
        """
        # 100 MB, which nobody takes.
        answer = run(self.client, name, block)
        self.assertIsNone(answer.error, answer)
        self.assertLess(self.service.memory_mb(peak=True) - begun, 48)
        for _ in range(5):
            self.assertIsNone(run(self.client, name, "print('x')").error)
            self.assertIsNone(run(self.client, neighbour, "").error)
        self.service.wait_for_states(name, "frozen")
        began = time.monotonic()
        self.run_out(name)
        self.assertLess(time.monotonic() - began, 3)

    def test_refuses(self):
        self.check("refuses")

    def test_stalls(self):
        self.check("stalls")

    def test_stalls_over_tcp(self):
        self.check("stalls", tcp=True)

    def test_trickles(self):
        self.check("trickles")

    def test_floods(self):
        self.check("floods")

    def test_answers_nonsense(self):
        self.check("nonsense")


if __name__ == "__main__":
    unittest.main()
