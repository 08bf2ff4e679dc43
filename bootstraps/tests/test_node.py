"""The Node.js client, driven as a process. `COLDFRAME_TEST_NODE` chooses the interpreter and its flags.

`COLDFRAME_TEST_NODE_CLIENT` is a command that runs another client instead, with `{handler}` where it wants the handler's name:
so the same table can be held against AWS's. Cases marked `ours` are left out then; each says what it does otherwise.
"""

import base64
import json
import os
import re
import shutil
import unittest

from harness import ARN, BOOTSTRAPS, REMAINING_MS, REQUEST_ID, invocation, matches, run, setting

RUNTIME = os.path.join(BOOTSTRAPS, "nodejs")
OTHER = setting("COLDFRAME_TEST_NODE_CLIENT", "")
NODE = setting("COLDFRAME_TEST_NODE", shutil.which("node") or "node")
COMMAND = OTHER or NODE + [os.path.join(RUNTIME, "bootstrap.cjs")]

CLASSIC = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}
MODERN = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}

# AWS has two clients, one up to Node 22 and one from 24 on. Another client is one of them: cases of the other are left out.
KINDS = [{"classic": CLASSIC, "modern": MODERN}[kind] for kind in setting("COLDFRAME_TEST_NODE_CLIENT_KIND", "classic modern")]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def error(kind, message, first=None):
    return {"errorType": kind, "errorMessage": message, "trace": first if first is not None else "any"}


class Case(unittest.TestCase):
    maxDiff = None

    def check(
        self,
        code,
        response=None,
        error=None,
        init_error=None,
        stdout=None,
        exit_code=None,
        files=None,
        events=None,
        ours=False,
        env=None,
        headers=None,
        text=None,
        kind=CLASSIC,
        **options,
    ):
        """Runs `code` with `events` and compares the last thing it posted, its log and its exit."""
        if (OTHER and ours) or kind not in KINDS:
            self.skipTest("another client does this otherwise")
        everything = dict(files or {}) if code is None else {"app.js": code, **(files or {})}
        result = run(COMMAND, everything, events or [invocation({})], {**kind, **(env or {})}, **options)
        said = "\nstdout: %s\nstderr: %s\nposts: %s" % (
            result.stdout,
            result.stderr,
            [(post.path, post.body[:900]) for post in result.posts],
        )
        expected = [("response", response), ("error", error), ("init/error", init_error)]
        path, body = next((item for item in expected if item[1] is not None), (None, None))
        if path is not None:
            self.assertTrue(result.posts, said)
            post = result.posts[-1]
            self.assertTrue(post.path.endswith(path), said)
            actual = post.json()
            if path != "response" and body.get("trace") == "any":
                self.assertIsInstance(actual.get("trace"), list, said)
                body = {**body, "trace": actual["trace"]}
            self.assertTrue(matches(body, actual), "expected %r%s" % (body, said))
            for name, value in (headers or {}).items():
                self.assertTrue(matches(value, post.headers.get(name.lower())), "%s: %r%s" % (name, post.headers, said))
        if text is not None:
            self.assertTrue(result.posts, said)
            self.assertEqual(result.posts[-1].body.decode(), text, said)
        if stdout is not None:
            self.assertTrue(matches(stdout, result.stdout), "expected %r%s" % (stdout, said))
        self.assertEqual(result.exit_code, exit_code, said)
        return result


