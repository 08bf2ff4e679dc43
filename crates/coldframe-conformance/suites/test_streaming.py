"""Response streaming, and what an invocation brings with it: trace, client context, identity, tenant.

Spec: execution-environment.md §9, service-api.md §3.5. Names carry the ids of the former's test
catalogue, §12. Runtimes are scripts of ours that stream over a raw socket, our Node.js client, and
AWS's own clients.
"""

import base64
import io
import json
import os
import re
import socket
import struct
import subprocess
import textwrap
import time
import unittest
import zipfile
import zlib

import botocore.exceptions

import support
import test_tools
import tools
from support import deploy, deploy_script, invoke, result_of, run, wait_until

MIB = 1024 * 1024
# A streamed response, bytes (§0.3): 200 MB.
STREAMED_MAX = 200 * MIB
BUFFERED_MAX = 6_291_556

# What scripts stream by. `meet` is the gate's, as in `support.LAB`.
UPLOAD = '''
TRAILERS = "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"

class Upload:
    "A response that is sent piece by piece."
    def __init__(self, identity, **fields):
        fields = {
            "Host": "x", "Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked",
            "Lambda-Runtime-Function-Response-Mode": "streaming", "Trailer": TRAILERS,
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        head = "".join(f"{name}: {value}\\r\\n" for name, value in fields.items() if value)
        self.connection = Connection()
        self.connection.send(f"POST {API}/invocation/{identity}/response HTTP/1.1\\r\\n{head}\\r\\n")

    def write(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        self.connection.send(f"{len(data):x}\\r\\n".encode() + data + b"\\r\\n")
        return self

    def write_mib(self, count):
        block = b"x" * (1 << 20)
        for _ in range(count):
            self.write(block)
        return self

    def end(self, error_type=None, error=None):
        trailers = ""
        if error_type:
            body = base64.b64encode(json.dumps(error).encode()).decode()
            trailers = (f"Lambda-Runtime-Function-Error-Type: {error_type}\\r\\n"
                        f"Lambda-Runtime-Function-Error-Body: {body}\\r\\n")
        self.connection.send("0\\r\\n" + trailers + "\\r\\n")
        reply = self.connection.reply()
        self.connection.close()
        STATE["reply"] = reply.both
        return reply

def meet(port, name):
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(name.encode() + b"\\n")
        return gate.recv(1)
'''

ACCEPTED = [202, '{"status":"OK"}\n']


def setUpModule():
    global gate, service, client, shared
    gate = support.Gate()
    options = ["--memory", "200000", "--allow-host-port", str(gate.port)]
    service = support.Service(*options).start()
    client = service.client()
    # For tests that leave the runtime as they found it.
    shared = deploy_script(client, "shared", UPLOAD, MemorySize=1024)


def tearDownModule():
    gate.close()
    service.stop()


def code(text):
    return textwrap.dedent(text) + "\nraise Answered\n"


class Stream:
    """A streamed answer, read as it comes."""

    def __init__(self, client, name, event, **arguments):
        payload = json.dumps(event)
        reply = client.invoke_with_response_stream(FunctionName=name, Payload=payload, **arguments)
        self.reply = reply
        self.fields = reply["ResponseMetadata"]["HTTPHeaders"]
        self.request_id = self.fields["x-amzn-requestid"]
        self.events = iter(reply["EventStream"])
        self.payload = b""
        self.end = None

    def read(self, length):
        """Reads on until so many bytes have come."""
        while len(self.payload) < length:
            self.payload += next(self.events)["PayloadChunk"]["Payload"]
        return self.payload

    def finish(self):
        """Reads to the end; there is exactly one, and nothing comes after it."""
        for event in self.events:
            assert self.end is None, event
            if "PayloadChunk" in event:
                self.payload += event["PayloadChunk"]["Payload"]
            else:
                self.end = event["InvokeComplete"]
        assert self.end is not None, "a stream without an end"
        return self

    @property
    def details(self):
        return json.loads(self.end["ErrorDetails"])

    @property
    def tail(self):
        return base64.b64decode(self.end["LogResult"]).decode()

    def __repr__(self):
        return f"{len(self.payload)} bytes {self.payload[:200]!r} {self.end}"


def stream(name, event, over=None, **arguments):
    """A stream read to its end, and the environment at rest."""
    over = over or client
    read = Stream(over, name, event, **arguments).finish()
    over.coldframe.settle(name)
    return read


def streamed(name, text, **event):
    """A stream that the script `text` writes."""
    return stream(name, {"code": code(text), **event})


class Raw:
    """A streamed answer as it is on the wire: chunks of HTTP, frames of the event stream."""

    def __init__(self, service, name, body, fields=None):
        self.connection = socket.create_connection(("127.0.0.1", service.port), 60)
        path = f"/2021-11-15/functions/{name}/response-streaming-invocations"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{key}: {value}\r\n" for key, value in (fields or {}).items())
        self.connection.sendall(head.encode() + b"\r\n" + body)
        self.file = self.connection.makefile("rb", buffering=1 << 20)
        self.status = int(self.file.readline().split()[1])
        lines = iter(self.file.readline, b"\r\n")
        pairs = (line.decode().rstrip().split(": ", 1) for line in lines)
        self.fields = {key.lower(): value for key, value in pairs}
        self.rest = b""

    def body(self):
        """The bytes of a body, without the frames of its chunks."""
        while True:
            length = int(self.file.readline(), 16)
            if length:
                yield self.file.read(length)
            assert self.file.read(2) == b"\r\n"
            if not length:
                return

    def frames(self):
        """Every frame: its headers in their order, and its payload. Both sums must be right."""
        held = bytearray()
        for piece in self.body():
            held += piece
            while len(held) >= 12:
                total, length, head_sum = struct.unpack(">III", held[:12])
                if len(held) < total:
                    break
                frame = bytes(held[:total])
                del held[:total]
                assert zlib.crc32(frame[:8]) == head_sum
                assert zlib.crc32(frame[:-4]) == struct.unpack(">I", frame[-4:])[0]
                yield self.headers(frame[12 : 12 + length]), frame[12 + length : -4]
        assert not held, held

    @staticmethod
    def headers(data):
        found = {}
        while data:
            name, data = data[1 : 1 + data[0]], data[1 + data[0] :]
            kind, length = struct.unpack(">BH", data[:3])
            assert kind == 7
            found[name.decode()], data = data[3 : 3 + length].decode(), data[3 + length :]
        return found

    def close(self):
        self.file.close()
        self.connection.close()


