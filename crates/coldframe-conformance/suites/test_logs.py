"""Logs: JSON mode and its levels, framed records, and output that is too much, too long or broken.

Spec: execution-environment.md §5. Names carry the ids of its test catalogue, §12.
"""

import json
import re
import unittest

import tools
from support import (
    Layered,
    Service,
    deploy,
    deploy_lab,
    deploy_script,
    extensions,
    invoke,
    result_of,
    run,
    wait_until,
)

MS = r"\d+\.\d\d ms"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def setUpModule():
    global service, client
    service = Service("--memory", "200000").start()
    client = service.client()


def tearDownModule():
    service.stop()


def records(name, of=None):
    """The log, a text for each record: one may have several lines."""
    status, _, body = (of or service).request("GET", f"/_coldframe/logs/{name}")
    assert status == 200, body
    return [json.loads(line)["message"] for line in body.splitlines()]


def objects(name):
    return [json.loads(record) for record in records(name)]


class Text(unittest.TestCase):
    def test_ee_L1_extensions_and_subscriptions(self):
        layer = extensions(watcher="""
            subscriber = Subscriber()
            extension = Extension()
            extension.register("INVOKE", "SHUTDOWN")
            say(before="its own output comes first")
            extension.subscribe(subscriber.destination)
            extension.serve()
        """, silent="""
            extension = Extension()
            extension.register()
            extension.serve()
        """)
        with Layered(layer) as layered:
            client = layered.client()
            name = deploy_lab(client, "lines", init="print('from init')")
            tail = run(client, name, "print('one')", tail=True).tail
            log = records(name, layered)
        self.assertTrue(log[0].startswith("INIT_START Runtime Version: python:3."), log)
        self.assertEqual(json.loads(log[1]), {"by": "watcher", "before": "its own output comes first"})
        self.assertEqual(log[2:6], [
            "TELEMETRY\tName: watcher\tState: Subscribed\tTypes: [Platform, Function, Extension]",
            "from init",
            "EXTENSION\tName: silent\tState: Ready\tEvents: []",
            "EXTENSION\tName: watcher\tState: Ready\tEvents: [INVOKE,SHUTDOWN]",
        ])
        # Just before START.
        self.assertRegex(log[6], r"^START RequestId: \S+ Version: \$LATEST$")
        self.assertEqual(log[7], "one")
        self.assertRegex(log[8], r"^END RequestId: \S+$")
        self.assertRegex(
            log[9],
            rf"^REPORT RequestId: \S+\tDuration: {MS}\tBilled Duration: \d+ ms\tMemory Size: 1769 MB\t"
            rf"Max Memory Used: \d+ MB\tInit Duration: {MS}\t$",
        )
        self.assertEqual(tail, "\n".join(log[1:]) + "\n")

    def test_ee_L1_a_sampled_trace(self):
        name = deploy_lab(client, "traced")
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        service.invoke_plain(name, b"{}", {"X-Amzn-Trace-Id": trace})
        service.settle(name)
        # The second line of the same record.
        self.assertRegex(
            records(name)[-1],
            r"^REPORT .*\t\nXRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: [0-9a-f]{16}\tSampled: true\t$",
        )

    def test_ee_L5_stream_names(self):
        name = deploy_lab(client, "streams")
        group, stream = result_of(
            client, name, "result = [os.environ[f'AWS_LAMBDA_LOG_{what}_NAME'] for what in ('GROUP', 'STREAM')]"
        )
        self.assertEqual(group, "/aws/lambda/streams")
        self.assertRegex(stream, r"^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$")
        _, _, body = service.request("GET", f"/_coldframe/logs/{name}")
        self.assertEqual({json.loads(line)["stream"] for line in body.splitlines()}, {stream})
        # A group of one's own may be shared: the stream names the function.
        name = deploy_lab(client, "shared", LoggingConfig={"LogGroup": "my/group"})
        group, stream = result_of(
            client, name, "result = [os.environ[f'AWS_LAMBDA_LOG_{what}_NAME'] for what in ('GROUP', 'STREAM')]"
        )
        self.assertEqual(group, "my/group")
        self.assertRegex(stream, r"^\d{4}/\d\d/\d\d/shared\[\$LATEST\][0-9a-f]{32}$")