class Loading(Case):
    def test_files(self):
        commonjs = "exports.handler = async () => __filename.slice(-9)"
        module = "export const handler = async () => import.meta.url.slice(-9)"
        package = {"package.json": '{"type": "module"}'}
        cases = [
            ("app.handler", {"app.js": commonjs}, "k/app.js"),
            ("app.handler", {"app.cjs": commonjs}, "/app.cjs"),
            ("app.handler", {"app.mjs": module}, "/app.mjs"),
            ("app.handler", {"app.js": module, **package}, "k/app.js"),
            ("app.handler", {"app.js": commonjs, "app.mjs": module}, "k/app.js"),
            ("app.handler", {"app.cjs": commonjs, "app.mjs": module}, "/app.mjs"),
            ("dir/app.handler", {"dir/app.js": commonjs}, "r/app.js"),
            ("dir/sub/app.handler", {"dir/sub/app.mjs": module}, "/app.mjs"),
            ("dir/app.handler", {"dir/app.js": module, "dir/package.json": '{"type": "module"}'}, "r/app.js"),
            ("dir/app.handler", {"dir/app.js": commonjs, "dir/package.json": "{}", **package}, "r/app.js"),
            ("app.handler", {"node_modules/app/index.js": commonjs}, "/index.js"),
        ]
        for kind in KINDS:
            for handler, files, expected in cases:
                with self.subTest(handler + " " + " ".join(files)):
                    # The path of a task root ends with any letter.
                    pattern = re.compile(re.escape(expected[1:]) + "$")
                    self.check(None, response=pattern, files=files, env={"_HANDLER": handler}, kind=kind)

    def test_nested_exports(self):
        code = "exports.a = {b: {c: async () => 'nested'}}"
        self.check(code, response="nested", env={"_HANDLER": "app.a.b.c"})
        self.check(code, response="nested", env={"_HANDLER": "app.a.b.c"}, kind=MODERN)

    def test_default_export(self):
        code = "export default {handler: async () => 'default'}"
        self.check(None, response="default", files={"app.mjs": code}, kind=MODERN)

    def test_waits_for_top_level_await(self):
        code = "const x = await new Promise(r => setTimeout(r, 5, 'later')); export const handler = async () => x"
        self.check(None, response="later", files={"app.mjs": code})

    def test_node_path(self):
        files = {"app.js": "exports.handler = async () => require('layered')", "opt/node_modules/layered.js": "module.exports = 'layer'"}
        self.check(None, response="layer", files=files, env={"NODE_PATH": "{task}/opt/node_modules"})

    def test_entry_of_the_other_name(self):
        if OTHER:
            self.skipTest("of this client only")
        command = NODE + [os.path.join(RUNTIME, "bootstrap.mjs")]
        result = run(command, {"app.js": "exports.handler = async () => 1"}, [invocation({})], CLASSIC)
        self.assertEqual(result.posts[0].json(), 1)

    def test_faults(self):
        cases = [
            ("missing.handler", "", "Runtime.ImportModuleError", re.compile("^Error: Cannot find module 'missing'\nRequire stack:")),
            ("app.handler", "require('missing')", "Runtime.ImportModuleError", re.compile("^Error: Cannot find module 'missing'")),
            ("app.missing", "", "Runtime.HandlerNotFound", "app.missing is undefined or not exported"),
            ("app.handler", "exports.handler = 1", "Runtime.HandlerNotFound", "app.handler is not a function"),
            ("app", "", "Runtime.MalformedHandlerName", "Bad handler"),
            (
                "../app.handler",
                "",
                "Runtime.MalformedHandlerName",
                "'../app.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names.",
            ),
            ("app.handler", "exports.handler = {", "Runtime.UserCodeSyntaxError", re.compile("^SyntaxError: Unexpected end of input$")),
            ("app.handler", "throw new TypeError('at init')", "TypeError", "at init"),
        ]
        for kind, title, status in [(CLASSIC, "Uncaught Exception", 129), (MODERN, "Init Error", 1)]:
            if kind not in KINDS:
                continue
            for handler, code, type_, message in cases:
                with self.subTest(type_ + " " + code):
                    headers = {"Lambda-Runtime-Function-Error-Type": type_, "Content-Type": "application/json"}
                    options = {"env": {"_HANDLER": handler}, "exit_code": status, "headers": headers, "kind": kind}
                    result = self.check(code, init_error=error(type_, message), **options)
                    self.assertRegex(result.stdout, r'(?m)^%s\t(undefined|-)\tERROR\t%s \t\{"errorType":"%s"' % (TIME, title, type_))

    def test_rejection_and_exception_at_init(self):
        wait = "; setTimeout(() => {}, 1000); exports.handler = async () => {}"
        cases = [
            ("Promise.reject(new Error('r'))", 128, "Runtime.UnhandledPromiseRejection", "Error: r"),
            ("process.nextTick(() => { throw new Error('e') })", 129, "Error", "e"),
        ]
        for code, status, kind, message in cases:
            with self.subTest(code):
                result = self.check("await_ = 1; " + code + wait, exit_code=status)
                self.assertTrue(matches(error(kind, message, result.posts[0].json()["trace"]), result.posts[0].json()))


