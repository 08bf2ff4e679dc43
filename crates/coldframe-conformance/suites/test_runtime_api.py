"""The Runtime API, spoken by hand from inside: every state, every refusal, and odd HTTP.

Spec: execution-environment.md §2. Names carry the ids of its test catalogue, §12. The code in the
tests runs inside, in the runtime that `support.SCRIPT` is.
"""

import base64
import json
import re
import textwrap
import time
import unittest

from support import Gate, Service, deploy_script, invoke, result_of, run, wait_until

# Bytes of a buffered response that the Runtime API takes (§0.3).
RESPONSE_MAX = 6_291_556

ACCEPTED = [202, '{"status":"OK"}\n']
BAD_ID = [400, '{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}\n']
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def refused(source, target):
    """The 403 of a call that the state forbids."""
    text = f"State transition from {source} to {target} failed for runtime. Error: State transition is not allowed"
    return [403, json.dumps({"errorMessage": text, "errorType": "InvalidStateTransition"}, separators=(",", ":")) + "\n"]


def setUpModule():
    global gate, service, client, shared
    gate = Gate()
    service = Service("--memory", "200000", "--allow-host-port", str(gate.port)).start()
    client = service.client()
    # For tests that leave the runtime as they found it.
    shared = deploy_script(client, "shared", MemorySize=1024)


def tearDownModule():
    gate.close()
    service.stop()


def name_of(test):
    return test.id().split(".")[-1][-64:]