class Progress(unittest.TestCase):
    """Bytes reach the client as the function writes them."""

    def event(self, name):
        text = f"""
            upload = Upload(identity).write("first ")
            meet({gate.port}, "{name}")
            upload.write("second").end()
        """
        return {"code": code(text)}

    def test_ee_R1_first_byte_before_the_end(self):
        name = deploy_script(client, "boto3", UPLOAD)
        read = Stream(client, name, self.event("boto3"))
        self.assertEqual(read.read(6), b"first ")
        gate.wait_for("boto3")
        [environment] = service.environments(name)
        self.assertEqual(environment["state"], "invoke")
        gate.open("boto3")
        self.assertEqual(read.finish().payload, b"first second")
        self.assertEqual(read.end, {})
        self.assertEqual(read.reply["StatusCode"], 200)
        self.assertEqual(read.reply["ExecutedVersion"], "$LATEST")
        self.assertEqual(read.reply["ResponseStreamContentType"], "application/vnd.amazon.eventstream")
        # It is reused: the next one meets the same environment.
        service.settle(name)
        self.assertEqual(streamed(name, "Upload(identity).write('again').end()").payload, b"again")
        [again] = service.environments(name)
        self.assertEqual((again["id"], again["generation"]), (environment["id"], 1))

    def test_ee_R1_while_the_init_is_still_to_come(self):
        name = deploy_script(client, "cold", UPLOAD)
        read = Stream(client, name, self.event("cold"))
        self.assertEqual(read.read(6), b"first ")
        gate.wait_for("cold")
        gate.open("cold")
        self.assertEqual(read.finish().payload, b"first second")

    def progress(self, name, command, **options):
        """A program prints a line for each event as it comes."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
            lines = (json.loads(line) for line in process.stdout)
            text = next(lines)["PayloadChunk"]
            self.assertEqual(text, "first ")
            gate.wait_for(name)
            gate.open(name)
            seen = list(lines)
        self.assertEqual(process.returncode, 0)
        text += "".join(event.get("PayloadChunk", "") for event in seen)
        self.assertEqual(text, "first second")
        self.assertEqual(seen[-1], {"InvokeComplete": {}})

    def test_ee_R1_javascript(self):
        environment = {**os.environ, "NODE_PATH": str(tools.TOOLS / "node/node_modules")}
        script = tools.SUITES / "node/lambda.cjs"
        event = json.dumps(self.event("javascript"))
        command = ["node", script, "stream", service.url, shared, event]
        self.progress("javascript", command, env=environment)

    def test_ee_R1_rust(self):
        event = json.dumps(self.event("rust"))
        self.progress("rust", [test_tools.rust_sdk(), "stream", service.url, shared, event])

    def test_ee_R1_over_http_2(self):
        path = f"/2021-11-15/functions/{shared}/response-streaming-invocations"
        options = ["--no-buffer", "--silent", "--show-error", "--http2-prior-knowledge"]
        data = json.dumps(self.event("h2"))
        command = ["curl", *options, "--data-binary", data, service.url + path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            seen = b""
            while b"first " not in seen:
                seen += process.stdout.read1()
            gate.wait_for("h2")
            gate.open("h2")
            seen += process.stdout.read()
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"second", seen)
        self.assertIn(b"InvokeComplete", seen)


class Wire(unittest.TestCase):
    def raw(self, text, fields=None, name=None):
        body = json.dumps({"code": code(text)}).encode()
        raw = Raw(service, name or shared, body, fields)
        self.addCleanup(raw.close)
        return raw

    def test_frames(self):
        raw = self.raw("Upload(identity).write('hel').write('lo').end()")
        self.assertEqual(raw.status, 200)
        self.assertEqual(raw.fields["content-type"], "application/vnd.amazon.eventstream")
        self.assertEqual(raw.fields["x-amz-executed-version"], "$LATEST")
        self.assertEqual(raw.fields["transfer-encoding"], "chunked")
        self.assertRegex(raw.fields["x-amzn-requestid"], r"^[0-9a-f-]{36}$")
        self.assertRegex(raw.fields["x-amzn-trace-id"], r"^Root=1-[0-9a-f]{8}-[0-9a-f]{24};")
        self.assertNotIn("content-length", raw.fields)
        *chunks, (last, end) = raw.frames()
        self.assertEqual(b"".join(payload for _, payload in chunks), b"hello")
        for headers, payload in chunks:
            self.assertTrue(payload)
            self.assertEqual(headers, {
                ":event-type": "PayloadChunk", ":content-type": "application/octet-stream",
                ":message-type": "event",
            })
        self.assertEqual(end, b"{}")
        self.assertEqual(last, {
            ":event-type": "InvokeComplete", ":content-type": "application/json",
            ":message-type": "event",
        })

    def test_an_empty_response_is_only_an_end(self):
        [(headers, payload)] = self.raw("Upload(identity).end()").frames()
        self.assertEqual((headers[":event-type"], payload), ("InvokeComplete", b"{}"))

    def test_the_connection_is_kept(self):
        raw = self.raw("Upload(identity).write('1').end()")
        list(raw.frames())
        raw.connection.sendall(b"GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(raw.file.readline(), b"HTTP/1.1 200 OK\r\n")

    def test_every_byte_passes(self):
        text = """
            upload = Upload(identity)
            for first in range(0, 256, 16):
                upload.write(bytes(range(first, first + 16)))
            upload.write(b"\\r\\n0\\r\\n\\r\\n").end()
        """
        read = streamed(shared, text)
        self.assertEqual(read.payload, bytes(range(256)) + b"\r\n0\r\n\r\n")

    def test_the_runtime_is_told_when_all_is_taken(self):
        streamed(shared, "Upload(identity).write('1').end()")
        self.assertEqual(result_of(client, shared, "result = STATE['reply']"), ACCEPTED)

    def test_dry_run(self):
        path = f"/2021-11-15/functions/{shared}/response-streaming-invocations"
        # Not by the log: the lines of the invocation before may still be on their way.
        ran = lambda: sum(one["invocations"] for one in service.environments(shared))
        before = ran()
        status, fields, body = service.request("POST", path, b"{}", {"X-Amz-Invocation-Type": "DryRun"})
        self.assertEqual((status, body), (204, b""))
        self.assertEqual(ran(), before, "nothing ran")
        reply = client.invoke_with_response_stream(FunctionName=shared, InvocationType="DryRun")
        self.assertEqual(reply["StatusCode"], 204)

    def test_errors_before_the_first_byte_are_ordinary_ones(self):
        errors = client.exceptions
        for error, arguments in [
            (errors.ResourceNotFoundException, {"FunctionName": "absent"}),
            (errors.InvalidRequestContentException, {"FunctionName": shared, "Payload": "{"}),
            (errors.InvalidParameterValueException, {"FunctionName": shared, "TenantId": "a"}),
            (errors.InvalidRequestContentException, {"FunctionName": shared, "ClientContext": "%"}),
        ]:
            with self.subTest(error.__name__), self.assertRaises(error):
                client.invoke_with_response_stream(**arguments)
        path = f"/2021-11-15/functions/{shared}/response-streaming-invocations"
        status, fields, _ = service.request("POST", path, b"{}", {"X-Amz-Invocation-Type": "Event"})
        self.assertEqual(status, 400)
        self.assertEqual(fields["content-type"], "application/json")
        status, *_ = service.request("POST", path, b'"' + b"x" * 6_291_456 + b'"')
        self.assertEqual(status, 413)
        self.assertEqual(service.request("GET", path)[0], 405)

    def test_throttled_before_the_first_byte(self):
        with support.Service("--concurrency", "1", "--allow-host-port", str(gate.port)) as other:
            over = other.client()
            name = deploy_script(over, "busy", UPLOAD)
            text = f"meet({gate.port}, 'busy')\nUpload(identity).write('1').end()"
            [running] = support.together(lambda: Stream(over, name, {"code": code(text)}).finish())
            gate.wait_for("busy")
            with self.assertRaises(over.exceptions.TooManyRequestsException):
                Stream(over, name, {})
            gate.open("busy")
            self.assertEqual(running.result().payload, b"1")

    def test_the_log_comes_with_the_end(self):
        read = stream(
            shared, {"code": code("Upload(identity).write('1').end()\nprint('said', flush=True)")},
            LogType="Tail",
        )
        self.assertEqual(read.payload, b"1")
        self.assertNotIn("ErrorCode", read.end)
        self.assertIn(f"START RequestId: {read.request_id} Version: $LATEST\n", read.tail)
        self.assertIn("said\n", read.tail)
        self.assertIn(f"REPORT RequestId: {read.request_id}", read.tail)


class Errors(unittest.TestCase):
    """What goes wrong after a stream has begun is told at its end; what was sent stands."""

    def test_ee_R2_trailers(self):
        error = {"errorType": "Custom.Kind", "errorMessage": "in the middle", "stackTrace": []}
        read = streamed(
            shared, "Upload(identity).write('sent').end('Custom.Kind', given['error'])", error=error
        )
        self.assertEqual(read.payload, b"sent")
        self.assertEqual(read.end["ErrorCode"], "Custom.Kind")
        self.assertEqual(read.details, error)
        self.assertEqual(result_of(client, shared, "result = STATE['reply']"), ACCEPTED)

    def test_ee_R2_trailers_that_say_little(self):
        for trailers in ("Lambda-Runtime-Function-Error-Type: X\\r\\n", "Lambda-Runtime-Function-Error-Type: X\\r\\n"
                         "Lambda-Runtime-Function-Error-Body: no base64!\\r\\n"):
            text = f"""
                upload = Upload(identity).write("sent")
                upload.connection.send("0\\r\\n{trailers}\\r\\n")
                assert upload.connection.reply().status == 202
            """
            with self.subTest(trailers):
                read = streamed(shared, text)
                self.assertEqual((read.payload, read.end), (b"sent", {"ErrorCode": "X", "ErrorDetails": ""}))

    def test_ee_R8_trailers_without_the_mode_header(self):
        # As Go's client does it; its own library isn't run here.
        error = {"errorType": "E", "errorMessage": "m"}
        text = "Upload(identity, Lambda_Runtime_Function_Response_Mode=None).write('sent').end('E', given['error'])"
        read = streamed(shared, text, error=error)
        self.assertEqual((read.payload, read.end["ErrorCode"], read.details), (b"sent", "E", error))
        answer = invoke(client, shared, {"code": code(text), "error": error})
        self.assertEqual((answer.error, answer.json), ("Unhandled", error))
        text = "Upload(identity, Lambda_Runtime_Function_Response_Mode=None).write('1').end()"
        self.assertEqual(streamed(shared, text).payload, b"1")

    def test_a_posted_error(self):
        read = stream(shared, {"code": "raise ValueError('asked to')"})
        self.assertEqual(read.payload, b"")
        self.assertEqual(read.end["ErrorCode"], "Unhandled")
        self.assertEqual(read.details["errorType"], "Script")
        self.assertIn("asked to", read.details["errorMessage"])

    def test_a_posted_error_in_the_middle_is_refused(self):
        # Spec: §2.3, the state is that of the response.
        text = """
            upload = Upload(identity).write("1")
            while ask_next().status == 200:
                pass
            STATE["refused"] = post(identity, "error").status
            upload.end()
        """
        self.assertEqual(streamed(shared, text).payload, b"1")
        self.assertEqual(result_of(client, shared, "result = STATE['refused']"), 403)

    def test_an_unknown_mode(self):
        text = "STATE['refused'] = Upload(identity, Lambda_Runtime_Function_Response_Mode='Streaming').end().status"
        read = streamed(shared, text)
        self.assertEqual((read.payload, read.end["ErrorCode"]), (b"", "Runtime.InvalidResponseModeHeader"))
        self.assertEqual(result_of(client, shared, "result = STATE['refused']"), 400)

    def test_ee_V10_an_upload_that_breaks(self):
        text = """
            upload = Upload(identity).write("sent")
            upload.connection.close()
            while 'RuntimeResponseSentState' not in call('POST', API + '/init/error').text:
                time.sleep(0.001)
        """
        read = streamed(shared, text)
        self.assertEqual(read.payload, b"sent")
        self.assertEqual(read.end["ErrorCode"], "Runtime.TruncatedResponse")
        self.assertEqual(read.details["errorType"], "Runtime.TruncatedResponse")
        self.assertEqual(result_of(client, shared, "result = 1"), 1)

    def after(self, name, generation):
        """The next invocation is served by the same environment, anew."""
        self.assertEqual(streamed(name, "Upload(identity).write('well').end()").payload, b"well")
        [environment] = service.environments(name)
        self.assertEqual(environment["generation"], generation)

    def test_ee_R5_timeout(self):
        name = deploy_script(client, "timeout", UPLOAD, Timeout=1)
        read = streamed(name, f"upload = Upload(identity).write('sent')\nmeet({gate.port}, 'never')")
        self.assertEqual(read.payload, b"sent")
        self.assertEqual(read.end["ErrorCode"], "Sandbox.Timedout")
        self.assertEqual(read.details, {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {read.request_id} Error: Task timed out after 1.00 seconds",
        })
        self.after(name, 2)

    def test_ee_R5_timeout_before_the_first_byte(self):
        name = deploy_script(client, "timeout-early", UPLOAD, Timeout=1)
        read = streamed(name, f"meet({gate.port}, 'never')")
        self.assertEqual((read.payload, read.end["ErrorCode"]), (b"", "Sandbox.Timedout"))
        self.after(name, 2)

    def test_ee_R5_timeout_tells_the_log(self):
        name = deploy_script(client, "timeout-tail", UPLOAD, Timeout=1)
        text = f"upload = Upload(identity).write('sent')\nmeet({gate.port}, 'never')"
        read = stream(name, {"code": code(text)}, LogType="Tail")
        self.assertEqual((read.payload, read.end["ErrorCode"]), (b"sent", "Sandbox.Timedout"))
        self.assertIn("Status: timeout", read.tail)

    def test_ee_R5_crash(self):
        # Again and again: whether the end of the process or of its connection is seen first must not count.
        name = deploy_script(client, "crash", UPLOAD)
        ends = {
            "os._exit(0)": "Runtime exited without providing a reason",
            "os._exit(3)": "Runtime exited with error: exit status 3",
            "os.kill(os.getpid(), signal.SIGKILL)": "Runtime exited with error: signal: killed",
        }
        generation = 1
        for _ in range(5):
            for how, message in ends.items():
                with self.subTest(how):
                    read = streamed(name, f"upload = Upload(identity).write('sent')\n{how}")
                    self.assertEqual(read.payload, b"sent")
                    self.assertEqual(read.end["ErrorCode"], "Runtime.ExitError")
                    self.assertEqual(read.details, {
                        "errorType": "Runtime.ExitError",
                        "errorMessage": f"RequestId: {read.request_id} Error: {message}",
                    })
                    generation += 1
                    self.after(name, generation)

    def test_ee_R5_crash_of_a_buffered_upload(self):
        name = deploy_script(client, "crash-buffered", UPLOAD)
        for _ in range(5):
            answer = invoke(client, name, {"code": "upload = Upload(identity).write('sent')\nos._exit(3)"})
            self.assertEqual(answer.json["errorType"], "Runtime.ExitError", answer)

    def test_a_crash_after_the_end_leaves_the_answer(self):
        name = deploy_script(client, "crash-late", UPLOAD)
        read = streamed(name, "Upload(identity).write('sent').end()\nos._exit(3)")
        self.assertEqual((read.payload, read.end), (b"sent", {}))
        self.after(name, 2)

    def test_a_failed_init(self):
        name = deploy_script(client, "no-init", "os._exit(7)")
        read = stream(name, {})
        self.assertEqual((read.payload, read.end["ErrorCode"]), (b"", "Runtime.ExitError"))
        self.assertIn("exit status 7", read.details["errorMessage"])


class Modes(unittest.TestCase):
    def test_ee_R3_buffered_invoke_of_a_streaming_runtime(self):
        text = "upload = Upload(identity, Content_Type='application/json').write('[1,').write('2]')\nupload.end()"
        answer = invoke(client, shared, {"code": code(text)})
        self.assertEqual((answer.error, answer.json, answer.content_type), (None, [1, 2], "application/json"))

    def test_ee_R3_trailers(self):
        error = {"errorType": "E", "errorMessage": "m"}
        text = "Upload(identity).write('sent').end('E', given['error'])"
        answer = invoke(client, shared, {"code": code(text), "error": error}, tail=True)
        self.assertEqual((answer.error, answer.json), ("Unhandled", error))
        self.assertEqual(answer.report["Status"], "error")

    def test_ee_R3_the_buffered_limit_counts(self):
        for more, status in [(0, 202), (1, 413)]:
            text = f"""
                upload = Upload(identity, Content_Type="application/json").write('"')
                upload.write_mib(6).write("x" * {BUFFERED_MAX - 6 * MIB - 2 + more}).write('"').end()
            """
            answer = invoke(client, shared, {"code": code(text)})
            self.assertEqual(result_of(client, shared, "result = STATE['reply'][0]"), status)
            if more:
                self.assertEqual(answer.json["errorType"], "Function.ResponseSizeTooLarge")
                self.assertIn("(6291556 bytes)", answer.json["errorMessage"])
            else:
                self.assertEqual((answer.error, len(answer.payload)), (None, BUFFERED_MAX))

    def test_a_buffered_runtime_as_a_stream(self):
        read = stream(shared, {"code": "result = 'x' * 100"})
        self.assertEqual((json.loads(read.payload), read.end), ("x" * 100, {}))

    def test_a_buffered_runtime_as_a_stream_may_send_more(self):
        text = "assert post(identity, 'response', b'x' * (7 << 20)).status == 202"
        read = streamed(shared, text)
        self.assertEqual((len(read.payload), read.end), (7 * MIB, {}))

    def test_ee_R7_prelude(self):
        prelude = json.dumps({"statusCode": 201, "headers": {"A": "b"}, "cookies": ["c=d"]})
        text = f"""
            kind = "application/vnd.awslambda.http-integration-response"
            upload = Upload(identity, Content_Type=kind)
            upload.write({prelude!r}).write(bytes(8)).write("body").end()
        """
        self.assertEqual(streamed(shared, text).payload, prelude.encode() + bytes(8) + b"body")


def timed(service, name, mib):
    """Streams so many MiB; how long it took until each whole one was there, seconds."""
    body = json.dumps({"code": code(f"Upload(identity).write_mib({mib}).end()")}).encode()
    began, total, at = time.monotonic(), 0, []
    raw = Raw(service, name, body)
    for headers, payload in raw.frames():
        if headers[":event-type"] == "PayloadChunk":
            total += len(payload)
            at += [time.monotonic() - began] * (total // MIB - len(at))
        else:
            assert payload == b"{}", payload
    raw.close()
    assert total == mib * MIB, total
    return at


class Rate(unittest.TestCase):
    """Six MiB at once, then two a second."""

    def test_ee_R4_ten_mib_take_two_seconds(self):
        name = deploy_script(client, "rate", UPLOAD, MemorySize=1769)
        run(client, name, "result = 1")
        at = timed(service, name, 10)
        # The whole is two seconds after what went at once, and not much more.
        self.assertLess(at[5], 1)
        self.assertGreaterEqual(at[9], 2)
        self.assertLess(at[9], 4)
        # It trickles: no second passes without something.
        self.assertGreaterEqual(at[7], 1)
        self.assertLess(at[7], 2)

    def test_ee_R4_each_response_has_its_own(self):
        name = deploy_script(client, "rates", UPLOAD, MemorySize=1769)
        for _ in range(4):
            self.assertLess(timed(service, name, 6)[5], 2)

    def test_ee_R4_buffered_is_not_held_back(self):
        name = deploy_script(client, "unrated", UPLOAD, MemorySize=1769)
        run(client, name, "result = 1")
        began = time.monotonic()
        for _ in range(4):
            answer = invoke(client, name, {"code": code("Upload(identity).write_mib(5).end()")})
            self.assertEqual(len(answer.payload), 5 * MIB)
        self.assertLess(time.monotonic() - began, 5)

    def test_other_rates(self):
        with support.Service("--stream-rate", "16") as other:
            over = other.client()
            name = deploy_script(over, "faster", UPLOAD, MemorySize=1769)
            run(over, name, "result = 1")
            at = timed(other, name, 38)
            self.assertGreaterEqual(at[37], 2)
            self.assertLess(at[37], 4)


class Large(unittest.TestCase):
    """With the rate rule off: as fast as it goes, up to the limit."""

    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(support.Service("--stream-rate", "off"))
        cls.client = cls.service.client()
        cls.name = deploy_script(cls.client, "large", UPLOAD, MemorySize=1769)

    def test_ee_R4_off(self):
        run(self.client, self.name, "result = 1")
        # By the rule these would take 27 s.
        self.assertLess(timed(self.service, self.name, 60)[59], 10)

    def check(self, more):
        rest = f".write('x' * {more})" if more else ""
        text = f"Upload(identity).write_mib({STREAMED_MAX // MIB}){rest}.end()"
        raw = Raw(self.service, self.name, json.dumps({"code": code(text)}).encode())
        total = 0
        for headers, payload in raw.frames():
            if headers[":event-type"] == "PayloadChunk":
                total += len(payload)
        raw.close()
        self.service.settle(self.name)
        status = result_of(self.client, self.name, "result = STATE['reply']")
        return total, json.loads(payload), status

    def test_the_limit(self):
        self.assertEqual(self.check(0), (STREAMED_MAX, {}, ACCEPTED))

    def test_beyond_the_limit(self):
        total, end, (status, body) = self.check(1)
        # What fits has been sent.
        self.assertEqual(total, STREAMED_MAX)
        self.assertEqual(end["ErrorCode"], "Function.ResponseSizeTooLarge")
        self.assertIn(f"({STREAMED_MAX} bytes)", json.loads(end["ErrorDetails"])["errorMessage"])
        self.assertEqual(status, 413)
        self.assertEqual(json.loads(body)["errorType"], "RequestEntityTooLarge")

    def test_memory_is_bounded(self):
        with open(f"/proc/{self.service.pid}/status") as file:
            before = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
        with open(f"/proc/{self.service.pid}/clear_refs", "w") as file:
            file.write("5")
        self.check(0)
        with open(f"/proc/{self.service.pid}/status") as file:
            peak = int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
        self.assertLess(peak - before, 32 * 1024, "KiB, of the 200 MiB that went through")

    def test_a_client_that_stops_reading(self):
        name = deploy_script(self.client, "stalled", UPLOAD, Timeout=2)
        run(self.client, name, "result = 1")
        with open(f"/proc/{self.service.pid}/clear_refs", "w") as file:
            file.write("5")
        with open(f"/proc/{self.service.pid}/status") as file:
            before = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
        body = json.dumps({"code": code("Upload(identity).write_mib(100).end()")}).encode()
        raw = Raw(self.service, name, body)
        self.addCleanup(raw.close)
        # The upload waits until the time is over; then the environment serves others.
        self.service.settle(name)
        wait_until(lambda: "Status: timeout" in self.service.log(name), "the function has timed out")
        with open(f"/proc/{self.service.pid}/status") as file:
            peak = int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
        self.assertLess(peak - before, 32 * 1024, "KiB")
        self.assertEqual(result_of(self.client, name, "result = 1"), 1)
        # Who reads on after all gets what was sent, and how it ended.
        *chunks, (_, end) = raw.frames()
        total = sum(len(payload) for _, payload in chunks)
        self.assertTrue(0 < total < 100 * MIB, total)
        self.assertEqual(json.loads(end)["ErrorCode"], "Sandbox.Timedout")


class Leaving(unittest.TestCase):
    def test_ee_R6_client_disconnects(self):
        name = deploy_script(client, "left", UPLOAD, MemorySize=1769)
        text = f"""
            upload = Upload(identity).write("first")
            meet({gate.port}, "left")
            # More than the rule lets through: nobody waits for a caller who has gone.
            upload.write_mib(50).end()
            STATE["finished"] = True
        """
        raw = Raw(service, name, json.dumps({"code": code(text)}).encode())
        headers, payload = next(raw.frames())
        self.assertEqual(payload, b"first")
        gate.wait_for("left")
        [before] = service.environments(name)
        raw.close()
        gate.open("left")
        service.wait_for_states(name, "frozen")
        result = result_of(client, name, "result = [STATE['finished'], STATE['reply']]")
        self.assertEqual(result, [True, ACCEPTED])
        [after] = service.environments(name)
        self.assertEqual((after["id"], after["generation"]), (before["id"], 1))
        self.assertNotIn("Status:", service.log(name))

    def test_ee_R6_before_the_first_byte(self):
        name = deploy_script(client, "left-early", UPLOAD)
        text = f"meet({gate.port}, 'left-early')\nUpload(identity).write_mib(8).end()"
        path = f"/2021-11-15/functions/{name}/response-streaming-invocations"
        body = json.dumps({"code": code(text)}).encode()
        connection = socket.create_connection(("127.0.0.1", service.port))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        gate.wait_for("left-early")
        connection.close()
        gate.open("left-early")
        service.wait_for_states(name, "frozen")
        self.assertEqual(result_of(client, name, "result = STATE['reply']"), ACCEPTED)

    def test_draining_lets_a_stream_finish(self):
        with support.Service("--allow-host-port", str(gate.port)) as other:
            over = other.client()
            name = deploy_script(over, "drained", UPLOAD)
            text = f"upload = Upload(identity).write('first ')\nmeet({gate.port}, 'drained')\nupload.write('second').end()"
            read = Stream(over, name, {"code": code(text)})
            read.read(6)
            gate.wait_for("drained")
            other.terminate()
            wait_until(lambda: self.is_draining(other), "the service drains")
            gate.open("drained")
            self.assertEqual((read.finish().payload, read.end), (b"first second", {}))
            wait_until(lambda: other.process.poll() is not None, "the service ends")

    @staticmethod
    def is_draining(other):
        status, _, body = other.invoke_plain("drained")
        return status == 500 and b"shutting down" in body


NODE = r"""
const net = require("node:net");
const { Readable } = require("node:stream");
const { pipeline } = require("node:stream/promises");

