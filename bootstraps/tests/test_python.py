"""The Python client, driven as a process. `COLDFRAME_TEST_PYTHON` chooses the interpreter and its flags.

`COLDFRAME_TEST_PYTHON_CLIENT` is a command that runs another client instead, with `{handler}` where it wants the handler's
name: so the same table can be held against AWS's. Cases marked `ours` are left out then; each says what it does otherwise.
"""

import os
import re
import sys
import unittest

from harness import ARN, BOOTSTRAPS, REMAINING_MS, REQUEST_ID, invocation, matches, run, setting

RUNTIME = os.path.join(BOOTSTRAPS, "python")
OTHER = setting("COLDFRAME_TEST_PYTHON_CLIENT", "")
COMMAND = OTHER or setting("COLDFRAME_TEST_PYTHON", sys.executable) + [os.path.join(RUNTIME, "bootstrap.py")]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NBSP = "\u00a0"


def handler(*lines):
    """A function whose handler has these lines; those before `--` stand above it."""
    above, below = (lines[: lines.index("--")], lines[lines.index("--") + 1 :]) if "--" in lines else ((), lines)
    return "\n".join(above + ("def handler(event, context):",) + tuple("    " + line for line in below)) + "\n"


def error(kind, message, stack, request_id=REQUEST_ID):
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": stack}


def frame(line, name, code):
    return '  File "{task}/app.py", line %d, in %s\n    %s\n' % (line, name, code)


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
        **options,
    ):
        """Runs `code` with `events` and compares the last thing it posted, its log and its exit."""
        if ours and OTHER:
            self.skipTest("another client does this otherwise")
        variables = {"LAMBDA_RUNTIME_DIR": RUNTIME}
        variables.update(env or {})
        everything = dict(files or {}) if code is None else {"app.py": code, **(files or {})}
        result = run(COMMAND, everything, events or [invocation({})], variables, **options)
        said = "\nstdout: %s\nstderr: %s\nposts: %s" % (
            result.stdout,
            result.stderr,
            [(post.path, post.body[:500]) for post in result.posts],
        )
        expected = [("response", response), ("error", error), ("init/error", init_error)]
        path, body = next((item for item in expected if item[1] is not None), (None, None))
        if path is not None:
            self.assertTrue(result.posts, said)
            post = result.posts[-1]
            self.assertTrue(post.path.endswith(path), said)
            self.assertTrue(matches(body, post.json()), "expected %r%s" % (body, said))
            for name, value in (headers or {}).items():
                self.assertTrue(matches(value, post.headers.get(name.lower())), "%s: %r%s" % (name, post.headers, said))
        if text is not None:
            self.assertEqual(result.posts[-1].body.decode(), text, said)
        if stdout is not None:
            self.assertTrue(matches(stdout, result.stdout), "expected %r%s" % (stdout, said))
        self.assertEqual(result.exit_code, exit_code, said)
        return result