class Responses(Case):
    def test_values(self):
        cases = [
            ("event", '{"a":[1,2.5,null,true,"é"]}'),
            ("undefined", "null"),
            ("null", "null"),
            ("'text'", '"text"'),
            ("new Date(0)", '"1970-01-01T00:00:00.000Z"'),
            ("{a: undefined, b: NaN}", '{"b":null}'),
        ]
        for kind in KINDS:
            for value, expected in cases:
                with self.subTest(value):
                    events = [invocation({"a": [1, 2.5, None, True, "é"]})]
                    self.check("exports.handler = async (event) => (%s)" % value, text=expected, events=events, kind=kind)

    def test_not_serialisable(self):
        for code in ("const a = {}; a.a = a; return a", "return 1n"):
            source = "exports.handler = async () => { %s }" % code
            self.check(source, error=error("Error", "Unable to stringify response body"))
            self.check(source, error=error("Runtime.JSONStringifyError", "Unable to stringify response body"), kind=MODERN)

    def test_many(self):
        code = "const n = []; exports.handler = async (event) => { n.push(event); return n }"
        for kind in KINDS:
            result = self.check(code, response=[0, 1, 2, 3], events=[invocation(n) for n in range(4)], kind=kind)
            if not OTHER:
                self.assertEqual(len({post.connection for post in result.posts}), 1)

    def test_large(self):
        code = "exports.handler = async (event) => ({n: event.x.length, y: 'é'.repeat(1500000)})"
        self.check(code, response={"n": 5000000, "y": "é" * 1500000}, events=[invocation({"x": "x" * 5000000})])

    def test_plain_return_value(self):
        self.check("exports.handler = () => 5", text="null")
        self.check("exports.handler = () => 5", response=5, kind=MODERN)

    def test_promise_that_is_never_settled(self):
        code = "exports.handler = (event) => event ? new Promise(() => {}) : Promise.resolve('next')"
        events = [invocation(1), invocation(0)]
        result = self.check(code, response="next", events=events)
        self.assertEqual(result.posts[0].body, b"null")

    def test_promise_that_is_never_settled_modern(self):
        # AWS's client exits without a word.
        result = self.check("exports.handler = () => new Promise(() => {})", exit_code=0, kind=MODERN, ours=True)
        self.assertEqual(result.posts[0].json()["errorType"], "Runtime.NodeJsExit")