class Json(unittest.TestCase):
    LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

    def deploy(self, name, application=None, system=None, **config):
        logging = {"LogFormat": "JSON"}
        if application:
            logging["ApplicationLogLevel"] = application
        if system:
            logging["SystemLogLevel"] = system
        return deploy_lab(client, name, LoggingConfig=logging, **config)

    def platform(self, name):
        kinds = [one["type"] for one in objects(name) if "type" in one]
        return [kind.removeprefix("platform.") for kind in kinds]

    def test_ee_L2_system_levels(self):
        for system, expected in {
            "DEBUG": ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"],
            "INFO": ["initStart", "start", "report"],
            None: ["initStart", "start", "report"],
            "WARN": [],
        }.items():
            with self.subTest(system):
                name = self.deploy(f"system-{system}", system=system)
                result_of(client, name, "")
                self.assertEqual(self.platform(name), expected)
                for one in objects(name):
                    self.assertEqual(sorted(one), ["record", "time", "type"])
                    self.assertRegex(one["time"], f"^{TIME}$")
                text = service.log(name)
                for word in ("START ", "END ", "REPORT ", "INIT_START "):
                    self.assertNotIn(word, text)

    def test_ee_L2_failures_are_warnings(self):
        name = self.deploy("system-failure", system="WARN", Timeout=1)
        result_of(client, name, "")
        run(client, name, "os._exit(1)")
        # A suppressed init is told when it fails.
        self.assertEqual(self.platform(name), ["runtimeDone", "report"])
        [done, report] = [one["record"] for one in objects(name)]
        for record in (done, report):
            self.assertEqual((record["status"], record["errorType"]), ("error", "Runtime.ExitError"))
        run(client, name, "time.sleep(60)")
        self.assertEqual([one["record"]["status"] for one in objects(name)[2:]], ["timeout"] * 2)
        self.assertNotIn("Task timed out", service.log(name))

    def test_ee_L2_application_levels(self):
        stamp = "2026-10-01T10:00:00.000Z"
        lines = [json.dumps({"timestamp": stamp, "level": level, "n": level}) for level in self.LEVELS]
        lines += [
            json.dumps({"timestamp": stamp, "n": "no level"}),
            json.dumps({"level": "TRACE", "n": "no timestamp"}),
            json.dumps({"timestamp": "yesterday", "level": "TRACE", "n": "no time"}),
            json.dumps({"timestamp": stamp, "level": "debug", "n": "lower case"}),
            "TRACE plain",
            '{"timestamp": "2026-10-01T10:00:00.000Z", "level": "TRACE"',
            "[]",
        ]
        always = ["no timestamp", "no time", "TRACE plain", lines[-2], "[]"]
        for application, lowest in {"TRACE": 0, "DEBUG": 1, None: 2, "WARN": 3, "FATAL": 5}.items():
            with self.subTest(application):
                name = self.deploy(f"application-{application}", application, system="WARN")
                result_of(client, name, "os.write(1, event['text'].encode())", text="\n".join(lines) + "\n")

                def told(record):
                    try:
                        return json.loads(record)["n"]
                    except (ValueError, TypeError):
                        return record

                expected = self.LEVELS[lowest:]
                expected += ["no level"] * (lowest <= 2) + ["lower case"] * (lowest <= 1) + always
                self.assertEqual(sorted(map(told, records(name))), sorted(expected))

    def test_ee_L2_python_logging(self):
        name = self.deploy("python-logging", "INFO", "WARN")
        code = """
            import logging
            logging.getLogger("mine").debug("not wanted")
            logging.getLogger("mine").warning("wanted %d", 7)
            try:
                raise ValueError("two\\nlines")
            except ValueError:
                logging.getLogger().exception("with a trace")
        """
        answer = run(client, name, code, tail=True)
        self.assertIsNone(answer.error, answer)
        warning, error = objects(name)
        self.assertEqual((warning["level"], warning["message"]), ("WARNING", "wanted 7"))
        self.assertEqual(warning["requestId"], answer.request_id)
        self.assertRegex(warning["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual((error["level"], error["message"]), ("ERROR", "with a trace"))
        self.assertEqual((error["errorType"], error["errorMessage"]), ("ValueError", "two\nlines"))
        # The tail is the same lines.
        self.assertEqual(answer.tail, "".join(record + "\n" for record in records(name)))

    def test_ee_L2_node_console(self):
        code = """exports.handler = async () => {
            console.debug("not wanted");
            console.warn("wanted", { a: 1 });
            console.error("two\\nlines", new RangeError("x"));
        };"""
        deploy(
            client, "node-console", {"index.js": code}, Runtime=tools.node_runtime(), Handler="index.handler",
            LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"},
        )
        answer = invoke(client, "node-console")
        self.assertIsNone(answer.error, answer)
        warning, error = objects("node-console")
        self.assertEqual((warning["level"], warning["requestId"]), ("WARN", answer.request_id))
        self.assertEqual((error["level"], error["errorType"]), ("ERROR", "RangeError"))

    def test_ee_L3_tail(self):
        name = self.deploy("tail")
        answer = run(client, name, "print('x' * 10_000)\nprint('last')", tail=True)
        self.assertEqual(len(answer.tail.encode()), 4096)
        *_, last, report = answer.tail.splitlines()
        self.assertEqual(last, "last")
        self.assertEqual(json.loads(report)["type"], "platform.report")


class Frames(unittest.TestCase):
    def test_ee_L4_frames_of_both_sizes(self):
        name = deploy_script(client, "frames", init="""
            FD = int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"])
            def frame(kind, text, stamp=True):
                message = text if isinstance(text, bytes) else text.encode()
                head = struct.pack(">II", kind, len(message)) + (struct.pack(">q", 1) if stamp else b"")
                return head + message
        """)
        result_of(client, name, """
            os.write(FD, frame(0xa55a0003, "one\\ntwo\\n\\nthree\\n"))
            os.write(FD, frame(0xa55a0001, "old\\nframe", stamp=False))
            os.write(FD, frame(0xa55a0002, '{"json":\\n 1}') + frame(0xa55a0017, "at once"))
            # Byte by byte.
            for byte in frame(0xa55a000e, "slowly"):
                os.write(FD, bytes([byte]))
            os.write(FD, frame(0xa55a0003, ""))
            os.write(FD, frame(0xa55a0003, b"bad \\xff bytes"))
        """)
        own = [record for record in records(name) if not re.match("INIT_START |START |END |REPORT ", record)]
        self.assertEqual(own, [
            "one\ntwo\n\nthree", "old\nframe", '{"json":\n 1}', "at once", "slowly", "", "bad \ufffd bytes",
        ])

    def test_ee_L4_levels_of_frames(self):
        name = deploy_script(
            client, "frame-levels",
            LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "WARN"},
        )
        result_of(client, name, """
            for level in range(7):
                message = b"level %d" % level
                os.write(int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"]), struct.pack(">IIq", 0xa55a0003 | level << 2, len(message), 1) + message)
        """)
        self.assertEqual(records(name), ["level 0", "level 4", "level 5", "level 6"])

    def test_a_descriptor_that_is_misused(self):
        name = deploy_script(client, "no-frames")
        for text in ("plain\\n", "\\xa5\\x5a\\x00\\x03\\x7f\\xff\\xff\\xffcut"):
            result_of(client, name, f"""
                os.write(int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"]), b"{text}")
            """)
        self.assertIn("plain", service.log(name))
        # Frames go on without end, announced as the largest that there are.
        name = deploy_script(client, "endless-frame")
        result_of(client, name, """
            fd = int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"])
            os.write(fd, struct.pack(">IIq", 0xa55a0003, 0xffffffff, 1))
            for _ in range(32):
                os.write(fd, b"z" * (1 << 20))
        """)
        lengths = [len(record) for record in records(name) if record.startswith("z")]
        self.assertLessEqual(max(lengths), 256 * 1024)

    def test_ee_L4_python_and_node_traces(self):
        name = deploy_lab(client, "python-trace")
        run(client, name, "import logging\nlogging.getLogger().error('one\\ntwo')\nraise ValueError('x')")
        log = records(name)
        [message] = [record for record in log if "one" in record]
        self.assertRegex(message, rf"^\[ERROR\]\t{TIME}\t\S+\tone\ntwo$")
        [trace] = [record for record in log if "ValueError" in record]
        self.assertRegex(trace, r"^\[ERROR\] ValueError: x\nTraceback \(most recent call last\):\n")
        code = "exports.handler = async () => { console.log('one\\ntwo'); throw new RangeError('x'); };"
        deploy(client, "node-trace", {"index.js": code}, Runtime=tools.node_runtime(), Handler="index.handler")
        invoke(client, "node-trace")
        [message] = [record for record in records("node-trace") if "one" in record]
        self.assertRegex(message, rf"^{TIME}\t\S+\tINFO\tone\ntwo$")

    def test_extensions_have_no_frames(self):
        layer = extensions(looks="""
            extension = Extension()
            extension.register()
            open_files = {number: os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")}
            keep("files", open_files)
            os.write(1, b"one\\ntwo\\n")
            extension.serve()
        """)
        with Layered(layer) as layered:
            client = layered.client()
            name = deploy_lab(client, "looks")
            files = result_of(client, name, "result = json.load(open('/tmp/files'))")
            self.assertLessEqual(set(files), {"0", "1", "2"} | {number for number, file in files.items() if "/proc/" in file})
            log = records(name, layered)
        self.assertIn("one", log)
        self.assertIn("two", log)


class Hostile(unittest.TestCase):
    def test_gigabytes(self):
        name = deploy_lab(client, "gigabytes", Timeout=120)
        begun = service.memory_mb()
        answer = run(client, name, """
            block = (b"0123456789" * 10)[:99] + b"\\n"
            block *= 10_000
            for _ in range(2048):
                os.write(1, block)
            os.write(1, b"the end\\n")
        """, tail=True)
        self.assertIsNone(answer.error, answer.payload)
        self.assertIn("\nthe end\nEND RequestId: ", answer.tail)
        self.assertLess(service.memory_mb(peak=True) - begun, 48)
        # What is kept is the newest, and bounded.
        self.assertLess(len(service.log(name)), 1 << 20)
        # The environment is as good as before.
        self.assertEqual(result_of(client, name, "result = 1"), 1)

    def test_a_process_that_never_stops_printing(self):
        # Not the function's own: the answer, the freeze and others don't wait for it.
        name = deploy_lab(client, "chatty", init="subprocess.Popen(['/usr/bin/yes', 'noise'])")
        neighbour = deploy(client, "quiet", {"app.py": "def handler(event, context):\n    return 1\n"})
        for _ in range(3):
            self.assertEqual(result_of(client, name, "result = 1"), 1)
            self.assertEqual(invoke(client, neighbour).json, 1)
            service.wait_for_states(name, "frozen")
        # Frozen, it doesn't, once what it has printed before is written.
        stands_still = lambda: len({service.log(name) for _ in range(10)}) == 1
        wait_until(stands_still, "the log stands still")

    def test_long_lines(self):
        name = deploy_lab(client, "long")
        result_of(client, name, """
            os.write(1, b"a" * (600 * 1024) + b"\\nshort\\n" + b"b" * (256 * 1024) + b"\\n" + b"c" * 10)
        """)
        own = [record for record in records(name) if record[:1] in ("a", "b", "c", "s")]
        self.assertEqual(
            [(record[0], len(record)) for record in own],
            [("a", 262144), ("a", 262144), ("a", 600 * 1024 - 2 * 262144), ("s", 5), ("b", 262144), ("c", 10)],
        )

    def test_bytes_that_are_no_text(self):
        name = deploy_lab(client, "bytes")
        result_of(client, name, r"""
            os.write(1, b"\xff\xfe\n\x00zero\n\xe2\x82\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n\x1b[31mred\r\n\n")
        """)
        log = records(name)
        start = next(at for at, record in enumerate(log) if record.startswith("START"))
        self.assertEqual(log[start + 1:-2], ["\ufffd\ufffd", "\x00zero", "\ufffd", "ä€😀", "\x1b[31mred\r", ""])

    def test_a_character_at_the_border_of_a_long_line(self):
        name = deploy_lab(client, "border")
        result_of(client, name, "os.write(1, ('x' + 'ä' * 200_000 + '\\n').encode())")
        own = [record for record in records(name) if "ä" in record]
        self.assertEqual("".join(own), "x" + "ä" * 200_000)


if __name__ == "__main__":
    unittest.main()
