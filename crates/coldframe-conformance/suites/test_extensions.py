"""Extensions: what they may ask, what they are told, and what their failures mean.

Spec: execution-environment.md §1, §3. Names carry the ids of its test catalogue, §12.
"""

import functools
import json
import re
import unittest

import tools
from support import (
    Gate,
    Layered,
    Service,
    deploy,
    deploy_lab,
    deploy_script,
    extensions,
    invoke,
    result_of,
    run,
    said,
    together,
    updated,
    wait_until,
)

# Says every event, and leaves when it is told to.
LISTENS = """
    extension = Extension()
    extension.register("INVOKE", "SHUTDOWN")
    note = lambda event: say(event=event.json, id=event.fields.get("lambda-extension-event-identifier"), at=time.time())
    extension.serve(note, note)
"""


# What takes the whole 10 s of an init is begun before all other tests, and looked at in its turn.
STUBBORN = extensions(stubborn="""
    extension = Extension()
    if os.environ["BEHAVE"] == "silent":
        time.sleep(600)
    extension.register("INVOKE", "SHUTDOWN")
    if os.environ["BEHAVE"] == "registers":
        time.sleep(600)
    extension.serve()
""")


def setUpModule():
    global gate, stubborn, stubborn_answers
    gate = Gate()
    unittest.addModuleCleanup(gate.close)
    stubborn = unittest.enterModuleContext(Layered(STUBBORN))
    client = stubborn.client()
    for name in ("silent", "registers", "good"):
        deploy_lab(
            client, name, Timeout=1, init="os.write(1, b'runtime runs\\n')",
            Environment={"Variables": {"BEHAVE": name}},
        )
    calls = {name: functools.partial(run, client, name, "") for name in ("silent", "registers")}
    stubborn_answers = dict(zip(calls, together(*calls.values())))


class Extended(unittest.TestCase):
    """Each test has a service of its own, as each has another layer."""

    def serve(self, layer, *options):
        options = ["--allow-host-port", str(gate.port), *options]
        service = self.enterContext(Layered(layer, *options))
        self.client = service.client()
        return service

    def lab(self, name="lab", variables=None, **config):
        variables = {"GATE": str(gate.port), **(variables or {})}
        return deploy_lab(self.client, name, Environment={"Variables": variables}, **config)

    def run_out(self, service, name):
        """Changes the function: its environments go through the shutdown phase."""
        service.wait_for_states(name, "frozen")
        timeout = self.client.get_function_configuration(FunctionName=name)["Timeout"]
        self.client.update_function_configuration(FunctionName=name, Timeout=timeout + 1)
        updated(self.client, name)
        wait_until(lambda: not service.environments(name), "the environment is gone")

    def timeline(self, service, name):
        [environment] = service.environments(name)
        return service.environment(environment["id"])["timeline"]

    def check_error(self, answer, kind, message):
        self.assertEqual(answer.error, "Unhandled", answer)
        message = f"RequestId: {answer.request_id} Error: {message}"
        self.assertEqual(answer.json, {"errorType": kind, "errorMessage": message}, answer)