class Callbacks(Case):
    def test_completion(self):
        cases = [
            ("callback(null, 1)", 1),
            ("callback(undefined, {a: 1})", {"a": 1}),
            ("context.succeed(2)", 2),
            ("context.done(null, 3)", 3),
            ("setTimeout(() => callback(null, 4), 5)", 4),
            ("callback(null, 5); callback(null, 6)", 5),
            ("context.callbackWaitsForEmptyEventLoop = false; callback(null, 7); setTimeout(() => {}, 5000)", 7),
            ("setTimeout(() => {}, 5000); context.succeed(8)", 8),
            ("context.succeed(9); context.fail(new Error())", 9),
        ]
        for code, expected in cases:
            with self.subTest(code):
                self.check("exports.handler = (event, context, callback) => { %s }" % code, response=expected)

    def test_waits_for_an_empty_loop(self):
        code = "exports.handler = (event, context, callback) => { setTimeout(() => console.log('late'), 20); callback(null, 1) }"
        result = self.check(code, response=1, events=[invocation(1), invocation(2)])
        self.assertEqual(result.stdout.count("late"), 2)
        code = code.replace("callback(null", "context.callbackWaitsForEmptyEventLoop = false; callback(null")
        self.assertEqual(self.check(code, response=1).stdout, "")

    def test_errors(self):
        cases = [
            ("callback(new TypeError('e'))", "TypeError", "e"),
            ("callback('text')", "string", "text"),
            ("context.fail(new Error('f'))", "Error", "f"),
            ("context.fail()", "string", "handled"),
            ("context.done('d')", "string", "d"),
            ("throw new RangeError('t')", "RangeError", "t"),
            ("callback({})", "object", "[object Object]"),
        ]
        for code, kind, message in cases:
            with self.subTest(code):
                self.check("exports.handler = (event, context, callback) => { %s }" % code, error=error(kind, message))

    def test_no_answer(self):
        self.check("exports.handler = (event, context, callback) => {}", text="null")

    def test_refused_from_node_24_on(self):
        message = re.compile("^ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24.")
        code = "exports.handler = (event, context, callback) => callback(null, 1)"
        self.check(code, init_error=error("Runtime.CallbackHandlerDeprecated", message), exit_code=1, kind=MODERN)


class Errors(Case):
    def test_rejections(self):
        cases = [
            ("throw new TypeError('no')", "TypeError", "no"),
            ("class E extends Error { constructor() { super('m'); this.name = 'Mine' } }; throw new E()", "Mine", "m"),
            ("throw 'text'", "string", "text"),
            ("throw new Error('del\\x7f')", "Error", "del%7F"),
            ("throw new Error('h\\u00e9')", "Error", "hé"),
            ("null.x", "TypeError", "Cannot read properties of null (reading 'x')"),
        ]
        for kind in KINDS:
            for code, type_, message in cases:
                with self.subTest(code):
                    result = self.check("exports.handler = async () => { %s }" % code, error=error(type_, message), kind=kind)
                    self.assertIn("Invoke Error \t", result.stdout)
                    self.assertNotIn("lambda-runtime-function-error-type", result.posts[0].headers)

    def test_nothing_rejected(self):
        self.check("exports.handler = () => Promise.reject()", error=error("string", "handled"))

    def test_trace_and_cause(self):
        code = "function deep() { throw new TypeError('no') }\nexports.handler = async () => deep()"
        for kind in KINDS:
            result = self.check(code, error=error("TypeError", "no"), kind=kind)
            trace = result.posts[0].json()["trace"]
            self.assertEqual(trace[0], "TypeError: no")
            self.assertRegex(trace[1], r"^    at deep \({task}/app.js:1:25\)$")
            self.assertFalse([line for line in trace if "Socket" in line], trace)
            cause = json.loads(result.posts[0].headers["lambda-runtime-function-xray-error-cause"])
            first = {"path": re.compile("/app.js$"), "line": 1, "label": "deep"}
            self.assertTrue(matches(first, cause["exceptions"][0]["stack"][0]), cause)

    def test_goes_on_afterwards(self):
        code = "exports.handler = async (event) => { if (event) throw new Error(); return 'fine' }"
        for kind in KINDS:
            self.check(code, response="fine", events=[invocation(1), invocation(0)], kind=kind)

    def test_uncaught(self):
        cases = [
            ("setTimeout(() => { throw new TypeError('late') }, 1)", 129, "TypeError", "late", "Uncaught Exception"),
            ("Promise.reject(new Error('lost'))", 128, "Runtime.UnhandledPromiseRejection", "Error: lost", "Unhandled Promise Rejection"),
            ("Promise.reject('text')", 128, "Runtime.UnhandledPromiseRejection", "text", "Unhandled Promise Rejection"),
        ]
        for kind in KINDS:
            for code, status, type_, message, title in cases:
                with self.subTest(code):
                    source = "exports.handler = async () => { %s; await new Promise(r => setTimeout(r, 3000)) }" % code
                    # AWS's client of Node 24 leaves these to Node, which exits with 1 and reports nothing.
                    result = self.check(source, error=error(type_, message), exit_code=status, kind=kind, ours=kind is MODERN)
                    self.assertIn("\tERROR\t%s \t{" % title, result.stdout)

    def test_exits(self):
        for code, status in [("process.exit(3)", 3), ("process.exit()", 0), ("process.kill(process.pid, 'SIGKILL')", -9)]:
            with self.subTest(code):
                result = self.check("exports.handler = async () => { console.log('said'); %s }" % code, exit_code=status)
                self.assertIn("said", result.stdout)
                self.assertEqual(result.posts, [])

    def test_refused_response_is_survived(self):
        result = self.check("exports.handler = async (e) => e", events=[invocation(1), invocation(2)], statuses={"response": 413})
        self.assertEqual([post.body for post in result.posts], [b"1", b"2"])

    def test_refused_next_ends_the_process(self):
        self.check("exports.handler = async () => 1", statuses={"next": 500}, exit_code=129, ours=True)

    def test_event_is_not_json(self):
        self.check("exports.handler = async () => 1", error=error("SyntaxError", re.compile("JSON")), events=[invocation(raw=b"[}")])