const meet = (port, name) =>
  new Promise((resolve, reject) => {
    const gate = net.connect(port, "127.0.0.1", () => gate.write(name + "\n"));
    gate.once("data", resolve).once("error", reject);
  });

let invocations = 0;
const does = {
  async gated(event, stream) {
    stream.write("first ");
    await meet(event.port, event.gate);
    stream.write("second");
    stream.end();
  },
  async prelude(event, stream) {
    stream = awslambda.HttpResponseStream.from(stream, event.prelude);
    stream.write("body");
    stream.end();
  },
  async early() {
    throw new RangeError("before the first write");
  },
  async middle(event, stream) {
    stream.write("sent");
    throw new RangeError("in the middle");
  },
  async destroyed(event, stream) {
    stream.write("sent");
    stream.destroy(new RangeError("destroyed"));
  },
  async pipeline(event, stream) {
    const block = Buffer.alloc(65536, "x");
    const blocks = (function* () { for (let i = 0; i < event.mib * 16; i++) yield block; })();
    await pipeline(Readable.from(blocks), stream);
  },
  async count(event, stream) {
    stream.setContentType("application/json");
    stream.write(JSON.stringify(invocations));
    stream.end();
  },
};

exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  invocations += 1;
  await does[event.what](event, stream, context);
});