class Responses(Case):
    def test_values(self):
        decimal = "from decimal import Decimal"
        named = ("from collections import namedtuple", "P = namedtuple('P', 'x y')")
        keyed = ("class K:", "    def _asdict(self): return {'k': 1}")
        cases = [
            ((), "event", '{"a": [1, 2.5, null, true, "x"]}'),
            ((), "None", "null"),
            ((), "'text'", '"text"'),
            ((), "(1, (2,))", "[1, [2]]"),
            ((), "{1: 'a', None: 'b', True: 'c', 2.5: 'd'}", '{"1": "c", "null": "b", "2.5": "d"}'),
            ((), "[float('nan'), float('inf'), -float('inf')]", "[NaN, Infinity, -Infinity]"),
            ((), "2 ** 80", "1208925819614629174706176"),
            ((), "'\\x00\\x1f\\\"\\\\/\\b\\n\\x7f'", '"\\u0000\\u001f\\"\\\\/\\b\\n\\u007f"'),
            ((), "{'b': b'bytes'}", '{"b": "bytes"}'),
            ((), "{b'k': [{b'l': 1}]}", '{"k": [{"l": 1}]}'),
            ((decimal,), "{'d': [Decimal('1.10'), Decimal('1E+2')], 'n': Decimal('NaN')}", '{"d": [1.10, 1E+2], "n": NaN}'),
            ((decimal,), "[Decimal('0.1'), 'h\\u00e9\"', 1]", '[0.1, "h\\u00e9\\"", 1]'),
            (named, "{'p': [P(1, P(2, 3))]}", '{"p": [{"x": 1, "y": {"x": 2, "y": 3}}]}'),
            (keyed, "[K()]", '[{"k": 1}]'),
        ]
        for above, value, expected in cases:
            with self.subTest(value):
                code = handler(*above, "--", "return " + value)
                events = [invocation({"a": [1, 2.5, None, True, "x"]})]
                self.check(code, text=expected, events=events, env={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"})

    def test_ascii(self):
        for runtime, expected in [("3.8", '"h\\u00e9 \\ud83d\\ude00"'), ("3.12", '"hé 😀"'), ("3.14", '"hé 😀"')]:
            with self.subTest(runtime):
                env = {"AWS_EXECUTION_ENV": "AWS_Lambda_python" + runtime}
                self.check(handler("return 'h\\u00e9 \\U0001f600'"), text=expected, env=env)

    def test_bytes_are_passed_on(self):
        result = self.check(handler("return b'\\x01raw'"), text="\x01raw")
        self.assertEqual(result.posts[0].headers["content-type"], "application/unknown")

    def test_content_type(self):
        self.check(handler("return 1"), response=1, headers={"Content-Type": "application/json"})

    def test_marshal_errors(self):
        cases = [
            ("set()", "Object of type set is not JSON serializable"),
            ("{'a': object()}", "Object of type object is not JSON serializable"),
            ("{'a': b'\\xff'}", re.compile("'utf-?8' codec can't decode byte 0xff in position 0: invalid start byte")),
            ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ]
        for value, reason in cases:
            with self.subTest(value):
                prefix = "Unable to marshal response: "
                message = prefix + reason if isinstance(reason, str) else reason
                self.check(handler("return " + value), error=error("Runtime.MarshalError", message, []))
        code = handler("a = []", "a.append(a)", "return a")
        self.check(code, error=error("Runtime.MarshalError", "Unable to marshal response: Circular reference detected", []))

    def test_large(self):
        code = handler("return {'n': len(event['x']), 'y': 'y' * 3000000}")
        self.check(code, response={"n": 5000000, "y": "y" * 3000000}, events=[invocation({"x": "x" * 5000000})])


class Events(Case):
    def test_not_json(self):
        message = re.compile("^Unable to unmarshal input: Expecting value: line 1 column 2")
        self.check(handler("return 1"), error=error("Runtime.UnmarshalError", message, []), events=[invocation(raw=b"[}")])

    def test_white_space_around(self):
        self.check(handler("return event"), response={"a": 1}, events=[invocation(raw=b' \n{"a": 1}\r\n\t ')])

    def test_rest_after_the_value(self):
        message = re.compile("^Unable to unmarshal input: Extra data: line 1 column 3")
        self.check(handler("return 1"), error=error("Runtime.UnmarshalError", message, []), events=[invocation(raw=b"1 2")])

    def test_other_content_type_is_bytes(self):
        code = handler("return [type(event).__name__, event.decode()]")
        events = [invocation(raw=b"<a/>", Content_Type="text/xml")]
        self.check(code, response=["bytes", "<a/>"], events=events)

    def test_many(self):
        code = handler("n.append(event)", "return n").replace("def", "n = []\ndef", 1)
        result = self.check(code, response=[0, 1, 2, 3], events=[invocation(n) for n in range(4)])
        self.assertEqual(len({post.connection for post in result.posts}), 1)


class Context(Case):
    ATTRIBUTES = (
        "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb function_version invoked_function_arn "
        "client_context tenant_id"
    )

    def test_attributes(self):
        code = handler("return [[getattr(context, n) for n in '%s'.split()], repr(context.identity)]" % self.ATTRIBUTES)
        expected = [
            [REQUEST_ID, "/aws/lambda/f", "2026/01/01/[$LATEST]0", "f", "128", "$LATEST", ARN, None, None],
            "CognitoIdentity([cognito_identity_id=None,cognito_identity_pool_id=None])",
        ]
        self.check(code, response=expected)

    def test_client_context_and_identity(self):
        client = '{"custom":{"a":"é"},"env":{"e":1},"client":{"installation_id":"i","app_title":"t"},"w3c":{"traceparent":"00","x":"y"}}'
        events = [
            invocation(
                {},
                Lambda_Runtime_Client_Context=client,
                Lambda_Runtime_Cognito_Identity='{"cognitoIdentityId":"c","cognitoIdentityPoolId":"p"}',
                Lambda_Runtime_Aws_Tenant_Id="tenant",
            )
        ]
        code = handler(
            "c = context.client_context",
            "i = context.identity",
            "return [c.custom, c.env, c.client.installation_id, c.client.app_title, c.client.app_version_name,",
            "        i.cognito_identity_id, i.cognito_identity_pool_id, context.tenant_id, type(c.client).__name__]",
        )
        self.check(code, response=[{"a": "é"}, {"e": 1}, "i", "t", None, "c", "p", "tenant", "Client"], events=events)
        self.check(handler("return context.w3c()"), response={"traceparent": "00"}, events=events)

    def test_bad_client_context(self):
        message = re.compile("^Unable to parse Client Context JSON: Expecting property name")
        events = [invocation({}, Lambda_Runtime_Client_Context="{")]
        self.check(handler("return 1"), error=error("Runtime.LambdaContextUnmarshalError", message, []), events=events)

    def test_remaining_time(self):
        code = handler("return 0 < context.get_remaining_time_in_millis() <= %d" % REMAINING_MS)
        self.check(code, response=True)
        events = [invocation({}, Lambda_Runtime_Deadline_Ms="1")]
        self.check(handler("return context.get_remaining_time_in_millis()"), response=0, events=events)

    def test_log(self):
        for above in ([], ["import logging", "--"]):
            self.check(handler(*above, "context.log('a')", "context.log(1)"), stdout="a1")

    def test_trace_id(self):
        late = "import os; return os.environ.get('_X_AMZN_TRACE_ID')"
        first = "Root=1-2-3;Parent=4;Sampled=1"
        self.check(handler(late), response=first)
        self.check(handler("import os", "--", "return os.environ.get('_X_AMZN_TRACE_ID')"), response=first)
        self.check(handler(late), response=None, text="null", events=[invocation({}), invocation({}, Lambda_Runtime_Trace_Id=None)])
        child = "import subprocess; return subprocess.check_output('echo $_X_AMZN_TRACE_ID', shell=True).decode()"
        self.check(handler(child), response=first + "\n")


class Errors(Case):
    def test_raised(self):
        code = handler("boom()").replace("def", "def boom():\n    raise ValueError('no')\ndef", 1)
        stack = [frame(4, "handler", "boom()"), frame(2, "boom", "raise ValueError('no')")]
        lines = ["[ERROR] ValueError: no", "Traceback (most recent call last):"]
        for element in stack:
            for line in element.splitlines():
                bare = line.lstrip()
                lines.append(NBSP * (len(line) - len(bare)) + bare)
        log = "\r".join(lines) + "\n"
        cause = re.compile(r'"exceptions": ?\[\{.*"type": ?"ValueError"')
        result = self.check(
            code,
            error=error("ValueError", "no", stack),
            stdout=log,
            headers={"Lambda-Runtime-Function-XRay-Error-Cause": cause, "Content-Type": "application/json"},
        )
        self.assertNotIn("lambda-runtime-function-error-type", result.posts[0].headers)

    def test_forms(self):
        cases = [
            ("raise Exception()", "Exception", ""),
            ("raise KeyError('k')", "KeyError", "'k'"),
            ("class E(Exception): pass\n    raise E('a\\nb')", "E", "a\nb"),
            ("1 / 0", "ZeroDivisionError", "division by zero"),
        ]
        for code, kind, message in cases:
            with self.subTest(code):
                line = 2 + code.count("\n")
                stack = [frame(line, "handler", code.split("\n")[-1].strip())]
                self.check(handler(code), error=error(kind, message, stack))

    def test_repeated_frames(self):
        code = "def f(n):\n    if n: return f(n - 1)\n    1 / 0\ndef handler(event, context):\n    f(20)\n"
        result = self.check(code, error=error("ZeroDivisionError", "division by zero", [re.compile(".")] * 6))
        self.assertRegex(result.posts[0].json()["stackTrace"][4], r"\[Previous line repeated \d+ more times\]")

    def test_handler_of_no_arguments(self):
        result = self.check(
            "def handler():\n    pass\n",
            error=error("TypeError", re.compile(r"^handler\(\) takes 0 positional arguments"), [re.compile("in ")]),
        )
        self.assertIn("handler(event", result.posts[0].json()["stackTrace"][0])

    def test_goes_on_afterwards(self):
        code = handler("if event: raise Exception('e')", "return 'fine'")
        result = self.check(code, response="fine", events=[invocation(1), invocation(0)])
        self.assertEqual([post.path.rpartition("/")[2] for post in result.posts], ["error", "response"])

    def test_unicode(self):
        code = handler("raise ValueError('h\\u00e9\\x7f\\u2028')")
        env = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}
        stack = [frame(2, "handler", "raise ValueError('h\\u00e9\\x7f\\u2028')")]
        # AWS's client leaves the control character in the header, which a strict server refuses.
        self.check(code, error=error("ValueError", "hé\x7f\u2028", stack), env=env, ours=True)

    def test_exits(self):
        cases = [("sys.exit(3)", 3), ("sys.exit()", 0), ("os._exit(7)", 7), ("raise KeyboardInterrupt", -2), ("os.kill(os.getpid(), 9)", -9)]
        for code, status in cases:
            with self.subTest(code):
                result = self.check(handler("import sys, os", "--", "print('said', flush=True)", code), stdout="said\n", exit_code=status)
                self.assertEqual(result.posts, [])

    def test_json_log(self):
        result = self.check(handler("raise ValueError('no')"), env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}, framed=True)
        (kind, text), = result.frames
        self.assertEqual(kind, 0xA55A0016)
        expected = {"timestamp": re.compile(r"^\d{4}-.*Z$"), "level": "ERROR", **error("ValueError", "no", [re.compile("line 2")])}
        self.assertTrue(matches(expected, __import__("json").loads(text)), text)