class Context(Case):
    def test_attributes(self):
        code = "exports.handler = async (event, context) => context"
        expected = {
            "functionVersion": "$LATEST",
            "functionName": "f",
            "memoryLimitInMB": "128",
            "logGroupName": "/aws/lambda/f",
            "logStreamName": "2026/01/01/[$LATEST]0",
            "invokedFunctionArn": ARN,
            "awsRequestId": REQUEST_ID,
        }
        self.check(code, response={"callbackWaitsForEmptyEventLoop": True, **expected})
        self.check(code, response={"xRayTraceId": "Root=1-2-3;Parent=4;Sampled=1", **expected}, kind=MODERN)

    def test_optional_attributes(self):
        code = "exports.handler = async (event, {clientContext, identity, tenantId}) => [clientContext, identity, tenantId]"
        given = {
            "Lambda_Runtime_Client_Context": '{"custom":{"a":"b"}}',
            "Lambda_Runtime_Cognito_Identity": '{"cognitoIdentityId":"c"}',
            "Lambda_Runtime_Aws_Tenant_Id": "t",
        }
        for kind in KINDS:
            self.check(code, response=[None, None, None], kind=kind)
            self.check(code, response=[{"custom": {"a": "b"}}, {"cognitoIdentityId": "c"}, "t"], events=[invocation({}, **given)], kind=kind)

    def test_bad_client_context(self):
        events = [invocation({}, Lambda_Runtime_Client_Context="{")]
        self.check("exports.handler = async () => 1", error=error("Error", re.compile("^Cannot parse ClientContext as json")), events=events)

    def test_remaining_time(self):
        code = "exports.handler = async (e, c) => { const t = c.getRemainingTimeInMillis(); return 0 < t && t <= %d }" % REMAINING_MS
        self.check(code, response=True)

    def test_trace_id(self):
        code = "exports.handler = async () => process.env._X_AMZN_TRACE_ID"
        self.check(code, response="Root=1-2-3;Parent=4;Sampled=1")
        self.check(code, text="null", events=[invocation({}), invocation({}, Lambda_Runtime_Trace_Id=None)])

    def test_invoke_store(self):
        code = "exports.handler = async () => { const s = awslambda.InvokeStore; return [s.getRequestId(), s.getXRayTraceId(), s.hasContext()] }"
        self.check(code, response=[REQUEST_ID, "Root=1-2-3;Parent=4;Sampled=1", True], kind=MODERN)

    def test_no_globals(self):
        self.check("exports.handler = async () => typeof awslambda", response="undefined", env={"AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA": "1"})

    def test_invocation_id_is_echoed(self):
        events = [invocation({}, Lambda_Runtime_Invocation_Id="attempt")]
        stream = "exports.handler = awslambda.streamifyResponse(async (e, s) => { s.end('x') })"
        for code in ("exports.handler = async () => 1", "exports.handler = async () => { throw 1 }", stream):
            # AWS's published clients do not know it yet.
            result = self.check(code, events=events, ours=True)
            self.assertEqual(result.posts[0].headers.get("lambda-runtime-invocation-id"), "attempt")