class Next(unittest.TestCase):
    def test_ee_V1_headers(self):
        fields, line = result_of(client, shared, "result = [event.fields, event.line]")
        self.assertEqual(line, "HTTP/1.1 200 OK")
        arn = fields["lambda-runtime-invoked-function-arn"]
        self.assertRegex(arn, r"^arn:aws:lambda:us-east-1:\d{12}:function:shared$")
        self.assertRegex(fields["lambda-runtime-aws-request-id"], r"^[0-9a-f-]{36}$")
        self.assertRegex(fields["lambda-runtime-deadline-ms"], r"^\d{13}$")
        self.assertEqual(fields["content-type"], "application/json")
        self.assertRegex(fields["lambda-runtime-invocation-id"], r"^[0-9a-f-]{36}$")
        self.assertNotEqual(fields["lambda-runtime-invocation-id"], fields["lambda-runtime-aws-request-id"])
        for absent in ("client-context", "cognito-identity", "aws-tenant-id"):
            self.assertNotIn(f"lambda-runtime-{absent}", fields)

    def test_ee_V1_payload_is_untouched(self):
        keep = "STATE['code'] = \"post(identity, 'response', json.dumps(event.text)); raise Answered\""
        for payload in (b'{"a" :  1 }', b"[1,2]", b"null", b'"\\u00e4 \xc3\xa4"', b" 7 ", b"{\n}\n", b'{"a":1,"a":2}'):
            with self.subTest(payload):
                result_of(client, shared, keep)
                answer = invoke(client, shared, payload)
                if payload.strip().startswith(b"{"):
                    continue
                self.assertEqual(answer.json, payload.decode("latin-1"))
        look = "result = event.text"
        sent = json.dumps({"code": look, "z": [1.50, "x"]}, indent=7).encode()
        self.assertEqual(invoke(client, shared, sent).json, sent.decode())

    def test_ee_V1_request_id_is_the_callers(self):
        answer = run(client, shared, "result = identity")
        self.assertEqual(answer.json, answer.request_id)

    def test_ee_V1_arn_as_the_caller_asked(self):
        code = json.dumps({"code": "result = event.fields['lambda-runtime-invoked-function-arn']"})
        status, _, body = service.invoke_plain("shared", code, {"Content-Type": "application/json"})
        self.assertEqual(status, 200)
        plain = json.loads(body)
        status, _, body = service.invoke_plain("shared?Qualifier=$LATEST", code)
        path = "/2015-03-31/functions/shared/invocations?Qualifier=%24LATEST"
        status, _, body = service.request("POST", path, code)
        self.assertEqual((status, json.loads(body)), (200, plain + ":$LATEST"))

    def test_ee_V2_deadline(self):
        name = deploy_script(client, "deadline", Timeout=17)
        result_of(client, name, "")
        before = time.time()
        now, deadline = result_of(
            client, name, "result = [time.time(), int(event.fields['lambda-runtime-deadline-ms']) / 1000]"
        )
        self.assertTrue(before + 17 - 0.05 <= deadline <= now + 17 + 0.05, (before, now, deadline))

    def test_ee_V4_next_again_gives_the_same_event(self):
        first, second = result_of(
            client, shared,
            "again = ask_next()\nresult = [[event.fields, event.text], [again.fields, again.text]]",
        )
        for fields in (first[0], second[0]):
            fields.pop("date", None)
        self.assertEqual(first, second)

    def test_two_next_at_once(self):
        # Spec: §2.3: one of them is answered for each event. Which, and whether the second came
        # only when the event was there already and gets the same, is a matter of time.
        name = deploy_script(client, "two-next", Timeout=10)
        code = """
            import select
            post(identity, "response", "0")
            waiting = {}
            for _ in range(2):
                own = Connection().request("GET", API + "/invocation/next")
                waiting[own.socket] = own
            answered = set()
            while len(answered) < 5:
                for ready in select.select(list(waiting), [], [])[0]:
                    event = waiting[ready].reply()
                    number = json.loads(event.body)["number"]
                    if number not in answered:
                        answered.add(number)
                        post(event.fields["lambda-runtime-aws-request-id"], "response", str(number))
                    waiting[ready].request("GET", API + "/invocation/next")
            raise Answered
        """
        self.assertEqual(run(client, name, code).payload, b"0")
        for number in range(1, 6):
            self.assertEqual(invoke(client, name, {"number": number}).json, number)
        [environment] = service.environments(name)
        self.assertEqual(environment["generation"], 1)

    def test_connection_closed_while_waiting(self):
        # The event isn't lost with a connection that is gone: the runtime asks again.
        name = deploy_script(client, "gone-next", Timeout=3)
        code = """
            post(identity, "response", "1")
            for _ in range(5):
                gone = Connection().request("GET", API + "/invocation/next")
                # Answered only when an event is there, so nothing is read.
                STATE.setdefault("gone", []).append(gone.socket.getsockname())
                gone.close()
            raise Answered
        """
        for _ in range(3):
            self.assertEqual(run(client, name, code).payload, b"1")
            self.assertEqual(result_of(client, name, "result = len(STATE['gone']) % 5"), 0)
        [environment] = service.environments(name)
        self.assertEqual(environment["generation"], 1)

    def test_ee_V18_trace_header(self):
        code = json.dumps({"code": "result = event.fields.get('lambda-runtime-trace-id')"})
        given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1|b:2"
        status, _, body = service.invoke_plain("shared", code, {"X-Amzn-Trace-Id": given})
        self.assertEqual((status, json.loads(body)), (200, given))
        name = deploy_script(client, "traced", TracingConfig={"Mode": "Active"})
        status, _, body = service.invoke_plain(name, code, {"X-Amzn-Trace-Id": given})
        got = re.fullmatch(
            r"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=([0-9a-f]{16});Sampled=1;Lineage=a:1\|b:2",
            json.loads(body),
        )
        self.assertIsNotNone(got, body)
        self.assertNotEqual(got[1], "53995c3f42cd8ad8")

    def test_ee_V19_client_context(self):
        context = {"custom": {"a": "b"}, "client": {"app_title": "x"}}
        answer = invoke(
            client, shared, {"code": "result = event.fields.get('lambda-runtime-client-context')"},
            ClientContext=base64.b64encode(json.dumps(context).encode()).decode(),
        )
        self.assertEqual(json.loads(answer.json), context)