class Init(Extended):
    def test_ee_I1_without_extensions(self):
        with Service() as service:
            self.client = service.client()
            name = self.lab()
            result_of(self.client, name, "")
            begin = self.timeline(service, name)[:3]
            told = [(one["event"], one.get("status"), one["phase"]) for one in begin]
            self.assertEqual(told, [
                ("initStart", None, "init"),
                ("initRuntimeDone", "success", "init"),
                ("initReport", "success", "init"),
            ])

    def test_ee_I2_what_is_no_extension(self):
        script = ("#!/bin/sh\nexit 1\n", 0o755)
        for layer in (
            {"bin/tool": script},
            {"extensions/": ""},
            {"extensions/directory/tool": script},
        ):
            with self.subTest(list(layer)):
                service = self.serve(layer)
                name = self.lab()
                self.assertEqual(result_of(self.client, name, "result = 1"), 1)
                [environment] = service.environments(name)
                self.assertEqual(service.environment(environment["id"])["extensions"], [])

    def test_ee_I3_all_register_before_the_runtime_starts(self):
        script = """
            meet(NAME)
            extension = Extension()
            extension.register("INVOKE")
            meet(NAME + "-registered")
            extension.serve()
        """
        service = self.serve(extensions(one=script, two=script))
        name = self.lab(init="meet(int(os.environ['GATE']), 'runtime')")
        [answer] = together(lambda: result_of(self.client, name, "result = 1"))
        # Both run before either has registered.
        gate.wait_for("one")
        gate.wait_for("two")
        gate.open("one")
        gate.wait_for("one-registered")
        [environment] = service.environments(name)
        self.assertIsNone(environment["runtimePid"])
        self.assertFalse(gate.waiting.get("runtime"))
        gate.open("two")
        # Before either has asked for an event.
        gate.wait_for("runtime")
        gate.wait_for("two-registered")
        for place in ("one-registered", "two-registered", "runtime"):
            gate.open(place)
        self.assertEqual(answer.result(), 1)

    def test_ee_I11_eleven_extensions(self):
        waits = ("#!/bin/sh\nexec sleep 600\n", 0o755)
        names = [f"extension-{number:02}" for number in range(11)]
        service = self.serve({f"extensions/{name}": waits for name in names})
        name = self.lab()
        answer = run(self.client, name, "")
        self.check_error(answer, "Extension.LaunchError", "too many extensions")
        log = service.log(name)
        self.assertIn(
            "EXTENSION\tName: extension-10\tState: LaunchError\tEvents: []\tError Type: TooManyExtensions\n", log
        )
        self.assertIn("EXTENSION\tName: extension-09\tState: Started\tEvents: []\n", log)
        for phase in ("init", "invoke"):
            self.assertRegex(
                log,
                rf"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: {phase}\tStatus: error\t"
                r"Error Type: Extension\.LaunchError\n",
            )
        # The runtime was never started.
        self.assertNotIn("initRuntimeDone", {one["event"] for one in self.timeline(service, name)})

    def test_ee_I12_not_executable(self):
        service = self.serve({"extensions/plain": "#!/bin/sh\n", "extensions/broken": ("\x7fELF", 0o755)})
        name = self.lab()
        answer = run(self.client, name, "")
        self.check_error(
            answer, "Extension.LaunchError", "fork/exec /opt/extensions/broken: exec format error"
        )
        self.assertIn(
            "EXTENSION\tName: broken\tState: LaunchError\tEvents: []\tError Type: UnknownError\n", service.log(name)
        )
        service = self.serve({"extensions/plain": "#!/bin/sh\n"})
        name = self.lab()
        answer = run(self.client, name, "")
        self.check_error(
            answer, "Extension.LaunchError", "fork/exec /opt/extensions/plain: permission denied"
        )
        self.assertIn(
            "EXTENSION\tName: plain\tState: LaunchError\tEvents: []\tError Type: PermissionDenied\n", service.log(name)
        )

    def test_ee_I13_internal_extensions(self):
        service = self.serve(extensions())
        name = self.lab(init="""
            import lab_extension
            inside = lab_extension.Extension("inside")
            STATE["reply"] = inside.register("INVOKE").both
            STATE["events"] = []
            threading.Thread(target=inside.serve, args=[lambda event: STATE["events"].append(event.json)], daemon=True).start()
        """)
        reply, late = result_of(self.client, name, """
            while not STATE["events"]:
                time.sleep(0.001)
            result = [STATE["reply"], lab_extension.Extension("late").register().both]
        """)
        self.assertEqual(reply[0], 200)
        self.assertEqual(late, [403, {
            "errorType": "Extension.RegistrationClosed",
            "errorMessage": "Extension registration closed already",
        }])
        [environment] = service.environments(name)
        [internal] = service.environment(environment["id"])["extensions"]
        self.assertEqual((internal["name"], internal["external"]), ("inside", False))
        self.assertIn("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\n", service.log(name))

    def test_ee_I14_switched_off(self):
        layer = {**extensions(one="os._exit(1)"), "disable-extensions-jwigqn8j": ""}
        service = self.serve(layer)
        name = self.lab()
        replies = result_of(self.client, name, """
            import lab_extension
            inside = lab_extension.Extension("inside")
            result = [[reply.status, reply.text] for reply in (
                inside.register(), inside.next(), inside.error("init"), inside.subscribe({}),
                inside.subscribe({}, api="2020-08-15/logs"),
            )]
        """)
        self.assertEqual(replies, [[404, ""]] * 5)
        self.assertNotIn("EXTENSION", service.log(name))


class Limits(Extended):
    @classmethod
    def setUpClass(cls):
        cls.service, cls.client = stubborn, stubborn.client()

    def check(self, name, state):
        # Neighbours go on.
        self.assertEqual(result_of(self.client, "good", "result = 1"), 1)
        answer = stubborn_answers[name].result()
        self.check_error(answer, "Sandbox.Timedout", "Task timed out after 1.00 seconds")
        log = self.service.log(name)
        [first, second] = re.findall(r"INIT_REPORT Init Duration: ([\d.]+) ms\t(.*)\n", log)
        self.assertTrue(9900 <= float(first[0]) < 12_000, log)
        self.assertEqual(first[1], "Phase: init\tStatus: timeout")
        self.assertTrue(950 <= float(second[0]) < 2_000, log)
        self.assertEqual(second[1], "Phase: invoke\tStatus: timeout")
        events = "" if state == "Started" else "INVOKE,SHUTDOWN"
        self.assertIn(f"EXTENSION\tName: stubborn\tState: {state}\tEvents: [{events}]\n", log)
        told = [one["event"] for one in self.timeline(self.service, name)]
        return log, told

    def test_ee_I4_never_registers(self):
        log, told = self.check("silent", "Started")
        self.assertNotIn("runtime runs", log)
        self.assertNotIn("initRuntimeDone", told)

    def test_ee_I5_never_asks_for_an_event(self):
        log, told = self.check("registers", "Registered")
        # The runtime was ready both times.
        self.assertEqual(log.count("runtime runs"), 2)
        self.assertEqual(told.count("initRuntimeDone"), 2)


