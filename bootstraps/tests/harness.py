"""A Runtime API to test clients with, and the running of a client as a real process against it.

The server answers `next` with the events it was given, one after the other, and holds the one after the last: then, or when
the process exits, the run is over. Nothing sleeps; every wait has a deadline.
"""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

# Seconds. A run takes a tenth of one; this is for a machine that does something else.
DEADLINE = 20

# From the making of an event to its deadline: more than a client may take to start.
REMAINING_MS = 60000

# What Python compiles while testing; the source tree stays as it is.
COMPILED = tempfile.TemporaryDirectory()

BOOTSTRAPS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:f"


class Request:
    """What a client sent."""

    def __init__(self, method, path, headers, body, trailers, connection):
        self.method = method
        self.path = path.replace("/2018-06-01/runtime/", "")
        self.headers = headers
        self.body = body
        self.trailers = trailers
        self.connection = connection

    def json(self):
        return json.loads(self.body)


class RuntimeApi:
    """The server. `statuses` gives answers other than 202 by path suffix; `manner` says how answers are sent."""

    def __init__(self, invocations, statuses=None, manner="plain"):
        self.invocations = list(invocations)
        self.statuses = statuses or {}
        self.manner = manner
        self.requests = []
        self.over = threading.Condition()
        self.idle = False
        self.exited = False
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def wait(self, until_exit):
        with self.over:
            if not self.over.wait_for(lambda: self.exited or (self.idle and not until_exit), DEADLINE):
                raise AssertionError("the client neither came back for an event nor exited")

    def process_exited(self):
        with self.over:
            self.exited = True
            self.over.notify_all()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection, len(self.connections)), daemon=True).start()

    def _serve(self, connection, number):
        try:
            with connection, connection.makefile("rb") as stream:
                while self._serve_one(connection, stream, number):
                    pass
        except (OSError, ValueError):
            # The client went away, which the test sees by other means.
            pass

    def _serve_one(self, connection, stream, number):
        line = stream.readline()
        if not line:
            return False
        method, path, _ = line.decode().split(" ")
        headers = self._headers(stream)
        trailers = {}
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while True:
                size = int(stream.readline(), 16)
                if not size:
                    break
                body += stream.read(size)
                stream.readline()
            trailers = self._headers(stream)
        else:
            body = stream.read(int(headers.get("content-length", 0)))
        request = Request(method, path, headers, body, trailers, number)
        with self.over:
            self.requests.append(request)
        return self._answer(connection, request)

    @staticmethod
    def _headers(stream):
        headers = {}
        while True:
            line = stream.readline().decode().rstrip("\r\n")
            if not line:
                return headers
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()

    def _answer(self, connection, request):
        if request.path == "invocation/next" and not self.statuses.get("next"):
            with self.over:
                answer = self.invocations.pop(0) if self.invocations else None
                if answer is None:
                    self.idle = True
                    self.over.notify_all()
            if answer is None:
                # Held open until the client is gone.
                connection.recv(1)
                return False
            self._send(connection, 200, *answer)
        elif request.path == "restore/next":
            self._send(connection, self.statuses.get("restore/next", 200), {}, b"")
        else:
            status = next((status for suffix, status in self.statuses.items() if request.path.endswith(suffix)), 202)
            self._send(connection, status, {"Content-Type": "application/json"}, b'{"status":"OK"}\n')
        return self.manner != "close"

    def _send(self, connection, status, headers, body):
        lines = ["HTTP/1.1 %d Said" % status] + ["%s: %s" % item for item in headers.items()]
        if self.manner == "chunked":
            lines.append("Transfer-Encoding: chunked")
            half = len(body) // 2
            pieces = [piece for piece in (body[:half], body[half:]) if piece]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            lines.append("Content-Length: %d" % len(body))
        answer = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        if self.manner == "split":
            for at in range(0, len(answer), 7):
                connection.sendall(answer[at : at + 7])
        else:
            connection.sendall(answer)


def invocation(event=None, raw=None, request_id=REQUEST_ID, **headers):
    """One event and the headers that `next` gives with it. A header of `None` is left out."""
    given = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": request_id,
        "Lambda-Runtime-Deadline-Ms": "%d" % (time.time() * 1000 + REMAINING_MS),
        "Lambda-Runtime-Invoked-Function-Arn": ARN,
        "Lambda-Runtime-Trace-Id": "Root=1-2-3;Parent=4;Sampled=1",
    }
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    body = json.dumps(event).encode() if raw is None else raw
    return {name: value for name, value in given.items() if value is not None}, body


class Outcome:
    """What came of a run."""

    def __init__(self, requests, stdout, stderr, frames, exit_code):
        self.requests = requests
        self.stdout = stdout
        self.stderr = stderr
        self.frames = frames
        self.exit_code = exit_code

    @property
    def posts(self):
        return [request for request in self.requests if request.method == "POST"]


def read_frames(data):
    """The frames of a log descriptor as (type, text)."""
    frames = []
    while data:
        kind, length, _ = struct.unpack(">IIQ", data[:16])
        frames.append((kind, data[16 : 16 + length].decode()))
        data = data[16 + length :]
    return frames


def run(command, files, invocations, env=None, statuses=None, manner="plain", framed=False, until_exit=False):
    """Runs a client with the function made of `files`, until it asks for an event too many or, if so wanted, exits."""
    task = os.path.realpath(tempfile.mkdtemp())
    api = RuntimeApi(invocations, statuses, manner)
    try:
        for name, text in files.items():
            path = os.path.join(task, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "PYTHONPYCACHEPREFIX": COMPILED.name,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0",
            "LAMBDA_TASK_ROOT": task,
            "_HANDLER": "app.handler",
        }
        variables.update({name: value.replace("{task}", task) for name, value in (env or {}).items()})
        passed = ()
        if framed:
            reading, writing = os.pipe()
            variables["_LAMBDA_TELEMETRY_LOG_FD"] = str(writing)
            passed = (writing,)
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                [part.replace("{handler}", variables["_HANDLER"]) for part in command],
                cwd=task,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=passed,
            )
            if framed:
                os.close(writing)
            threading.Thread(target=lambda: (process.wait(), api.process_exited()), daemon=True).start()
            try:
                api.wait(until_exit)
            finally:
                # Still there only if it waits for an event that will not come.
                exit_code = None if api.idle and not until_exit else process.wait(DEADLINE)
                process.kill()
                process.wait()
            frames = []
            if framed:
                with os.fdopen(reading, "rb") as pipe:
                    frames = read_frames(pipe.read())
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace").replace(task, "{task}"))
        for request in api.requests:
            request.body = request.body.replace(task.encode(), b"{task}")
        return Outcome(api.requests, texts[0], texts[1], frames, exit_code)
    finally:
        api.close()
        shutil.rmtree(task)


def matches(expected, actual):
    """Whether `actual` is what was expected: a compiled pattern is searched for, everything else is compared."""
    if isinstance(expected, re.Pattern):
        return isinstance(actual, str) and expected.search(actual) is not None
    if isinstance(expected, dict) and isinstance(actual, dict):
        return set(expected) == set(actual) and all(matches(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(matches, expected, actual))
    return type(expected) is type(actual) and expected == actual


def setting(name, default):
    """A command line from the environment, for interpreters and for other clients to compare with."""
    return os.environ.get(name, default).split()