class Logs(Case):
    LEVELS = "trace debug info log warn error fatal"

    def test_text(self):
        code = "exports.handler = async () => { for (const n of '%s'.split(' ')) console[n]('%%s\\n%%j', n, {a: 1}) }" % self.LEVELS
        names = "TRACE DEBUG INFO INFO WARN ERROR FATAL".split()
        lines = [r"%s\t%s\t%s\t%s\r\{\"a\":1\}\n" % (TIME, REQUEST_ID, name, call) for name, call in zip(names, self.LEVELS.split())]
        for kind in KINDS:
            self.check(code, stdout=re.compile("^" + "".join(lines) + "$"), kind=kind)

    def test_during_init(self):
        code = "console.log('i'); exports.handler = async () => 1"
        self.check(code, stdout=re.compile(r"\tundefined\tINFO\ti\n$"))
        self.check(code, stdout=re.compile(r"\t-\tINFO\ti\n$"), kind=MODERN)

    def test_level(self):
        code = "exports.handler = async () => { for (const n of '%s'.split(' ')) console[n](n) }" % self.LEVELS
        for level, expected in [("WARN", "WARN ERROR FATAL"), ("fatal", "FATAL"), ("INFO", "INFO INFO WARN ERROR FATAL")]:
            with self.subTest(level):
                result = self.check(code, env={"AWS_LAMBDA_LOG_LEVEL": level, "AWS_LAMBDA_LOG_FORMAT": "JSON"})
                self.assertEqual([json.loads(line)["level"] for line in result.stdout.splitlines()], expected.split())

    def test_json(self):
        stack = ["Error: e"] + ["any"]
        cases = [
            ("console.log('a')", {"level": "INFO", "message": "a"}),
            ("console.log({a: [1]})", {"level": "INFO", "message": {"a": [1]}}),
            ("console.warn('a %s', 1)", {"level": "WARN", "message": "a 1"}),
            ("const c = {}; c.c = c; console.error(c)", {"level": "ERROR", "message": re.compile(r"<ref \*1> \{ c: \[Circular \*1\] \}")}),
            ("console.error(new RangeError('e'))", {"level": "ERROR", "message": {"errorType": "RangeError", "errorMessage": "e", "stackTrace": stack}}),
            (
                "console.error('x', new Error('e'))",
                {"level": "ERROR", "message": re.compile("^x Error: e"), "errorType": "Error", "errorMessage": "e", "stackTrace": stack},
            ),
        ]
        for kind in KINDS:
            for code, expected in cases:
                with self.subTest(code):
                    source = "exports.handler = async () => { %s }" % code
                    result = self.check(source, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}, kind=kind)
                    record = json.loads(result.stdout)
                    for holder, wanted in ((record, expected), (record["message"], expected["message"])):
                        if isinstance(wanted, dict) and "stackTrace" in wanted:
                            self.assertRegex(holder["stackTrace"][0], "Error: e$")
                            wanted["stackTrace"] = holder["stackTrace"]
                    wanted = {"timestamp": re.compile("^" + TIME + "$"), "requestId": REQUEST_ID, **expected}
                    self.assertTrue(matches(wanted, record), record)
                    for wanted in (expected, expected["message"]):
                        if isinstance(wanted, dict) and "stackTrace" in wanted:
                            wanted["stackTrace"] = stack

    def test_json_error(self):
        result = self.check("exports.handler = async () => { throw new TypeError('no') }", env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
        record = json.loads(result.stdout)
        self.assertEqual((record["level"], record["message"]["errorType"], record["message"]["errorMessage"]), ("ERROR", "TypeError", "no"))

    def test_tenant(self):
        events = [invocation({}, Lambda_Runtime_Aws_Tenant_Id="t")]
        result = self.check("exports.handler = async () => { console.log(1) }", env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}, events=events)
        self.assertEqual(json.loads(result.stdout)["tenantId"], "t")

    def test_frames(self):
        code = "exports.handler = async () => { process.stdout.write('out\\n'); console.log('a\\nb'); console.error('c'); return process.env._LAMBDA_TELEMETRY_LOG_FD }"
        for env, kinds, end in [({}, [0xA55A000F, 0xA55A0017], "\n"), ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, [0xA55A000E, 0xA55A0016], "}")]:
            result = self.check(code, text="null", stdout="out\n", framed=True, env=env)
            self.assertEqual([kind for kind, _ in result.frames], kinds)
            self.assertTrue(all(text.endswith(end) for _, text in result.frames), result.frames)
        self.assertIn('"message":"a\\nb"', result.frames[0][1])

    def test_much_output_is_written_before_the_response(self):
        code = "exports.handler = async () => { process.stdout.write(''); for (let i = 0; i < 3000; i++) console.log('x'.repeat(100)) ; process.exit(0) }"
        result = self.check(code, exit_code=0)
        self.assertEqual(result.stdout.count("\n"), 3000)