class Failure(Extended):
    """What an extension does at an event is in the function's variables, so a reset can be sound."""

    LAYER = extensions(fragile="""
        extension = Extension()
        at = lambda moment: os.environ.get("WHEN") == moment and not os.path.exists("/tmp/failed")
        def leave():
            keep("failed", True)
            os._exit(int(os.environ["CODE"]))
        if at("start"):
            leave()
        extension.register("INVOKE", "SHUTDOWN")
        if at("registered"):
            leave()
        def on_invoke(event):
            if at("thaw"):
                leave()
            if at("invoke"):
                await_file("began")
                leave()
            if at("responded"):
                meet("responded")
                leave()
        extension.serve(on_invoke)
    """)

    def fragile(self, when, code=1, **config):
        self.service = self.serve(self.LAYER)
        return self.lab(variables={"WHEN": when, "CODE": str(code)}, **config)

    def check_recovered(self, name):
        # The same environment: what the extension left in /tmp is there.
        self.assertEqual(result_of(self.client, name, "result = os.path.exists('/tmp/failed')"), True)
        [environment] = self.service.environments(name)
        self.assertEqual(environment["generation"], 2)

    def check_report(self, name, kind):
        reports = re.findall(r"REPORT .*\n", self.service.log(name))
        self.assertRegex(reports[0], rf"Status: error\tError Type: {re.escape(kind)}\n")

    def test_ee_F4_at_the_event(self):
        name = self.fragile("thaw", 3)
        answer = run(self.client, name, "time.sleep(20)", tail=True)
        self.check_error(answer, "Extension.Crash", "exit status 3")
        self.check_report(name, "Extension.Crash")
        self.check_recovered(name)

    def test_ee_F4_in_a_reused_environment(self):
        # It crashes right after a thaw, not after an init.
        script = """
            extension = Extension()
            extension.register("INVOKE")
            extension.next()
            extension.next()
            os.kill(os.getpid(), signal.SIGKILL)
        """
        service = self.serve(extensions(second=script))
        name = self.lab()
        self.assertEqual(result_of(self.client, name, "result = 1"), 1)
        service.wait_for_states(name, "frozen")
        answer = run(self.client, name, "time.sleep(20)")
        self.check_error(answer, "Extension.Crash", "signal: killed")

    def test_ee_F4_before_the_response(self):
        name = self.fragile("invoke", 255)
        answer = run(self.client, name, "open('/tmp/began', 'w').write('1')\ntime.sleep(20)", tail=True)
        self.check_error(answer, "Extension.Crash", "exit status 255")
        self.check_report(name, "Extension.Crash")
        self.check_recovered(name)

    def test_ee_F4_after_the_response(self):
        name = self.fragile("responded")
        code = json.dumps({"code": "result = 'kept'"})
        status, fields, body = self.service.invoke_plain(name, code)
        self.assertEqual((status, body), (200, b'"kept"'))
        self.assertNotIn("x-amz-function-error", fields)
        gate.wait_for("responded")
        gate.open("responded")
        self.service.settle(name)
        self.check_report(name, "Extension.Crash")
        # Told once: the runtime was done, and well, before the extension went.
        done = [one for one in self.timeline(self.service, name) if one["event"] == "runtimeDone"]
        self.assertEqual([one["status"] for one in done], ["success"])
        self.check_recovered(name)

    def test_ee_F5_exit_0_is_a_crash(self):
        for when in ("thaw", "registered", "start"):
            with self.subTest(when):
                name = self.fragile(when, 0)
                answer = run(self.client, name, "time.sleep(20)" if when == "thaw" else "")
                if when == "thaw":
                    self.check_error(answer, "Extension.Crash", "exit code 0")
                    self.check_report(name, "Extension.Crash")
                else:
                    # The second init, inside the invocation, is sound.
                    self.assertIsNone(answer.error, answer)
                    self.assertRegex(
                        self.service.log(name),
                        r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: Extension\.Crash\n",
                    )
                self.check_recovered(name)

    def test_a_crash_in_both_inits(self):
        service = self.serve(extensions(dies="os._exit(7)"))
        name = self.lab()
        answer = run(self.client, name, "", tail=True)
        self.check_error(answer, "Extension.Crash", "exit status 7")
        self.assertEqual(answer.report["Error Type"], "Extension.Crash")
        self.assertEqual(service.log(name).count("INIT_REPORT"), 2)

    def test_ee_F6_the_first_failure_counts(self):
        service = self.serve(extensions(first="""
            keep("extension", os.getpid())
            extension = Extension()
            extension.register()
            extension.serve()
        """))
        name = self.lab()
        answer = run(self.client, name, """
            pid = int(open("/tmp/extension").read())
            os.kill(pid, signal.SIGTERM)
            try:
                while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
                    pass
            except OSError:
                pass
            os._exit(9)
        """, tail=True)
        self.check_error(answer, "Extension.Crash", "signal: terminated")
        self.assertEqual(answer.report["Error Type"], "Extension.Crash")

    def test_an_extension_that_takes_too_long(self):
        # The caller has its answer; the invocation times out all the same.
        service = self.serve(extensions(slow="""
            extension = Extension()
            extension.register("INVOKE")
            extension.next()
            time.sleep(600)
        """))
        name = self.lab(Timeout=1)
        status, _, body = service.invoke_plain(name, json.dumps({"code": "result = 'kept'"}))
        self.assertEqual((status, body), (200, b'"kept"'))
        wait_until(lambda: "REPORT" in service.log(name), "the report")
        [report] = re.findall(r"REPORT .*\n", service.log(name))
        self.assertIn("Duration: 1000.00 ms\t", report)
        self.assertTrue(report.endswith("\tStatus: timeout\n"), report)
        service.settle(name)
        done = [one for one in self.timeline(service, name) if one["event"] == "runtimeDone"]
        self.assertEqual([one["status"] for one in done], ["success"])