class States(unittest.TestCase):
    """Every cell of the table of §2.3 that has no SnapStart in it."""

    # The five calls, each on a connection of its own.
    CALLS = """
        def calls(identity, skip=()):
            made = {
                "response": lambda: post(identity, "response"),
                "error": lambda: post(identity, "error"),
                "init": lambda: call("POST", API + "/init/error", b"{}"),
                "next": lambda: ask_next(),
            }
            return {name: made[name]().both for name in made if name not in skip}
    """

    def test_ee_V7_ee_V11_started(self):
        # `next` and `init/error` leave the state and are what other tests do.
        name = deploy_script(
            client, "started",
            init=textwrap.dedent(self.CALLS) + f"STATE['got'] = calls('{UNKNOWN_ID}', skip=('init', 'next'))",
        )
        self.assertEqual(result_of(client, name, "result = STATE['got']"), {"response": BAD_ID, "error": BAD_ID})

    def test_ee_V11_started_in_a_suppressed_init(self):
        # The invocation's id is current already, so the state is what refuses; nobody inside knows the id.
        name = deploy_script(
            client, "started-suppressed",
            init=f"""
            if not os.path.exists("/tmp/again"):
                open("/tmp/again", "w").close()
                os._exit(1)
            STATE["got"] = post("{UNKNOWN_ID}", "response").both
            """,
        )
        self.assertEqual(result_of(client, name, "result = STATE['got']"), BAD_ID)

    def test_ee_V11_init_error(self):
        name = deploy_script(
            client, "init-error", Timeout=10,
            init=textwrap.dedent(self.CALLS) + textwrap.dedent(f"""
                if not os.path.exists("/tmp/again"):
                    first = call("POST", API + "/init/error", b"{{}}").both
                    json.dump([first, calls("{UNKNOWN_ID}")], open("/tmp/again", "w"))
                    os._exit(1)
            """),
        )
        first, rest = result_of(client, name, "result = json.load(open('/tmp/again'))")
        self.assertEqual(first, ACCEPTED)
        self.assertEqual(rest, {
            "response": BAD_ID, "error": BAD_ID,
            "init": refused("InitError", "InitError"), "next": refused("InitError", "Ready"),
        })

    def test_ee_V11_ready(self):
        # In this state the environment is frozen at once; what is on its way to the server by then
        # is answered. So it is tried until something was.
        name = deploy_script(client, "ready", Timeout=10)
        code = """
            post(identity, "response", "null")
            calls = [("init/error", 13), (f"invocation/{identity}/response", 13), (f"invocation/{identity}/error", 13)]
            opened = [Connection() for _ in range(3 * len(calls))]
            for index, own in enumerate(opened):
                own.request("POST", f"{API}/{calls[index % 3][0]}", b"", {"Content-Length": "1"})
            waiting = Connection().request("GET", API + "/invocation/next")
            for own in opened:
                own.send("1")
            event = waiting.reply()
            got = [[calls[index % 3][0].split("/")[-1], own.reply().both] for index, own in enumerate(opened)]
            post(event.fields["lambda-runtime-aws-request-id"], "response", json.dumps(got))
            raise Answered
        """
        code = code.replace('b"", {"Content-Length": "1"}', 'b""')
        seen = set()

        def refused_in_ready():
            self.assertEqual(run(client, name, code).payload, b"null")
            for call, got in invoke(client, name).json:
                if call == "init/error".split("/")[-1] and got[0] == 403:
                    source = re.search("from (\\w+) to", got[1])[1]
                    self.assertIn(source, ("RuntimeResponseSentState", "Ready", "Running"))
                    self.assertEqual(got, refused(source, "InitError"))
                    seen.add(source)
                else:
                    self.assertEqual(got, BAD_ID)
            return "Ready" in seen

        wait_until(refused_in_ready, "a call is answered in the state Ready")

    def test_ee_V11_running(self):
        got = result_of(client, shared, "result = call('POST', API + '/init/error', b'{}').both")
        self.assertEqual(got, refused("Running", "InitError"))

    def check_sending(self, what, state):
        code = textwrap.dedent(self.CALLS) + textwrap.dedent(f"""
            upload = Connection().request(
                "POST", API + "/invocation/" + identity + "/{what}", b"[", {{"Content-Length": "3"}}
            )
            # Until its head has been taken, `next` would give the event again.
            while True:
                reply = ask_next()
                if reply.status != 200:
                    break
            STATE["got"] = calls(identity)
            upload.send(b"1]")
            STATE["sent"] = upload.reply().both
            upload.close()
            raise Answered
        """)
        answer = run(client, shared, code)
        self.assertEqual(answer.payload, b"[1]")
        self.assertEqual(answer.error, None if what == "response" else "Unhandled")
        got, sent = result_of(client, shared, "result = [STATE['got'], STATE['sent']]")
        self.assertEqual(sent, ACCEPTED)
        self.assertEqual(got, {
            "next": refused(state, "Ready"),
            "response": refused(state, "InvocationResponse"),
            "error": refused(state, "InvocationErrorResponse"),
            "init": refused(state, "InitError"),
        })

    def test_ee_V7_ee_V11_sending_the_response(self):
        self.check_sending("response", "InvocationResponse")

    def test_ee_V11_sending_the_error(self):
        self.check_sending("error", "InvocationErrorResponse")

    def test_ee_V6_ee_V11_sent(self):
        for what in ("response", "error"):
            with self.subTest(what):
                code = textwrap.dedent(self.CALLS) + textwrap.dedent(f"""
                    STATE["first"] = post(identity, "{what}", '"first"').both
                    STATE["got"] = calls(identity, skip=("next",))
                    raise Answered
                """)
                self.assertEqual(run(client, shared, code).payload, b'"first"')
                first, got = result_of(client, shared, "result = [STATE['first'], STATE['got']]")
                self.assertEqual(first, ACCEPTED)
                sent = "RuntimeResponseSentState"
                self.assertIn(got["response"], (BAD_ID, refused(sent, "InvocationResponse")))
                self.assertIn(got["error"], (BAD_ID, refused(sent, "InvocationErrorResponse")))
                self.assertEqual(got["init"], refused(sent, "InitError"))

    def test_ee_V5_wrong_ids(self):
        code = """
            ids = [given["unknown"], "x", identity.upper(), identity + "0", identity.replace("-", ""), "%00",
                   identity[:-1], "%2e%2e", "{" + identity + "}"]
            result = [post(one, what).both for one in ids for what in ("response", "error")]
        """
        for got in result_of(client, shared, code, unknown=UNKNOWN_ID):
            self.assertEqual(got, BAD_ID)

    def test_id_of_the_previous_invocation(self):
        result_of(client, shared, "STATE['old'] = identity")
        self.assertEqual(result_of(client, shared, "result = post(STATE['old'], 'response').both"), BAD_ID)

    def test_ee_V20_invocation_id(self):
        code = """
            own = event.fields["lambda-runtime-invocation-id"]
            header = lambda value: {"Lambda-Runtime-Invocation-Id": value}
            STATE["wrong"] = [post(identity, what, "1", header(value)).both
                              for what in ("response", "error") for value in (given["unknown"], identity, "x", own + "0")]
            # The id of the request is looked at first.
            STATE["both"] = post(given["unknown"], "response", "1", header("x")).both
            STATE["right"] = post(identity, given["what"], '"taken"', header(own)).both
            raise Answered
        """
        for what in ("response", "error"):
            answer = run(client, shared, code, unknown=UNKNOWN_ID, what=what)
            self.assertEqual(answer.payload, b'"taken"')
            got = result_of(client, shared, "result = [STATE[key] for key in ('wrong', 'both', 'right')]")
            for status, text in got[0]:
                self.assertEqual((status, json.loads(text)["errorType"]), (400, "InvalidInvocationId"))
            self.assertEqual(got[1:], [BAD_ID, ACCEPTED])

    def test_ee_V8_an_init_error_in_the_invocation(self):
        # F9: the body posted by the init inside the invocation is what the caller gets.
        name = deploy_script(
            client, "init-error-body", Timeout=10,
            init="""
            body = '{"errorMessage" : "mine \\u00e4", "errorType":"Own.Type" ,"more":[1]}'
            call("POST", API + "/init/error", body, {"Lambda-Runtime-Function-Error-Type": "Runtime.OwnType"})
            os._exit(1)
            """,
        )
        answer = run(client, name, "", tail=True)
        self.assertEqual(answer.error, "Unhandled")
        self.assertEqual(
            answer.payload, '{"errorMessage" : "mine \u00e4", "errorType":"Own.Type" ,"more":[1]}'.encode()
        )
        self.assertEqual(answer.report["Error Type"], "Runtime.OwnType")
        self.assertEqual(answer.tail.count("Error Type: Runtime.OwnType"), 3, answer.tail)

    def test_init_error_without_an_exit_waits_for_the_limit(self):
        # Spec: §2.11: init doesn't end by itself.
        name = deploy_script(
            client, "init-error-stays", Timeout=2,
            init="""
            if os.path.exists("/tmp/again"):
                call("POST", API + "/init/error", b"{}")
                signal.pause()
            open("/tmp/again", "w").close()
            os._exit(1)
            """,
        )
        answer = run(client, name, "")
        self.assertEqual(answer.json["errorType"], "Sandbox.Timedout")

    def test_ee_F7_crash_after_the_response(self):
        code = 'post(identity, "response", b"[1]")\nos._exit(3)'
        answer = run(client, shared, code)
        self.assertEqual((answer.error, answer.payload), (None, b"[1]"))
        answer = run(client, shared, code, tail=True)
        self.assertEqual((answer.error, answer.payload), (None, b"[1]"))
        self.assertEqual(answer.report["Error Type"], "Runtime.ExitError")
        self.assertEqual(result_of(client, shared, "result = 2"), 2)

    def test_timeout_after_the_response(self):
        # The timeout covers what comes until `next` (§1.4); the caller keeps its answer.
        name = deploy_script(client, "slow-next", Timeout=1)
        code = 'post(identity, "response", b"[1]")\nsignal.pause()'
        answer = run(client, name, code, tail=True)
        self.assertEqual((answer.error, answer.payload), (None, b"[1]"))
        self.assertEqual(answer.report["Status"], "timeout")
        self.assertEqual(result_of(client, name, "result = 2"), 2)