class Streaming(Case):
    def stream(self, body, **options):
        code = "exports.handler = awslambda.streamifyResponse(async (event, stream, context) => { %s })" % body
        return self.check(code, **options)

    def test_chunks(self):
        body = "stream.write('a'); stream.write(Buffer.from('b')); stream.write({c: 1}); await new Promise(r => setTimeout(r, 5)); stream.end()"
        for kind in KINDS:
            result = self.stream(body, text='ab{"c":1}', kind=kind)
            post = result.posts[0]
            self.assertEqual(post.headers["lambda-runtime-function-response-mode"], "streaming")
            self.assertEqual(post.headers["content-type"], "application/octet-stream")
            self.assertEqual(post.trailers, {})

    def test_many(self):
        for kind in KINDS:
            result = self.stream("stream.write('n' + event); stream.end()", text="n3", events=[invocation(n) for n in range(4)], kind=kind)
            self.assertEqual([post.body for post in result.posts], [b"n0", b"n1", b"n2", b"n3"])

    def test_end_with_data(self):
        self.stream("stream.end('all')", text="all")
        self.stream("stream.end()", text="")

    def test_content_type(self):
        result = self.stream("stream.setContentType('text/html'); stream.write('x'); stream.end()", text="x")
        self.assertEqual(result.posts[0].headers["content-type"], "text/html")

    def test_content_type_too_late(self):
        body = "stream.write('x'); try { stream.setContentType('a/b') } catch (e) { stream.write(e.name) } stream.end()"
        self.stream(body, text="xRuntime.InvalidStreamingOperation")

    def test_prelude(self):
        body = "stream = awslambda.HttpResponseStream.from(stream, {statusCode: 201, headers: {a: 'b'}}); stream.write('body'); stream.end()"
        for kind in KINDS:
            text = '{"statusCode":201,"headers":{"a":"b"}}' + "\0" * 8 + "body"
            result = self.stream(body, text=text, kind=kind)
            self.assertEqual(result.posts[0].headers["content-type"], "application/vnd.awslambda.http-integration-response")

    def test_prelude_without_write(self):
        # AWS's clients then lose it.
        body = "stream = awslambda.HttpResponseStream.from(stream, {statusCode: 204}); stream.end(%s)"
        self.stream(body % "", text='{"statusCode":204}' + "\0" * 8, ours=True)
        self.stream(body % "'x'", text='{"statusCode":204}' + "\0" * 8 + "x", ours=True)

    def test_pipeline(self):
        body = "const {pipeline} = require('stream/promises'); const {Readable} = require('stream'); await pipeline(Readable.from(['p', 'q'.repeat(100000)]), stream)"
        for kind in KINDS:
            # AWS's clients give an object that `pipeline` of newer versions of Node does not take.
            self.stream(body, text="p" + "q" * 100000, kind=kind, ours=True)

    def test_large_with_back_pressure(self):
        body = "for (let i = 0; i < 64; i++) if (!stream.write('z'.repeat(100000))) await new Promise(r => stream.once('drain', r)); stream.end()"
        self.stream(body, text="z" * 6400000)

    def test_errors(self):
        cases = [
            ("stream.write('begun'); throw new TypeError('mid')", "begun", "TypeError", "mid"),
            ("throw new TypeError('before')", "", "TypeError", "before"),
        ]
        for kind in KINDS:
            for body, text, type_, message in cases:
                with self.subTest(body):
                    result = self.stream(body, text=text, kind=kind)
                    trailers = result.posts[0].trailers
                    self.assertEqual(trailers["lambda-runtime-function-error-type"], type_)
                    told = json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"]))
                    self.assertEqual((told["errorType"], told["errorMessage"]), (type_, message))
                    self.assertIn("Invoke Error", result.stdout)

    def test_destroyed(self):
        pipeline = "const {pipeline} = require('stream/promises'); const {Readable} = require('stream');"
        source = "async function* source() { yield 'begun'; await new Promise(r => setTimeout(r, 5)); throw new TypeError('source') }"
        cases = [
            (pipeline + source + "; await pipeline(Readable.from(source()), stream)", "begun", "source"),
            ("stream.write('begun'); await new Promise(r => setTimeout(r, 5)); stream.destroy(new TypeError('self'))", "begun", "self"),
            ("stream.destroy(new TypeError('at once'))", "", "at once"),
        ]
        for kind in KINDS:
            for body, text, message in cases:
                with self.subTest(message):
                    # AWS's clients cut the connection.
                    events = [invocation(1), invocation(0)]
                    result = self.stream("if (!event) { stream.end('fine'); return }" + body, text="fine", events=events, kind=kind, ours=True)
                    self.assertEqual(result.posts[0].body.decode(), text)
                    told = json.loads(base64.b64decode(result.posts[0].trailers["lambda-runtime-function-error-body"]))
                    self.assertEqual(told["errorMessage"], message)

    def test_fails_after_its_end(self):
        for kind in KINDS:
            self.stream("stream.end('x' + event); throw new Error('late')", text="x2", events=[invocation(1), invocation(2)], kind=kind)

    def test_goes_on_afterwards(self):
        body = "if (event) { stream.write('a'); throw new Error('e') } stream.end('fine')"
        for kind in KINDS:
            self.stream(body, text="fine", events=[invocation(1), invocation(0)], kind=kind)

    def test_not_a_promise(self):
        code = "exports.handler = awslambda.streamifyResponse((event, stream) => { stream.write('x') })"
        result = self.check(code, text="x")
        told = json.loads(base64.b64decode(result.posts[0].trailers["lambda-runtime-function-error-body"]))
        self.assertEqual(told["errorMessage"], "Streaming does not support non-async handlers.")

    def test_return_value_is_ignored(self):
        result = self.stream("stream.end('x'); return 5", text="x")
        self.assertIn("WARN\tStreaming handlers ignore return values.", result.stdout)


class Api(Case):
    def test_manners(self):
        for manner in ("split", "chunked", "close"):
            for kind in KINDS:
                with self.subTest(manner):
                    size = 70000 if manner != "split" else 300
                    events = [invocation({"n": "é" * 100}), invocation("x" * size)]
                    self.check("exports.handler = async (e) => e", response="x" * size, events=events, manner=manner, kind=kind, ours=True)


if __name__ == "__main__":
    unittest.main()