class Shutdown(Extended):
    # What a function says when it is told to end.
    SAYS_TERM = """
        import lab_extension
        def on_term(*_):
            lab_extension.say(term=time.time())
            time.sleep(0.1)
            lab_extension.say(leaves=time.time())
            os._exit(0)
        signal.signal(signal.SIGTERM, on_term)
    """

    def test_ee_S1_without_extensions(self):
        service = self.serve(extensions())
        name = self.lab(init=self.SAYS_TERM)
        result_of(self.client, name, "")
        self.run_out(service, name)
        self.assertEqual(service.said(name), [])

    def test_ee_S2_with_an_internal_one(self):
        service = self.serve(extensions())
        name = self.lab(init="""
            import lab_extension
            inside = lab_extension.Extension("inside")
            inside.register()
            threading.Thread(target=inside.next, daemon=True).start()
            def on_term(*_):
                while True:
                    lab_extension.say(at=time.time())
                    time.sleep(0.01)
            signal.signal(signal.SIGTERM, on_term)
        """)
        result_of(self.client, name, "")
        self.run_out(service, name)
        times = [one["at"] for one in service.said(name)]
        self.assertTrue(times, service.log(name))
        self.assertTrue(0.4 < times[-1] - times[0] < 0.9, times[-1] - times[0])

    def test_ee_S3_the_runtime_first(self):
        service = self.serve(extensions(listens=LISTENS))
        name = self.lab(init=self.SAYS_TERM)
        result_of(self.client, name, "")
        self.run_out(service, name)
        log = service.said(name)
        [term] = [one["term"] for one in log if "term" in one]
        [leaves] = [one["leaves"] for one in log if "leaves" in one]
        [shutdown] = [one for one in log if one.get("event", {}).get("eventType") == "SHUTDOWN"]
        self.assertGreater(shutdown["at"], leaves)
        self.assertLess(shutdown["at"] - leaves, 0.5)
        self.assertEqual(shutdown["event"]["shutdownReason"], "spindown")
        # The budget counts from the beginning, which SIGTERM is.
        self.assertLess(abs(shutdown["event"]["deadlineMs"] / 1000 - term - 2), 0.4)
        self.assertIsNone(shutdown["id"])
        self.assertEqual(sorted(shutdown["event"]), ["deadlineMs", "eventType", "shutdownReason"])

    def test_ee_S3_a_runtime_that_stays(self):
        service = self.serve(extensions(listens=LISTENS))
        name = self.lab(init="""
            import lab_extension
            signal.signal(signal.SIGTERM, lambda *_: lab_extension.say(term=time.time()))
        """)
        result_of(self.client, name, "")
        self.run_out(service, name)
        log = service.said(name)
        [term] = [one["term"] for one in log if "term" in one]
        [shutdown] = [one for one in log if one.get("event", {}).get("eventType") == "SHUTDOWN"]
        self.assertTrue(0.3 < shutdown["at"] - term < 1.3, shutdown["at"] - term)

    def test_ee_S4_one_that_does_not_want_to_know(self):
        service = self.serve(extensions(deaf="""
            extension = Extension()
            extension.register("INVOKE")
            extension.next()
            extension.next()
            say(more="an event that it did not ask for")
        """, hears=LISTENS))
        name = self.lab()
        result_of(self.client, name, "keep = 1")
        self.run_out(service, name)
        log = service.said(name)
        self.assertEqual([one["by"] for one in log], ["hears"] * 2)
        # Alone, it doesn't hold the shutdown up.
        service = self.serve(extensions(deaf="""
            extension = Extension()
            extension.register("INVOKE")
            # What is alive after the thaw is seen.
            threading.Thread(target=extension.serve, daemon=True).start()
            while True:
                say(at=time.time())
                time.sleep(0.005)
        """))
        name = self.lab(init=self.SAYS_TERM)
        result_of(self.client, name, "")
        self.run_out(service, name)
        log = service.said(name)
        [leaves] = [one["leaves"] for one in log if "leaves" in one]
        self.assertLess(log[-1].get("at", 0) - leaves, 0.5)

    def test_ee_S5_one_that_stays(self):
        service = self.serve(extensions(stays="""
            extension = Extension()
            extension.register("SHUTDOWN")
            event = extension.next()
            child = os.fork()
            while True:
                say(at=time.time(), child=not child, deadline=event.json["deadlineMs"] / 1000)
                time.sleep(0.01)
        """))
        name = self.lab()
        result_of(self.client, name, "")
        self.run_out(service, name)
        log = service.said(name)
        for child in (False, True):
            last = [one for one in log if one["child"] == child][-1]
            self.assertLess(abs(last["at"] - last["deadline"]), 0.5, last)

    def test_ee_S6_reasons(self):
        service = self.serve(extensions(listens=LISTENS))
        name = self.lab(Timeout=1)
        run(self.client, name, "os._exit(1)")
        run(self.client, name, "time.sleep(60)")
        result_of(self.client, name, "")
        self.run_out(service, name)
        reasons = [one["event"].get("shutdownReason") for one in service.said(name)]
        self.assertEqual([reason for reason in reasons if reason], ["failure", "timeout", "spindown"])

    def test_ee_S7_a_busy_one(self):
        service = self.serve(extensions(busy="""
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            extension.next()
            meet("busy")
            event = extension.next()
            say(event=event.json)
        """))
        name = self.lab(Timeout=1)
        code = json.dumps({"code": "time.sleep(60)"})
        [answer] = together(lambda: service.invoke_plain(name, code))
        gate.wait_for("busy")
        status, fields, _ = answer.result()
        self.assertEqual((status, fields["x-amz-function-error"]), (200, "Unhandled"))
        # The answer doesn't wait for the reset, and the reset waits for the extension.
        gate.open("busy")
        service.settle(name)
        [shutdown] = service.said(name)
        self.assertEqual(shutdown["event"]["shutdownReason"], "timeout")