exports.plain = async (event) => ({ plain: event });
"""


class Handlers:
    """What a streaming handler does, whoever runs it."""

    def stream(self, what, **event):
        return stream(self.name, {"what": what, **event}, over=self.client)

    def test_ee_R1_progress(self):
        read = Stream(self.client, self.name, {"what": "gated", "port": gate.port, "gate": self.name})
        self.assertEqual(read.read(6), b"first ")
        gate.wait_for(self.name)
        gate.open(self.name)
        self.assertEqual((read.finish().payload, read.end), (b"first second", {}))
        self.client.coldframe.settle(self.name)

    def test_ee_R2_error_before_the_first_write(self):
        read = self.stream("early")
        self.assertEqual(read.payload, b"")
        self.assertEqual(read.details["errorType"], "RangeError")
        self.assertEqual(read.details["errorMessage"], "before the first write")
        self.assertIn(read.end["ErrorCode"], ("RangeError", "Unhandled"))
        answer = invoke(self.client, self.name, {"what": "early"})
        self.assertEqual((answer.error, answer.json["errorType"]), ("Unhandled", "RangeError"))

    def test_ee_R2_error_in_the_middle(self):
        read = self.stream("middle")
        self.assertEqual(read.payload, b"sent")
        self.assertEqual(read.end["ErrorCode"], "RangeError")
        self.assertEqual(read.details["errorType"], "RangeError")
        self.assertEqual(read.details["errorMessage"], "in the middle")
        self.assertTrue(read.details["trace"])
        # The runtime goes on.
        before = json.loads(self.stream("count").payload)
        self.assertEqual(json.loads(self.stream("count").payload), before + 1)

    def test_ee_R3_buffered_invoke(self):
        answer = invoke(self.client, self.name, {"what": "count"})
        self.assertEqual((answer.error, answer.content_type), (None, "application/json"))
        self.assertGreater(answer.json, 0)

    def test_ee_R7_prelude(self):
        prelude = {"statusCode": 418, "headers": {"X-Test": "ä"}, "cookies": ["a=b"]}
        head, body = self.stream("prelude", prelude=prelude).payload.split(bytes(8))
        self.assertEqual((json.loads(head), body), (prelude, b"body"))

    def test_a_pipeline_of_a_large_stream(self):
        read = self.stream("pipeline", mib=self.mib)
        self.assertEqual((len(read.payload), read.end), (self.mib * MIB, {}))
        self.assertEqual(read.payload.count(b"x"), len(read.payload))


class OwnNode(Handlers, unittest.TestCase):
    mib = 50

    @classmethod
    def setUpClass(cls):
        options = ["--stream-rate", "off", "--allow-host-port", str(gate.port)]
        cls.service = cls.enterClassContext(support.Service(*options))
        cls.client = cls.service.client()
        cls.name = deploy(
            cls.client, "node", {"index.js": NODE}, Runtime=tools.node_runtime(), Handler="index.handler"
        )

    def test_a_stream_that_the_handler_destroys(self):
        read = self.stream("destroyed")
        self.assertEqual((read.payload, read.details["errorMessage"]), (b"sent", "destroyed"))
        self.assertEqual(self.stream("pipeline", mib=1).end, {})

    def test_a_plain_handler_as_a_stream(self):
        name = deploy(
            self.client, "plain", {"index.js": NODE}, Runtime=tools.node_runtime(), Handler="index.plain"
        )
        read = stream(name, {"a": 1}, over=self.client)
        self.assertEqual((json.loads(read.payload), read.end), ({"plain": {"a": 1}}, {}))


class AwsNode(Handlers, unittest.TestCase):
    """AWS's own client, as it comes from npm."""

    mib = 20

    @classmethod
    def setUpClass(cls):
        example = tools.package(tools.example("runtime-client-node"))
        options = ["--stream-rate", "off", "--allow-host-port", str(gate.port)]
        cls.service = cls.enterClassContext(support.Service(*options))
        cls.client = cls.service.client()
        package = io.BytesIO(example)
        with zipfile.ZipFile(package, "a") as archive:
            entry = zipfile.ZipInfo("stream.js")
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, NODE)
        cls.name = deploy(
            cls.client, "aws-node", package.getvalue(),
            Runtime="provided.al2023", Handler="stream.handler",
        )