class Response(unittest.TestCase):
    def taken(self, what="STATE.pop('got')"):
        return result_of(client, shared, f"result = {what}")

    def test_bytes_and_type_are_the_runtimes(self):
        for body, kind in [
            (b'{"a" : 1}', "application/json"), (b"no json", "text/plain"), (b"", None),
            (b"\xff\x00\xfe", "application/octet-stream"), (b"<b>", "text/html; charset=utf-8"),
        ]:
            with self.subTest(body):
                code = """
                    post(identity, "response", bytes(given["body"]), {"Content-Type": given["kind"]})
                    raise Answered
                """
                answer = run(client, shared, code, body=list(body), kind=kind)
                self.assertEqual((answer.error, answer.payload), (None, body))
                if kind:
                    self.assertEqual(answer.content_type, kind)

    def test_ee_V8_size(self):
        code = """
            body = b"x" * given["size"]
            fields = {"Transfer-Encoding": "chunked", "Content-Length": None} if given["chunked"] else None
            if given["chunked"]:
                body = b"%x\\r\\n" % len(body) + body + b"\\r\\n0\\r\\n\\r\\n"
            STATE["got"] = post(identity, "response", body, fields).both
            raise Answered
        """
        too_large = [413, (
            '{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).",'
            '"errorType":"RequestEntityTooLarge"}\n'
        )]
        for chunked in (False, True):
            with self.subTest(chunked=chunked):
                pid = result_of(client, shared, "result = os.getpid()")
                answer = run(client, shared, code, size=RESPONSE_MAX, chunked=chunked)
                self.assertEqual((answer.error, len(answer.payload)), (None, RESPONSE_MAX))
                self.assertEqual(self.taken(), ACCEPTED)
                answer = run(client, shared, code, size=RESPONSE_MAX + 1, chunked=chunked, tail=True)
                self.assertEqual(answer.error, "Unhandled")
                self.assertEqual(answer.json, {
                    "errorType": "Function.ResponseSizeTooLarge",
                    "errorMessage":
                        "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
                })
                self.assertEqual(answer.report["Error Type"], "Function.ResponseSizeTooLarge")
                self.assertEqual(self.taken(), too_large)
                # A runtime that survives is used on.
                self.assertEqual(result_of(client, shared, "result = os.getpid()"), pid)

    def test_ee_V9_mode_header(self):
        code = """
            STATE["got"] = post(identity, "response", b"[1]", {"Lambda-Runtime-Function-Response-Mode": given["mode"]}).both
            raise Answered
        """
        for mode in ("Streaming", "buffered", "x"):
            with self.subTest(mode):
                answer = run(client, shared, code, mode=mode, tail=True)
                self.assertEqual((answer.error, answer.payload), ("Unhandled", b""))
                self.assertEqual(answer.report["Error Type"], "Runtime.InvalidResponseModeHeader")
                self.assertEqual(self.taken(), [
                    400,
                    '{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}\n',
                ])
        # R3: collected for a caller who doesn't stream.
        answer = run(client, shared, code, mode="streaming")
        self.assertEqual((answer.error, answer.payload), (None, b"[1]"))
        self.assertEqual(self.taken(), ACCEPTED)

    # The end of a connection is noticed a moment later; `next` is refused until then.
    NOTICED = (
        "while 'RuntimeResponseSentState' not in call('POST', API + '/init/error').text:\n"
        "    time.sleep(0.001)\n"
    )

    def test_ee_V10_truncated(self):
        uploads = {
            "chunked": ('{"Transfer-Encoding": "chunked", "Content-Length": None}', 'b"5\\r\\nab"'),
            "between-chunks": ('{"Transfer-Encoding": "chunked", "Content-Length": None}', 'b"2\\r\\nab\\r\\n"'),
            "bad-chunk": ('{"Transfer-Encoding": "chunked", "Content-Length": None}', 'b"zz\\r\\nab\\r\\n"'),
            "length": ('{"Content-Length": "100"}', 'b"abc"'),
            "nothing": ('{"Content-Length": "100"}', 'b""'),
        }
        endings = {
            "close": "upload.close()",
            "half": "upload.socket.shutdown(socket.SHUT_WR)\n"
                    "try:\n    STATE['got'] = upload.reply().both\nexcept (EOFError, ConnectionError):\n    pass",
            "reset": "upload.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\nupload.close()",
        }
        for kind, (fields, body) in uploads.items():
            for ending, end in endings.items():
                with self.subTest(kind=kind, ending=ending):
                    code = (
                        "STATE['got'] = None\nupload = Connection().request('POST', API + '/invocation/' + identity + "
                        f"'/response', {body}, {fields})\n{end}\n{self.NOTICED}raise Answered"
                    )
                    answer = run(client, shared, code, tail=True)
                    self.assertEqual(answer.error, "Unhandled")
                    self.assertEqual(answer.json["errorType"], "Runtime.TruncatedResponse")
                    self.assertEqual(answer.report["Error Type"], "Runtime.TruncatedResponse")
                    got = self.taken()
                    self.assertIn(got, (None, [
                        400,
                        '{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}\n',
                    ]))

    def test_ee_V10_truncated_error(self):
        code = (
            "upload = Connection().request('POST', API + '/invocation/' + identity + '/error', b'{', "
            f"{{'Content-Length': '9'}})\nupload.close()\n{self.NOTICED}raise Answered"
        )
        self.assertEqual(run(client, shared, code).error, "Unhandled")
        self.assertEqual(result_of(client, shared, "result = 1"), 1)

    def test_chunks_and_trailers(self):
        code = """
            upload = Connection().send(
                f"POST {API}/invocation/{identity}/response HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n"
                "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n"
            )
            for piece in given["pieces"]:
                upload.send(f"{len(piece):x}{given['extension']}\\r\\n{piece}\\r\\n")
            upload.send("0\\r\\n" + given["trailers"] + "\\r\\n")
            STATE["got"] = upload.reply().both
            raise Answered
        """
        pieces = ["[1", ",2", ",", "3]"]
        for extension in ("", ";name=value"):
            answer = run(client, shared, code, pieces=pieces, extension=extension, trailers="")
            self.assertEqual((answer.error, answer.payload), (None, b"[1,2,3]"))
            self.assertEqual(self.taken(), ACCEPTED)
        body = b'{"errorMessage":"in the middle","errorType":"Own"}'
        trailers = (
            "Lambda-Runtime-Function-Error-Type: Runtime.Own\r\n"
            f"Lambda-Runtime-Function-Error-Body: {base64.b64encode(body).decode()}\r\n"
        )
        answer = run(client, shared, code, pieces=pieces, extension="", trailers=trailers, tail=True)
        self.assertEqual((answer.error, answer.payload), ("Unhandled", body))
        self.assertEqual(answer.report["Error Type"], "Runtime.Own")
        self.assertEqual(self.taken(), ACCEPTED)
        # Go declares them always and sends them only with an error.
        answer = run(client, shared, code, pieces=["1"] * 5000, extension="", trailers="Other: x\r\n")
        self.assertEqual((answer.error, answer.payload), (None, b"1" * 5000))

    def test_expect_continue(self):
        code = """
            upload = Connection().request(
                "POST", f"{API}/invocation/{identity}/response", b"", {"Expect": "100-continue", "Content-Length": "3"}
            )
            first = upload.reply()
            upload.send("[7]")
            STATE["got"] = [first.line, upload.reply().both]
            raise Answered
        """
        self.assertEqual(run(client, shared, code).payload, b"[7]")
        self.assertEqual(self.taken(), ["HTTP/1.1 100 Continue", ACCEPTED])

    def test_ee_V12_error_body_is_untouched(self):
        code = """
            STATE["got"] = post(identity, "error", bytes(given["body"]), {"Content-Type": given["kind"]}).both
            raise Answered
        """
        for body, kind in [
            (b'{"errorMessage" :"a", "errorType": "b","trace":[] }', "application/json"),
            (b"plain words", "text/plain"),
            (b"", "application/json"),
            (b"\x80\xff", "application/octet-stream"),
        ]:
            with self.subTest(body):
                answer = run(client, shared, code, body=list(body), kind=kind)
                self.assertEqual((answer.error, answer.payload), ("Unhandled", body))
                self.assertEqual(answer.content_type, kind)
                self.assertEqual(self.taken(), ACCEPTED)

    def test_ee_V13_error_with_a_cause(self):
        code = """
            post(identity, "error", given["body"], {"Content-Type": "application/vnd.aws.lambda.error.cause+json"})
            raise Answered
        """
        whole = {"errorMessage": "m", "errorType": "t", "stackTrace": ["s"], "errorCause": {"x": 1}, "other": 2}
        answer = run(client, shared, code, body=json.dumps(whole))
        self.assertEqual(answer.json, {"errorMessage": "m", "errorType": "t", "stackTrace": ["s"]})
        self.assertEqual((answer.error, answer.content_type), ("Unhandled", "application/json"))
        answer = run(client, shared, code, body="{nothing")
        self.assertEqual(answer.payload, b'"Invalid error body"')
        self.assertEqual(answer.content_type, "application/octet-stream")

    def test_ee_V14_error_types(self):
        code = """
            post(identity, "error", "{}", {"Lambda-Runtime-Function-Error-Type": given["kind"]})
            raise Answered
        """
        for given, told in [
            ("Runtime.Foo", "Runtime.Foo"),
            ("Function.Bar", "Function.Bar"),
            ("xRuntime.Foox", "xRuntime.Foox"),
            ("Function.1", "Function.Unknown"),
            ("Function.", "Function.Unknown"),
            ("function.bar", "Runtime.Unknown"),
            ("unhandled", "Runtime.Unknown"),
            ("Runtime.foo", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
            (None, "Runtime.Unknown"),
        ]:
            with self.subTest(given):
                report = run(client, shared, code, kind=given, tail=True).report
                self.assertEqual((report["Status"], report["Error Type"]), ("error", told))

    def test_ee_V15_large_cause_header(self):
        # RICs send causes of up to 1 MiB in one header (§2.9).
        code = """
            STATE["got"] = post(identity, "error", "{}", {"Lambda-Runtime-Function-XRay-Error-Cause": "x" * 1048576}).both
            raise Answered
        """
        self.assertEqual(run(client, shared, code).payload, b"{}")
        self.assertEqual(self.taken(), ACCEPTED)


class Http(unittest.TestCase):
    def test_ee_V16_ping(self):
        self.assertEqual(result_of(client, shared, "result = call('GET', '/2018-06-01/ping').both"), [200, "pong"])

    def test_ee_V17_routes(self):
        code = "result = [call(method, path).both for method, path in given['routes']]"
        api = "/2018-06-01/runtime"
        invocation = f"{api}/invocation"

        def check(expected, *routes):
            for route, got in zip(routes, result_of(client, shared, code, routes=routes)):
                self.assertEqual(got[0], expected[0], route)
                self.assertEqual(got[1].strip(), expected[1], route)

        check(
            [404, "404 page not found"],
            ("GET", "/"), ("GET", "/2018-06-01"), ("GET", api), ("GET", "/2018-06-02/runtime/invocation/next"),
            ("GET", f"{api}/nothing"), ("POST", f"{invocation}/{UNKNOWN_ID}/other"), ("POST", f"{invocation}/response"),
            ("GET", f"{api}/restore/next"), ("POST", f"{api}/restore/error"), ("GET", "/2021-04-23/credentials"),
            ("GET", "/ping"), ("GET", f"{invocation}/next/"), ("GET", f"{invocation}//next"),
        )
        check(
            [405, ""],
            ("POST", f"{invocation}/next"), ("DELETE", f"{invocation}/next"), ("PUT", f"{invocation}/{UNKNOWN_ID}/response"),
            ("GET", f"{invocation}/{UNKNOWN_ID}/response"), ("GET", f"{invocation}/{UNKNOWN_ID}/error"),
            ("GET", f"{api}/init/error"), ("POST", "/2018-06-01/ping"),
        )

    def test_replies_are_json(self):
        code = """
            reply = post(given["unknown"], "response")
            result = [reply.line, reply.fields.get("content-type"), reply.fields.get("transfer-encoding")]
        """
        got = result_of(client, shared, code, unknown=UNKNOWN_ID)
        self.assertEqual(got, ["HTTP/1.1 400 Bad Request", "application/json", None])

    def test_names_of_fields_have_any_case(self):
        code = """
            own = Connection()
            head = given["style"].format(next=f"GET {API}/invocation/next HTTP/1.1")
            again = own.send(head).reply()
            body = '"cased"'
            post(identity, "response", body, {"LAMBDA-RUNTIME-INVOCATION-ID": again.fields["lambda-runtime-invocation-id"]})
            raise Answered
        """
        for style in (
            "{next}\r\nhost: x\r\n\r\n", "{next}\r\nHOST: x\r\nUSER-AGENT: y\r\n\r\n",
            "{next}\r\nHost:x\r\nAccept:  */*  \r\n\r\n",
        ):
            self.assertEqual(run(client, shared, code, style=style).payload, b'"cased"')

    def test_fields_are_in_title_case(self):
        # Old clients compare them by their case.
        head = result_of(client, shared, "result = event.head")
        self.assertIn("\r\nLambda-Runtime-Aws-Request-Id: ", head)
        self.assertIn("\r\nContent-Type: ", head)

    def test_one_connection_for_everything(self):
        name = deploy_script(client, "keep-alive")
        code = """
            own = Connection()
            for _ in range(200):
                assert own.request("GET", API + "/invocation/next").reply().fields["lambda-runtime-aws-request-id"] == identity
            own.request("POST", f"{API}/invocation/{identity}/response", "1").reply()
            for number in range(3):
                event = own.request("GET", API + "/invocation/next").reply()
                own.request("POST", f"{API}/invocation/{event.fields['lambda-runtime-aws-request-id']}/response", str(number)).reply()
            raise Answered
        """
        self.assertEqual(run(client, name, code).payload, b"1")
        self.assertEqual([invoke(client, name).json for _ in range(3)], [0, 1, 2])
        self.assertEqual(result_of(client, name, "result = 4"), 4)

    def test_pipelining(self):
        name = deploy_script(client, "pipeline")
        code = """
            own = Connection()
            body = b'"piped"'
            own.send(
                f"GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
                f"GET {API}/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
                f"POST {API}/invocation/{identity}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 7\\r\\n\\r\\n".encode() + body +
                f"GET {API}/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode()
            )
            STATE["got"] = [own.reply().text, own.reply().status, own.reply().both]
            event = own.reply()
            own.request("POST", f"{API}/invocation/{event.fields['lambda-runtime-aws-request-id']}/response", json.dumps(STATE["got"]))
            own.reply()
            raise Answered
        """
        self.assertEqual(run(client, name, code).payload, b'"piped"')
        self.assertEqual(invoke(client, name).json, ["pong", 200, ACCEPTED])

    def test_slow_head(self):
        code = """
            own = Connection()
            for letter in f"GET /2018-06-01/ping HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n":
                own.send(letter)
            result = own.reply().both
        """
        self.assertEqual(result_of(client, shared, code), [200, "pong"])

    def test_connection_close_and_http_1_0(self):
        code = """
            one = Connection().request("GET", "/2018-06-01/ping", fields={"Connection": "close"})
            other = Connection().send("GET /2018-06-01/ping HTTP/1.0\\r\\n\\r\\n")
            result = [one.reply().text, one.closed(), other.reply().text, other.closed()]
        """
        self.assertEqual(result_of(client, shared, code), ["pong", True, "pong", True])

    def test_absolute_target_and_query(self):
        code = """
            result = [call("GET", target).both for target in
                      ("http://127.0.0.1:9001/2018-06-01/ping", "/2018-06-01/ping?x=y")]
        """
        self.assertEqual(result_of(client, shared, code), [[200, "pong"]] * 2)

    def test_an_idle_connection_is_kept_over_a_freeze(self):
        name = deploy_script(client, "over-freeze")
        result_of(client, name, "STATE['own'] = Connection()\nresult = STATE['own'].request('GET', '/2018-06-01/ping').reply().text")
        service.wait_for_states(name, "frozen")
        self.assertEqual(
            result_of(client, name, "result = STATE['own'].request('GET', '/2018-06-01/ping').reply().text"), "pong"
        )

    def test_idle_connections(self):
        # Idle connections of the function's own don't keep its runtime from the next event.
        name = deploy_script(client, "idle-connections", Timeout=5)
        code = "STATE['idle'] = [Connection(3) for _ in range(given['count'])]\nresult = len(STATE['idle'])"
        self.assertEqual(result_of(client, name, code, count=50), 50)
        self.assertEqual(result_of(client, name, "result = 1"), 1)
        self.assertEqual(result_of(client, name, code, count=0), 0)

    def test_connections_one_after_the_other(self):
        code = "result = {call('GET', '/2018-06-01/ping').text for _ in range(2000)} == {'pong'}"
        self.assertEqual(result_of(client, shared, code), True)


if __name__ == "__main__":
    unittest.main()