class Api(Extended):
    STATE = "Extension.InvalidExtensionState"

    def transition(self, of, to, whom):
        return f"State transition from {of} to {to} failed for extension {whom}. Error: State transition is not allowed"

    def test_ee_E1_ee_E7_refusals(self):
        service = self.serve(extensions(probe="""
            import uuid
            extension = Extension()
            post = lambda body, **fields: extension.ask("POST", "/2020-01-01/extension/register", body, **fields).both
            next_of = lambda identity: call("GET", "/2020-01-01/extension/event/next", None, {"Lambda-Extension-Identifier": identity} if identity is not None else {}).both
            error_of = lambda **fields: extension.ask("POST", "/2020-01-01/extension/init/error", {}, **fields).both
            unknown = str(uuid.uuid4())
            said = {
                "empty": post({"events": []}, Lambda_Extension_Name=""),
                "nameless": post({"events": []}),
                "format": post("{", Lambda_Extension_Name=NAME),
                "keys": post({"events": [], "configurationKeys": ["a"]}, Lambda_Extension_Name=NAME),
                "event": post({"events": ["INVOKE", "RESTART"]}, Lambda_Extension_Name=NAME),
                "internal": post({"events": ["SHUTDOWN"]}, Lambda_Extension_Name="inside"),
                "missing": next_of(None),
                "malformed": next_of("x"),
                "unknown": [unknown, next_of(unknown)],
                "unknown-error": error_of(Lambda_Extension_Identifier=unknown, Lambda_Extension_Function_Error_Type="x"),
            }
            extension.register("INVOKE", "SHUTDOWN")
            said["twice"] = post({"events": []}, Lambda_Extension_Name=NAME)
            said["typeless"] = error_of()
            inside = [Extension(f"inside-{number}") for number in range(10)]
            said["inside"] = [one.register("INVOKE").both for one in inside]
            said["inside-twice"] = post({"events": []}, Lambda_Extension_Name="inside-1")
            say(**said)
            for one in inside[:9]:
                threading.Thread(target=one.serve, daemon=True).start()
            extension.serve()
        """))
        name = self.lab()
        self.assertEqual(result_of(self.client, name, "result = 1"), 1)
        [log] = [one for one in service.said(name) if one["by"] == "probe"]

        def check(found, kind, message):
            with self.subTest(kind):
                self.assertEqual(found, [403, {"errorMessage": message, "errorType": kind}])

        for which in ("empty", "nameless"):
            check(log[which], "Extension.InvalidExtensionName", "Empty extension name")
        self.assertEqual((log["format"][0], log["format"][1]["errorType"]), (403, "InvalidRequestFormat"))
        check(
            log["keys"], "InvalidRequestFormat",
            "configurationKeys are deprecated; use environment variables instead",
        )
        check(log["event"], "Extension.InvalidEventType", "RESTART: ErrorInvalidEventType")
        check(
            log["internal"], "Extension.InvalidEventType",
            "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
        )
        check(
            log["missing"], "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        )
        check(
            log["malformed"], "Extension.InvalidExtensionIdentifier",
            "Invalid Lambda-Extension-Identifier",
        )
        unknown, reply = log["unknown"]
        check(reply, "Extension.UnknownExtensionIdentifier", f"Unknown extension {unknown}")
        check(
            log["unknown-error"], "Extension.UnknownExtensionIdentifier",
            "Unknown Lambda-Extension-Identifier",
        )
        check(log["twice"], self.STATE, self.transition("Registered", "Registered", "probe"))
        check(log["typeless"], "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        # With the external one they are ten.
        self.assertEqual([reply[0] for reply in log["inside"]], [200] * 9 + [403])
        check(log["inside"][9], "Extension.TooManyExtensions", "Extension limit (10) reached")
        check(log["inside-twice"], self.STATE, "Extension with this name already registered")

    # Every call that has an answer at once; which state it is in is what the answers say.
    CALLS = """
        extension = Extension()
        extension.register("INVOKE")
        def answers():
            register = Extension()
            return {
                "register": register.register().both,
                "init/error": extension.error("init").both,
                "next": extension.next().both,
                "exit/error": extension.error("exit").both,
                "exit/error again": extension.error("exit").both,
                "id": extension.id,
            }
    """

    def check_states(self, said, states):
        """`states`: what each call answers: a transition that is refused, or `None` for 202."""
        for call, refused in states.items():
            with self.subTest(call):
                whom = "states" if call == "register" else said["id"]
                expected = [202, {"status": "OK"}] if refused is None else [
                    403, {"errorType": self.STATE, "errorMessage": self.transition(*refused, whom)}
                ]
                self.assertEqual(said[call], expected)

    def test_ee_E2_registered_then_failed(self):
        service = self.serve(extensions(states=self.CALLS + "    say(**answers())\n        os._exit(1)"))
        name = self.lab()
        answer = run(self.client, name, "")
        self.check_error(answer, "Extension.InitError", "exit status 1")
        self.check_states(service.said(name)[0], {
            "register": ("Registered", "Registered"),
            "init/error": None,
            "next": ("InitError", "Ready"),
            "exit/error": ("InitError", "ExitError"),
            "exit/error again": ("InitError", "ExitError"),
        })
        self.assertIn(
            "EXTENSION\tName: states\tState: InitError\tEvents: [INVOKE]\tError Type: Extension.Test\n",
            service.log(name),
        )

    def test_ee_E2_ee_E6_running_then_failed(self):
        # An `init/error` that is refused leaves the state as it is, so `next` comes after the exit.
        script = self.CALLS + """
        extension.next()
        said = {"register": Extension().register().both, "init/error": extension.error("init").both}
        for call in ("exit/error", "exit/error again"):
            said[call] = extension.error("exit").both
        said.update({"next": extension.next().both, "init/error after": extension.error("init").both})
        say(**said, id=extension.id)
        os._exit(2)
        """
        service = self.serve(extensions(states=script))
        name = self.lab()
        answer = run(self.client, name, "time.sleep(20)", tail=True)
        self.check_error(answer, "Extension.ExitError", "exit status 2")
        self.assertEqual(answer.report["Error Type"], "Extension.ExitError")
        self.check_states(service.said(name)[0], {
            "register": ("Running", "Registered"),
            "init/error": ("Running", "InitError"),
            "exit/error": None,
            "exit/error again": None,
            "next": ("ExitError", "Ready"),
            "init/error after": ("ExitError", "InitError"),
        })

    def test_ee_E2_ee_E5_ready(self):
        script = self.CALLS + """
        threading.Thread(target=extension.next, daemon=True).start()
        while "from Ready " not in Extension().register().text:
            pass
        say(**answers())
        os._exit(3)
        """
        service = self.serve(extensions(states=script))
        name = self.lab(init="meet(int(os.environ['GATE']), 'never')")
        run(self.client, name, "")
        self.check_states(service.said(name)[0], {
            "register": ("Ready", "Registered"),
            "init/error": ("Ready", "InitError"),
            # A second one at the same time.
            "next": ("Ready", "Ready"),
            "exit/error": None,
            "exit/error again": None,
        })

    def test_ee_E3_features(self):
        service = self.serve(extensions(features="""
            extension = Extension()
            extension.register(Lambda_Extension_Accept_Feature=" future ,accountId , more")
            reply = Extension("plain").register()
            say(status=reply.status, fields=reply.fields, json=reply.json)
            reply = Extension("asks").register(Lambda_Extension_Accept_Feature=" future , accountId ,more")
            say(json=reply.json)
            os._exit(0)
        """))
        name = self.lab("features-function", Handler="app.handler")
        run(self.client, name, "")
        plain, asks = service.said(name)[:2]
        self.assertEqual(plain["status"], 200)
        self.assertRegex(plain["fields"]["lambda-extension-identifier"], r"^[0-9a-f-]{36}$")
        self.assertEqual(plain["fields"]["content-type"], "application/json")
        same = {"functionName": name, "functionVersion": "$LATEST", "handler": "app.handler"}
        self.assertEqual(plain["json"], same)
        self.assertEqual(asks["json"], {**same, "accountId": "000000000000"})

    def test_ee_E4_events(self):
        service = self.serve(extensions(one=LISTENS, two=LISTENS))
        name = self.lab(Timeout=7)
        request_ids, deadlines = [], []
        for _ in range(2):
            answer = run(self.client, name, "result = context.get_remaining_time_in_millis() + time.time() * 1000")
            request_ids.append(answer.request_id)
            deadlines.append(answer.json)
        events = [one for one in service.said(name) if one["event"]["eventType"] == "INVOKE"]
        self.assertEqual(len(events), 4)
        self.assertEqual(len({one["id"] for one in events}), 4)
        for one in events:
            event = one["event"]
            which = request_ids.index(event["requestId"])
            self.assertEqual(sorted(event), ["deadlineMs", "eventType", "invokedFunctionArn", "requestId", "tracing"])
            self.assertEqual(event["invokedFunctionArn"], f"arn:aws:lambda:us-east-1:000000000000:function:{name}")
            # The runtime's deadline.
            self.assertLess(abs(event["deadlineMs"] - deadlines[which]), 100)
            self.assertEqual(event["tracing"]["type"], "X-Amzn-Trace-Id")
        for which in request_ids:
            by = sorted(one["by"] for one in events if one["event"]["requestId"] == which)
            self.assertEqual(by, ["one", "two"])

    def test_ee_E4_the_incoming_trace(self):
        service = self.serve(extensions(listens=LISTENS))
        name = self.lab(TracingConfig={"Mode": "Active"})
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        code = json.dumps({"code": "result = os.environ['_X_AMZN_TRACE_ID']"})
        _, _, body = service.invoke_plain(name, code, {"X-Amzn-Trace-Id": trace})
        service.settle(name)
        self.assertNotEqual(json.loads(body), trace)
        [event] = service.said(name)
        self.assertEqual(event["event"]["tracing"]["value"], trace)

    def test_ee_E8_one_without_invoke(self):
        quiet = LISTENS.replace('"INVOKE", ', "")
        service = self.serve(extensions(quiet=quiet, never=quiet.replace('"SHUTDOWN"', ""), listens=LISTENS))
        name = self.lab()
        for _ in range(2):
            result_of(self.client, name, "")
        service.wait_for_states(name, "frozen")
        self.assertEqual([one["by"] for one in service.said(name)], ["listens"] * 2)
        self.run_out(service, name)
        last = sorted((one["by"], one["event"]["eventType"]) for one in service.said(name)[2:])
        self.assertEqual(last, [("listens", "SHUTDOWN"), ("quiet", "SHUTDOWN")])

    def test_ee_E9_work_after_the_response(self):
        service = self.serve(extensions(works="""
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            extension.serve(lambda event: meet("works"))
        """))
        name = self.lab()
        status, _, body = service.invoke_plain(name, json.dumps({"code": "result = 'at once'"}))
        self.assertEqual((status, body), (200, b'"at once"'))
        gate.wait_for("works")
        service.wait_for_states(name, "responded")
        self.assertNotIn("REPORT", service.log(name))
        # Busy with one, it gets no second: that goes to another environment.
        [second] = together(lambda: service.invoke_plain(name, json.dumps({"code": "result = 2"})))
        self.assertEqual(second.result()[2], b"2")
        gate.wait_for("works", 2)
        gate.open("works")
        service.wait_for_states(name, "frozen", "frozen")
        self.assertEqual(service.log(name).count("REPORT"), 2)
        for environment in service.environments(name):
            timeline = service.environment(environment["id"])["timeline"]
            [done] = [one for one in timeline if one["event"] == "runtimeDone"]
            [report] = [one for one in timeline if one["event"] == "report"]
            overhead = report["durationUs"] - done["durationUs"]
            self.assertLess(abs(overhead - report["extensionOverheadUs"]), 20_000)


class Inside(Extended):
    def test_ee_M2_variables(self):
        service = self.serve(extensions(shows="""
            extension = Extension()
            extension.register("SHUTDOWN")
            keep("variables", dict(os.environ))
            keep("process", {"cwd": os.getcwd(), "argv": sys.argv, "uid": os.getuid(), "gid": os.getgid(), "in": os.readlink("/proc/self/fd/0")})
            extension.serve()
        """))
        name = self.lab(variables={"MINE": "yes"})
        function, extension, process, uid = result_of(self.client, name, """
            read = lambda name: json.load(open("/tmp/" + name))
            result = [dict(os.environ), read("variables"), read("process"), [os.getuid(), os.getgid()]]
        """)
        absent = {
            "_HANDLER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
            "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
        }
        self.assertLessEqual(absent, set(function))
        self.assertFalse(absent & set(extension))
        self.assertEqual([key for key in extension if key.startswith("_")], [])
        for key in (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API",
            "AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "TZ", "PATH", "MINE",
        ):
            self.assertEqual(extension[key], function[key], key)
        self.assertEqual((process["cwd"], process["in"]), ("/", "/dev/null"))
        self.assertEqual(process["argv"], ["/opt/extensions/shows"])
        self.assertEqual([process["uid"], process["gid"]], uid)

    def test_ee_M8_exec_wrapper(self):
        service = self.serve({"wrapper": ('#!/bin/sh\nexport WRAPPED="$0"\nexec "$@"\n', 0o755)})
        name = self.lab(variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"})
        self.assertEqual(result_of(self.client, name, "result = os.environ['WRAPPED']"), "/opt/wrapper")
        # A managed runtime of the other kind.
        code = "exports.handler = async () => process.env.WRAPPED;"
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
        deploy(
            self.client, "node", {"index.js": code}, Runtime=tools.node_runtime(),
            Handler="index.handler", Environment={"Variables": variables},
        )
        self.assertEqual(invoke(self.client, "node").json, "/opt/wrapper")
        # Not for OS-only runtimes: they would have to do it themselves.
        deploy_script(self.client, "os-only", Environment={"Variables": dict(variables)})
        configuration = self.client.get_function_configuration(FunctionName="os-only")
        if configuration["Runtime"].startswith("provided"):
            self.assertIsNone(result_of(self.client, "os-only", "result = os.environ.get('WRAPPED')"))

    def test_ee_M9_metadata(self):
        self.serve(extensions())
        name = self.lab()
        found = result_of(self.client, name, """
            import lab_extension
            path = "/2026-01-15/metadata/execution-environment"
            token = {"Authorization": "Bearer " + os.environ["AWS_LAMBDA_METADATA_TOKEN"]}
            assert os.environ["AWS_LAMBDA_METADATA_API"] == os.environ["AWS_LAMBDA_RUNTIME_API"]
            good = lab_extension.call("GET", path, None, token)
            result = [
                good.both, good.fields.get("cache-control"),
                lab_extension.call("GET", path).status,
                lab_extension.call("GET", path, None, {"Authorization": "Bearer x"}).status,
                lab_extension.call("POST", path, None, token).status,
                "AWS_LAMBDA_MAX_CONCURRENCY" in os.environ,
            ]
        """)
        (status, body), cache, *others = found
        self.assertEqual(status, 200)
        self.assertRegex(body["AvailabilityZoneID"], r"^use1-az\d$")
        self.assertIn("max-age=43200", cache)
        self.assertEqual(others, [401, 401, 405, False])

    def test_extension_and_function_share_the_environment(self):
        self.serve(extensions(shares="""
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            listener = socket.create_server(("127.0.0.1", 8080))
            keep("pid", os.getpid())
            def on_invoke(event):
                connection, _ = listener.accept()
                connection.sendall(event.json["requestId"].encode())
                connection.close()
            extension.serve(on_invoke)
        """))
        name = self.lab()
        answer = run(self.client, name, """
            with socket.create_connection(("127.0.0.1", 8080)) as connection:
                heard = connection.makefile().read()
            result = [heard, os.path.exists("/proc/" + open("/tmp/pid").read())]
        """)
        self.assertEqual(answer.json, [answer.request_id, True])

    def test_an_extension_in_node(self):
        script = """#!/usr/bin/env node
            const http = require("http");
            const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
            const agent = new http.Agent({ keepAlive: true });
            const ask = (method, path, headers, body) => new Promise((resolve, reject) => {
                const request = http.request({ host, port, method, path, headers, agent }, (reply) => {
                    let text = "";
                    reply.on("data", (piece) => (text += piece));
                    reply.on("end", () => resolve({ headers: reply.headers, text }));
                });
                request.on("error", reject);
                request.end(body);
            });
            (async () => {
                const events = JSON.stringify({ events: ["INVOKE", "SHUTDOWN"] });
                const reply = await ask("POST", "/2020-01-01/extension/register", { "Lambda-Extension-Name": "in-node" }, events);
                const id = { "Lambda-Extension-Identifier": reply.headers["lambda-extension-identifier"] };
                for (;;) {
                    const { text } = await ask("GET", "/2020-01-01/extension/event/next", id);
                    console.log(`{"by": "in-node", "event": ${text}}`);
                    if (JSON.parse(text).eventType === "SHUTDOWN") process.exit(0);
                }
            })();
        """
        service = self.serve({"extensions/in-node": (script, 0o755)})
        code = "exports.handler = async () => 'node';"
        deploy(self.client, "node", {"index.js": code}, Runtime=tools.node_runtime(), Handler="index.handler")
        for _ in range(2):
            self.assertEqual(invoke(self.client, "node").json, "node")
        self.run_out(service, "node")
        events = [one["event"]["eventType"] for one in said(service.log("node"))]
        self.assertEqual(events, ["INVOKE", "INVOKE", "SHUTDOWN"])


if __name__ == "__main__":
    unittest.main()