class AwsRust(unittest.TestCase):
    """The `lambda_runtime` crate, by the example stream-rust."""

    @classmethod
    def setUpClass(cls):
        cls.service = cls.enterClassContext(support.Service("--stream-rate", "off"))
        cls.client = cls.service.client()
        directory = tools.rust_example("stream-rust")
        cls.name = deploy(
            cls.client, "rust", tools.package(directory), Runtime="provided.al2023", Handler="bootstrap"
        )

    def test_chunks(self):
        read = stream(self.name, {"lines": 1000}, over=self.client)
        head, body = read.payload.split(bytes(8))
        self.assertEqual(json.loads(head)["statusCode"], 200)
        self.assertEqual(json.loads(head)["headers"]["content-type"], "text/plain")
        self.assertEqual(body, b"".join(b"line %d\n" % number for number in range(1, 1001)))
        self.assertEqual(read.end, {})

    def test_an_error_in_the_middle(self):
        # The crate writes its trailers into the body, as a chunk of it: bytes like all others.
        read = stream(self.name, {"lines": 2, "fail": True}, over=self.client)
        body = read.payload.split(bytes(8))[1]
        self.assertTrue(body.startswith(b"line 1\nline 2\nLambda-Runtime-Function-Error-Type: "), read)
        self.assertEqual(read.end, {})

    def test_ee_R3_buffered_invoke(self):
        answer = invoke(self.client, self.name, {"lines": 2})
        self.assertEqual(answer.content_type, "application/vnd.awslambda.http-integration-response")
        self.assertTrue(answer.payload.endswith(bytes(8) + b"line 1\nline 2\n"), answer)


TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

# Both kinds of handlers tell what they were told.
PYTHON_CONTEXT = """
import os
def handler(event, context):
    one = context.client_context
    return {
        "custom": one and one.custom, "title": one and one.client and one.client.app_title,
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "tenant": context.tenant_id, "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
"""
NODE_CONTEXT = """
exports.handler = async (event, context) => ({
  custom: context.clientContext?.custom ?? null, title: context.clientContext?.client?.app_title ?? null,
  identity: [context.identity?.cognitoIdentityId ?? null, context.identity?.cognitoIdentityPoolId ?? null],
  tenant: context.tenantId ?? null, trace: process.env._X_AMZN_TRACE_ID,
});
"""


class Context(unittest.TestCase):
    def field(self, name):
        return json.dumps({"code": f"result = event.fields.get('lambda-runtime-{name}')"})

    def told(self, function, name, fields):
        status, _, body = service.invoke_plain(function, self.field(name), fields)
        self.assertEqual(status, 200, body)
        service.settle(function)
        return json.loads(body)

    def test_ee_V18_pass_through(self):
        for given in (TRACE, TRACE + ";Lineage=1:a|2:b", "Root=1-5759e988-bd862e3fe1be46a994272793", "odd"):
            self.assertEqual(self.told(shared, "trace-id", {"X-Amzn-Trace-Id": given}), given)

    def test_ee_V18_active(self):
        name = deploy_script(client, "active", UPLOAD, TracingConfig={"Mode": "Active"})
        parents = set()
        for given, sampled, lineage in [
            (TRACE, 1, ""), (TRACE.replace("Sampled=1", "Sampled=0"), 0, ""),
            (TRACE.replace(";Sampled=1", ""), 0, ""), (TRACE + ";Lineage=1:a|2:b;Self=x", 1, ";Lineage=1:a|2:b"),
        ]:
            got = self.told(name, "trace-id", {"X-Amzn-Trace-Id": given})
            match = re.fullmatch(
                r"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=([0-9a-f]{16});(.*)", got
            )
            self.assertIsNotNone(match, got)
            self.assertEqual(match[2], f"Sampled={sampled}{lineage}")
            parents.add(match[1])
        # A segment of its own each time.
        self.assertEqual(len(parents), 4)
        self.assertNotIn("53995c3f42cd8ad8", parents)

    def test_ee_V18_a_trace_is_made_for_who_brings_none(self):
        whole = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"
        self.assertRegex(self.told(shared, "trace-id", {}), f"^{whole}$")
        name = deploy_script(client, "active-new", UPLOAD, TracingConfig={"Mode": "Active"})
        for fields in ({}, {"X-Amzn-Trace-Id": "odd"}, {"X-Amzn-Trace-Id": "Parent=53995c3f42cd8ad8"}):
            self.assertRegex(self.told(name, "trace-id", fields), f"^{whole}$")

    def test_ee_V18_streamed(self):
        body = self.field("trace-id").encode()
        raw = Raw(service, shared, body, {"X-Amzn-Trace-Id": TRACE})
        payloads = [payload for _, payload in raw.frames()]
        raw.close()
        service.settle(shared)
        self.assertEqual(json.loads(payloads[0]), TRACE)
        self.assertEqual(raw.fields["x-amzn-trace-id"], TRACE)

    CLIENT_CONTEXT = {"client": {"app_title": "Äpp ✓"}, "custom": {"a": "b\n\x7f"}, "env": {}}

    def test_ee_V19_headers(self):
        given = base64.b64encode(json.dumps(self.CLIENT_CONTEXT).encode()).decode()
        # Bytes of a header, which the script takes for Latin-1.
        told = self.told(shared, "client-context", {"X-Amz-Client-Context": given})
        self.assertEqual(json.loads(told.encode("latin-1")), self.CLIENT_CONTEXT)
        identity = {"X-Amz-Cognito-Identity-Id": "us-east-1:1", "X-Amz-Cognito-Identity-Pool-Id": "us-east-1:2"}
        told = json.loads(self.told(shared, "cognito-identity", identity))
        self.assertEqual(told, {"cognitoIdentityId": "us-east-1:1", "cognitoIdentityPoolId": "us-east-1:2"})
        for absent in ("client-context", "cognito-identity", "aws-tenant-id"):
            self.assertIsNone(self.told(shared, absent, {}))

    def test_ee_V19_handlers(self):
        fields = {
            "X-Amz-Client-Context": base64.b64encode(json.dumps(self.CLIENT_CONTEXT).encode()).decode(),
            "X-Amz-Cognito-Identity-Id": "us-east-1:1", "X-Amz-Cognito-Identity-Pool-Id": "us-east-1:2",
            "X-Amzn-Trace-Id": TRACE,
        }
        python = {"app.py": PYTHON_CONTEXT}
        node = {"app.js": NODE_CONTEXT}
        for name, files, runtime in [
            ("context-python", python, support.python_runtime()), ("context-node", node, tools.node_runtime()),
        ]:
            with self.subTest(name):
                deploy(client, name, files, Runtime=runtime)
                _, _, body = service.invoke_plain(name, b"{}", fields)
                self.assertEqual(json.loads(body), {
                    "custom": {"a": "b\n\x7f"}, "title": "Äpp ✓", "identity": ["us-east-1:1", "us-east-1:2"],
                    "tenant": None, "trace": TRACE,
                })
                service.settle(name)
                _, _, body = service.invoke_plain(name, b"{}")
                body = json.loads(body)
                self.assertNotEqual(body.pop("trace"), TRACE)
                self.assertEqual(body, {"custom": None, "title": None, "identity": [None, None], "tenant": None})

    def test_ee_N5_durable_input_and_output_pass_unchanged(self):
        # Execution-environment.md §10.3: the environment knows nothing of durable functions.
        given = {
            "DurableExecutionArn": "arn:aws:lambda:us-east-1:1:function:f:1/durable-execution/a/b",
            "CheckpointToken": "token==", "InitialExecutionState": {"Operations": [{"Id": "1"}], "NextMarker": ""},
            "code": "result = json.loads(event.body)",
        }
        payload = json.dumps(given, indent=3).encode()
        self.assertEqual(invoke(client, shared, payload).json, given)
        for status in ("SUCCEEDED", "FAILED", "PENDING"):
            result = '{"Status" :"%s", "Error":{"ErrorType":"E","ErrorData":null}}' % status
            text = f"post(identity, 'response', {result!r})\nraise Answered"
            answer = invoke(client, shared, {"code": text})
            self.assertEqual((answer.error, answer.payload), (None, result.encode()))