class Init(Case):
    def failed(self, kind, message, stack=(), **options):
        body = error(kind, message, list(stack), "")
        headers = {"Lambda-Runtime-Function-Error-Type": kind}
        return self.check(init_error=body, exit_code=1, headers=headers, **options)

    def test_import(self):
        result = self.failed("Runtime.ImportModuleError", "Unable to import module 'app': No module named 'missing'", code="import missing")
        self.assertIn("[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'missing'\rTraceback", result.stdout)

    def test_faults(self):
        cases = [
            ("missing.handler", "Runtime.ImportModuleError", "Unable to import module 'missing': No module named 'missing'"),
            ("app.missing", "Runtime.HandlerNotFound", "Handler 'missing' missing on module 'app'"),
            ("app", "Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
            ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
        ]
        for name, kind, message in cases:
            with self.subTest(name):
                self.failed(kind, message, code=handler("pass"), env={"_HANDLER": name})

    def test_syntax(self):
        message = re.compile(r"^Syntax error in module 'app': .*\(app.py, line 2\)$")
        stack = [re.compile(r'^  File "{task}/app.py" Line 2\n    +x = = 1')]
        self.failed("Runtime.UserCodeSyntaxError", message, stack, code="def f():\n    x = = 1\n")

    def test_raised(self):
        result = self.check("raise ValueError('at init')", exit_code=1, init_error=error("ValueError", "at init", [re.compile(".")], ""), ours=True)
        # AWS's client shows the import machinery's frames before it.
        self.assertEqual(result.posts[0].json()["stackTrace"], [frame(1, "<module>", "raise ValueError('at init')")])

    def test_raised_deeper(self):
        files = {"app.py": "import other", "other.py": "1 / 0"}
        result = self.check(None, exit_code=1, files=files)
        self.assertEqual(result.posts[0].json()["errorType"], "ZeroDivisionError")
        self.assertEqual(result.posts[0].json()["stackTrace"][-1], '  File "{task}/other.py", line 1, in <module>\n    1 / 0\n')

    def test_exit_at_import(self):
        result = self.check("import sys; sys.exit(9)", exit_code=9)
        self.assertEqual(result.posts, [])

    def test_handler_names(self):
        files = {"a/b.py": handler("return __name__"), "a/__init__.py": "", "p/q/r.py": handler("return __name__")}
        for name, expected in [("a/b.handler", "a.b"), ("a.b.handler", "a.b"), ("p/q/r.handler", "p.q.r")]:
            with self.subTest(name):
                self.check(None, response=expected, files=files, env={"_HANDLER": name})


class Surroundings(Case):
    def test_path(self):
        code = handler("import sys", "--", "return sys.path")
        result = self.check(code, env={"PYTHONPATH": "/given:" + RUNTIME}, ours=True)
        path = result.posts[0].json()
        self.assertEqual(path[0], "{task}")
        self.assertLess(path.index("/given"), path.index(RUNTIME))
        self.assertEqual(len(path), len(set(path)), path)
        self.assertTrue(any(entry.endswith("-packages") for entry in path), path)

    def test_without_site(self):
        command = COMMAND[:-1] + ["-S", COMMAND[-1]] if not OTHER else self.skipTest("of this client only")
        files = {
            "app.py": handler("import sys, builtins", "--", "return [sys.flags.no_site, callable(exit), callable(help), builtins.seen, sys.path]"),
            "lib/sitecustomize.py": "import builtins\nbuiltins.seen = 1\n",
        }
        env = {"LAMBDA_RUNTIME_DIR": RUNTIME, "PYTHONPATH": "{task}/lib"}
        body = run(command, files, [invocation({})], env).posts[0].json()
        self.assertEqual(body[:4], [1, True, True, 1])
        self.assertTrue(any(entry.endswith("-packages") for entry in body[4]), body)

    def test_imports_nothing_dear(self):
        dear = "json logging traceback re socket http datetime urllib threading decimal"
        code = "import sys\nseen = [n for n in '%s'.split() if n in sys.modules]\n%s" % (dear, handler("return seen"))
        command = COMMAND[:1] + ["-S"] + COMMAND[-1:] if not OTHER else self.skipTest("of this client only")
        result = run(command, {"app.py": code}, [invocation({})], {"LAMBDA_RUNTIME_DIR": RUNTIME})
        self.assertEqual(result.posts[0].json(), [])

    def test_children(self):
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method):
                code = handler(
                    "import multiprocessing",
                    "def child(pipe): pipe.send('from the child')",
                    "--",
                    "context = multiprocessing.get_context('%s')" % method,
                    "reading, writing = context.Pipe()",
                    "process = context.Process(target=child, args=(writing,))",
                    "process.start()",
                    "said = reading.recv()",
                    "process.join()",
                    "return [said, process.exitcode]",
                )
                self.check(code, response=["from the child", 0])

    def test_signals_while_waiting(self):
        if OTHER:
            self.skipTest("up to Python 3.11, AWS's client waits in C")
        code = handler(
            "import signal, sys",
            "signal.signal(signal.SIGALRM, lambda *_: (print('bye'), sys.exit(5)))",
            "--",
            "signal.setitimer(signal.ITIMER_REAL, 0.05)",
        )
        result = run(COMMAND, {"app.py": code}, [invocation({})], {"LAMBDA_RUNTIME_DIR": RUNTIME}, until_exit=True)
        self.assertEqual((result.stdout, result.exit_code), ("bye\n", 5))

    def test_snapshot_hooks(self):
        code = handler(
            "from snapshot_restore_py import register_before_snapshot, register_after_restore",
            "said = []",
            "register_before_snapshot(said.append, 'second')",
            "register_before_snapshot(said.append, 'first')",
            "@register_after_restore",
            "def third():",
            "    said.append('third')",
            "--",
            "return said",
        )
        result = self.check(code, response=["first", "second", "third"], env={"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, ours=True)
        self.assertEqual([request.path for request in result.requests][:2], ["restore/next", "invocation/next"])

    def test_snapshot_hooks_that_fail(self):
        env = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
        cases = [("before_snapshot", "init/error", "Runtime.BeforeSnapshotError", 64), ("after_restore", "restore/error", "Runtime.AfterRestoreError", 65)]
        for hook, path, kind, status in cases:
            with self.subTest(hook):
                code = handler("import snapshot_restore_py as s", "def bad(): raise ValueError('hook')", "s.register_%s(bad)" % hook, "--", "pass")
                result = self.check(code, env=env, exit_code=status, ours=True)
                self.assertEqual(result.posts[0].path, path)
                self.assertEqual(result.posts[0].headers["lambda-runtime-function-error-type"], kind)
                self.assertEqual(result.posts[0].json()["errorMessage"], "hook")


class Logs(Case):
    LINE = r"^\[%s\]\t" + TIME + r"\t" + REQUEST_ID + r"\t%s\n$"

    def test_text(self):
        for above in (["import logging", "--"], ["import logging"]):
            code = handler(*above, "logging.warning('w %s', 1)", "logging.info('hidden')")
            self.check(code, stdout=re.compile(self.LINE % ("WARNING", "w 1")))

    def test_level(self):
        cases = [("INFO", "[INFO][WARNING]"), ("TRACE", "[DEBUG][INFO][WARNING]"), ("ERROR", ""), ("info", "[INFO][WARNING]")]
        for level, expected in cases:
            with self.subTest(level):
                code = handler("import logging", "--", "for n in 'debug info warning'.split(): getattr(logging, n)(n)")
                result = self.check(code, env={"AWS_LAMBDA_LOG_LEVEL": level})
                self.assertEqual("".join(re.findall(r"^\[[A-Z]+\]", result.stdout, re.M)), expected)

    def test_during_init(self):
        code = "import logging\nlogging.error('e')\n" + handler("pass")
        self.check(code, stdout=re.compile(r"^\[ERROR\]\t" + TIME + r"\t\te\n$"))

    def test_one_handler(self):
        code = handler("import logging, logging.handlers", "--", "return [type(h).__name__ for h in logging.getLogger().handlers]")
        self.check(code, response=["LambdaLoggerHandler"])
        self.check(code, response=["LambdaLoggerHandlerWithFrameType"], env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})

    def test_imported_as_usual(self):
        code = handler("import logging, sys", "--", "l = logging", "return [type(l.__loader__).__name__, l.__spec__.loader is l.__loader__, hasattr(l, '__path__')]")
        result = self.check(code)
        self.assertIn(result.posts[0].json()[0], ("SourceFileLoader", "FrozenImporter"))
        self.assertEqual(result.posts[0].json()[1:], [True, True])

    def json_record(self, code, extra, **options):
        result = self.check(code, env={"AWS_LAMBDA_LOG_FORMAT": "JSON", **options.pop("env", {})}, **options)
        record = __import__("json").loads(result.stdout)
        expected = {"timestamp": re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), "requestId": REQUEST_ID, "logger": "root", **extra}
        self.assertTrue(matches(expected, record), record)

    def test_json(self):
        above = ["import logging", "--"]
        self.json_record(handler(*above, "logging.warning('h\\u00e9 %d', 1)"), {"level": "WARNING", "message": "hé 1"})
        self.json_record(handler(*above, "logging.error({'a': 1}, extra={'k': [2]})"), {"level": "ERROR", "message": {"a": 1}, "k": [2]})
        events = [invocation({}, Lambda_Runtime_Aws_Tenant_Id="t")]
        self.json_record(handler(*above, "logging.error('e')"), {"level": "ERROR", "message": "e", "tenantId": "t"}, events=events)
        code = handler(*above, "try: 1 / 0", "except Exception: logging.exception('x')")
        failure = {
            "level": "ERROR",
            "message": "x",
            "errorType": "ZeroDivisionError",
            "errorMessage": "division by zero",
            "stackTrace": [re.compile(r"line 3, in handler\n    try: 1 / 0\n")],
            "location": "{task}/app.py:handler:4",
        }
        self.json_record(code, failure)

    def test_frames(self):
        code = handler("import logging", "--", "print('out')", "logging.error('a\\nb')", "context.log('c')", "raise Exception('d')")
        error_text = re.compile(r"^\[ERROR\] Exception: d\nTraceback \(most recent call last\):\n" + NBSP * 2 + "File")
        cases = [
            ({}, [0xA55A0003, 0xA55A0003, 0xA55A0017]),
            ({"AWS_LAMBDA_LOG_LEVEL": "INFO"}, [0xA55A0017, 0xA55A0003, 0xA55A0017]),
        ]
        for env, kinds in cases:
            result = self.check(code, stdout="out\n", framed=True, env=env)
            self.assertEqual([kind for kind, _ in result.frames], kinds)
            texts = [re.compile("\ta\nb\n$"), "c", error_text]
            self.assertTrue(matches(texts, [text for _, text in result.frames]), result.frames)

    def test_descriptor_is_hidden(self):
        self.check(handler("import os", "--", "return os.environ.get('_LAMBDA_TELEMETRY_LOG_FD')"), text="null", framed=True)
        self.check(handler("import os; return os.environ.get('_LAMBDA_TELEMETRY_LOG_FD')"), text="null", framed=True)

    def test_print_is_written(self):
        self.check(handler("print('a', 'b')", "print('c', end='')"), stdout="a b\nc")
        code = handler("import sys", "--", "sys.stderr.write('e')", "sys.stdout.close()", "return 1")
        self.assertEqual(self.check(code, response=1, ours=True).stderr, "e")


class Api(Case):
    def test_manners(self):
        for manner in ("split", "chunked", "close"):
            with self.subTest(manner):
                events = [invocation({"n": "é" * n}) for n in (1, 50000)]
                size = 70000 if manner != "split" else 300
                events.append(invocation("x" * size))
                # Some clients take a closed connection for the end.
                self.check(handler("return event"), response="x" * size, events=events, manner=manner, ours=True)

    def test_refused_response_ends_the_process(self):
        for status in (413, 400, 403, 500):
            with self.subTest(status):
                result = self.check(handler("return 1"), response=1, statuses={"response": status}, exit_code=1)
                self.assertEqual(len(result.posts), 1)

    def test_refused_next_ends_the_process(self):
        self.check(handler("return 1"), statuses={"next": 500}, exit_code=1, ours=True)

    def test_invocation_id_is_echoed(self):
        for code in ("return 1", "1 / 0"):
            events = [invocation({}, Lambda_Runtime_Invocation_Id="attempt")]
            result = self.check(handler(code), events=events)
            self.assertEqual(result.posts[0].headers.get("lambda-runtime-invocation-id"), "attempt")


if __name__ == "__main__":
    unittest.main()