class Tenants(unittest.TestCase):
    LOOK = """
        known = os.path.exists("/tmp/tenant") and open("/tmp/tenant").read()
        told = event.fields.get("lambda-runtime-aws-tenant-id")
        open("/tmp/tenant", "w").write(told)
        result = {"told": told, "known": known, "log": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]}
    """

    @classmethod
    def setUpClass(cls):
        cls.name = deploy_script(
            client, "tenants", UPLOAD, TenancyConfig={"TenantIsolationMode": "PER_TENANT"}
        )

    def look(self, tenant):
        answer = invoke(client, self.name, {"code": textwrap.dedent(self.LOOK)}, TenantId=tenant)
        self.assertIsNone(answer.error, answer)
        return answer.json

    def test_ee_N1_each_tenant_has_its_own(self):
        shown = client.get_function_configuration(FunctionName=self.name)
        self.assertEqual(shown["TenancyConfig"], {"TenantIsolationMode": "PER_TENANT"})
        tenants = ["blue", "red", "a b", "Blue", "x:/=+-@._"]
        logs = {}
        for turn in range(3):
            for tenant in tenants:
                seen = self.look(tenant)
                self.assertEqual(seen["told"], tenant)
                self.assertEqual(seen["known"], tenant if turn else False)
                self.assertEqual(logs.setdefault(tenant, seen["log"]), seen["log"], "it is reused")
        self.assertEqual(len(set(logs.values())), len(tenants))

    def test_ee_N1_streams_too(self):
        event = {"code": textwrap.dedent(self.LOOK)}
        for tenant in ("stream-1", "stream-2"):
            read = stream(self.name, event, TenantId=tenant)
            self.assertEqual(json.loads(read.payload)["known"], False)
        seen = json.loads(stream(self.name, event, TenantId="stream-1").payload)
        self.assertEqual((seen["told"], seen["known"]), ("stream-1", "stream-1"))

    def test_ee_N1_an_idle_one_of_another_is_not_taken_for_lack_of_memory(self):
        with support.Service("--memory", "128") as other:
            over = other.client()
            isolation = {"TenantIsolationMode": "PER_TENANT"}
            name = deploy_script(over, "tight", UPLOAD, TenancyConfig=isolation, MemorySize=128)
            event = {"code": textwrap.dedent(self.LOOK)}
            for tenant in ("blue", "red", "blue"):
                seen = invoke(over, name, event, TenantId=tenant).json
                self.assertEqual((seen["told"], seen["known"]), (tenant, False))

    def test_ee_N1_handlers_are_told(self):
        isolation = {"TenantIsolationMode": "PER_TENANT"}
        for name, files, runtime in [
            ("tenant-python", {"app.py": PYTHON_CONTEXT}, support.python_runtime()),
            ("tenant-node", {"app.js": NODE_CONTEXT}, tools.node_runtime()),
        ]:
            deploy(client, name, files, Runtime=runtime, TenancyConfig=isolation)
            self.assertEqual(invoke(client, name, {}, TenantId="blue").json["tenant"], "blue")

    def test_ee_N1_refusals(self):
        invalid = client.exceptions.InvalidParameterValueException
        for call in (client.invoke, client.invoke_with_response_stream):
            with self.subTest(call.__name__):
                with self.assertRaises(invalid):
                    call(FunctionName=self.name)
                with self.assertRaises(invalid):
                    call(FunctionName=shared, TenantId="blue")
        for wrong in ("a!b", "x" * 257, ""):
            with self.subTest(wrong):
                status, *_ = service.invoke_plain(self.name, b"{}", {"X-Amz-Tenant-Id": wrong})
                self.assertEqual(status, 400)

    def test_ee_N1_it_cannot_be_changed(self):
        with self.assertRaises(botocore.exceptions.ParamValidationError):
            client.update_function_configuration(
                FunctionName=self.name, TenancyConfig={"TenantIsolationMode": "PER_TENANT"}
            )
        path = f"/2015-03-31/functions/{shared}/configuration"
        body = json.dumps({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}})
        self.assertEqual(service.request("PUT", path, body)[0], 200)
        support.updated(client, shared)
        shown = client.get_function_configuration(FunctionName=shared)
        self.assertNotIn("TenancyConfig", shown, "a member this operation doesn't have is passed over")


if __name__ == "__main__":
    unittest.main()
