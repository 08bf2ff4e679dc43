"""What all suites share: a service of their own, clients, packages, and waiting without sleeping.

The suites know the service only by its binary, its Lambda API and its admin API.
"""

import base64
import concurrent.futures
import contextlib
import functools
import http.client
import io
import json
import os
import re
import signal
import socket
import socketserver
import stat
import subprocess
import tempfile
import textwrap
import threading
import time
import zipfile

import boto3
import botocore.config

BINARY = os.environ["COLDFRAME_BIN"]
ROLE = "arn:aws:iam::123456789012:role/any"
REGION = "us-east-1"

# Enough for any start on a busy machine. A condition that holds earlier ends the wait earlier.
DEADLINE_S = 30

# Memory that buys a whole CPU, so that a suite's own code inside doesn't crawl.
WHOLE_CPU_MB = 1769


def wait_until(condition, what, deadline_s=DEADLINE_S, every_s=0.01):
    """The first true value of `condition()`; fails when it takes longer than the deadline.

    `what` may be a function, for what is to be told as it stands then.
    """
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(every_s)


def together(*calls):
    """Starts every call at once; their futures."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(calls))
    futures = [pool.submit(call) for call in calls]
    pool.shutdown(wait=False)
    return futures


@functools.cache
def interpreters():
    """The runtimes the host can run, name and file, as `coldframe doctor` tells."""
    text = subprocess.run([BINARY, "doctor"], capture_output=True, text=True, check=False).stdout
    return dict(re.findall(r"^\s+((?:python3\.|nodejs)[\d.x]+)\s+(/\S+)$", text, re.MULTILINE))


@functools.cache
def python_runtime():
    """The newest managed Python that the host can run and AWS still takes."""
    names = [name for name in interpreters() if name.startswith("python3.")]
    minors = sorted(int(name.removeprefix("python3.")) for name in names)
    assert minors and minors[-1] >= 8, f"the host has no Python that AWS takes: {minors}"
    return f"python3.{[minor for minor in minors if minor <= 14][-1]}"


class Service:
    """A running `coldframe up`. A context manager: leaving ends it and looks at how it ended."""

    # What functions get that name none themselves.
    layers = ()

    def __init__(self, *options, data=None, variables=None, binary=BINARY, process=None):
        """`process`: what the service's process gets besides, e.g. another user."""
        self.options = options
        self.binary = binary
        self.process_options = process or {}
        self.data = data
        self.variables = variables or {}

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        # What has failed already is the better story.
        self.stop(check=kind is None)

    def start(self):
        kept = ["--data", self.data] if self.data else ["--ephemeral"]
        command = [self.binary, "up", "--listen", "127.0.0.1:0", *kept, *self.options]
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **self.variables},
            **self.process_options,
        )
        # A service that dies closes its output, so this ends.
        line = self.process.stdout.readline().decode()
        match = re.fullmatch(r"ready on (http://127\.0\.0\.1:(\d+)) \(.*\)\n", line)
        if not match:
            self.process.wait(DEADLINE_S)
            self.process.stdout.close()
            with self.errors:
                raise AssertionError(f"no ready line but {line!r}; {self.stderr()}")
        self.url, self.port = match[1], int(match[2])
        return self

    @property
    def pid(self):
        return self.process.pid

    def memory_mb(self, peak=False):
        """Resident memory of the service; `peak`: the most since the last look without."""
        if not peak:
            with open(f"/proc/{self.pid}/clear_refs", "w") as references:
                references.write("5")
        with open(f"/proc/{self.pid}/status") as status:
            field = "VmHWM" if peak else "VmRSS"
            return int(re.search(rf"{field}:\s+(\d+) kB", status.read())[1]) / 1024

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, check=True):
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "none, it had to be killed"
        self.process.stdout.close()
        errors = self.stderr()
        self.errors.close()
        if check:
            assert code == 0, f"exit {code}; {errors}"
            assert "panicked" not in errors, errors

    def kill(self):
        """`kill -9`: what is left is the next one's matter."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def client(self, service="lambda"):
        config = botocore.config.Config(
            # A function may take its time, and an error is to be seen, not retried.
            read_timeout=120,
            connect_timeout=10,
            retries={"total_max_attempts": 1},
            max_pool_connections=256,
            tcp_keepalive=True,
        )
        client = boto3.session.Session().client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=config,
        )
        client.coldframe = self
        return client

    def settle(self, name):
        """Waits until no environment is between an answer and the next event.

        Callers don't wait for that. One that came in between would be served by another
        environment, which is right and not what a test of reuse wants.
        """
        between = ("responded", "idle", "reset")

        def settled():
            try:
                return not any(one["state"] in between for one in self.environments(name))
            except (ConnectionError, http.client.HTTPException):
                # It is ending, and answers nobody new.
                return True

        wait_until(settled, f"environments of {name} have settled")

    def request(self, method, path, body=None, headers=None):
        """A plain request: status, headers (lower case), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            fields = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, fields, reply.read()
        finally:
            connection.close()

    def invoke_plain(self, name, body=b"{}", headers=None):
        path = f"/2015-03-31/functions/{name}/invocations"
        return self.request("POST", path, body, headers)

    def environments(self, name=None):
        """Every living environment, or those of one function."""
        status, _, body = self.request("GET", "/_coldframe/environments")
        assert status == 200, body
        found = json.loads(body)["environments"]
        return [one for one in found if name in (None, one["functionName"])]

    def environment(self, environment_id):
        """One with its timeline; `None` if it is gone."""
        status, _, body = self.request("GET", f"/_coldframe/environments/{environment_id}")
        return json.loads(body) if status == 200 else None

    def wait_for_states(self, name, *states):
        """Waits until the function's environments are in these states, in any order; them."""
        found = []

        def reached():
            found[:] = self.environments(name)
            return sorted(one["state"] for one in found) == sorted(states)

        wait_until(reached, f"environments of {name} in the states {states}")
        return found

    def log(self, name):
        """The function's whole log, as text."""
        status, _, body = self.request("GET", f"/_coldframe/logs/{name}")
        assert status == 200, body
        return "".join(json.loads(line)["message"] + "\n" for line in body.splitlines())


def client_of(service, account):
    """A client of another account: its access key is the account's number."""
    client = boto3.session.Session().client(
        "lambda",
        endpoint_url=service.url,
        region_name=REGION,
        aws_access_key_id=account,
        aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    client.coldframe = service
    return client


def zip_of(files):
    """A zip of `{name: content}` or `{name: (content, mode)}`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            content, mode = content if isinstance(content, tuple) else (content, 0o644)
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (mode if stat.S_IFMT(mode) else stat.S_IFREG | mode) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def create(client, name, files, **config):
    """CreateFunction; doesn't wait. `files` may be a finished zip."""
    package = files if isinstance(files, bytes) else zip_of(files)
    settings = {
        "Runtime": python_runtime(),
        "Handler": "app.handler",
        "Role": ROLE,
        "Timeout": 30,
        "MemorySize": WHOLE_CPU_MB,
        **config,
    }
    if client.coldframe.layers:
        settings.setdefault("Layers", client.coldframe.layers)
    return client.create_function(FunctionName=name, Code={"ZipFile": package}, **settings)


def deploy(client, name, files, **config):
    """Creates a function that is ready to be invoked; its name."""
    create(client, name, files, **config)
    waiter = client.get_waiter("function_active_v2")
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 1000})
    return name


def updated(client, name):
    """Waits until an update serves."""
    waiter = client.get_waiter("function_updated_v2")
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 1000})


class Answer:
    """What Invoke gave."""

    def __init__(self, reply):
        self.payload = reply["Payload"].read()
        self.error = reply.get("FunctionError")
        self.version = reply.get("ExecutedVersion")
        self.status = reply["StatusCode"]
        self.tail = base64.b64decode(reply.get("LogResult", "")).decode(errors="replace")
        fields = reply["ResponseMetadata"]["HTTPHeaders"]
        self.content_type = fields.get("content-type")
        self.request_id = fields["x-amzn-requestid"]

    @property
    def json(self):
        return json.loads(self.payload)

    @property
    def report(self):
        """The fields of the REPORT line, by name."""
        line = [line for line in self.tail.splitlines() if line.startswith("REPORT ")][-1]
        return dict(field.split(": ", 1) for field in line.rstrip("\t").split("\t"))

    def __repr__(self):
        return f"{self.status} {self.error} {self.payload[:2000]!r}\n{self.tail}"


def invoke(client, name, event=None, tail=False, **arguments):
    """Invoke; the event is an object, or bytes that go as they are. Returns when it is all over."""
    payload = event if isinstance(event, bytes) else json.dumps({} if event is None else event)
    if tail:
        arguments["LogType"] = "Tail"
    answer = Answer(client.invoke(FunctionName=name, Payload=payload, **arguments))
    client.coldframe.settle(name)
    return answer


# A function that does what the event says: the tests' code is beside what they expect of it.
LAB = """
import ctypes, errno, json, os, resource, signal, socket, subprocess, sys, threading, time

STATE = {}
BEGAN = time.monotonic()

def meet(port, name):
    "Comes to the test's gate and waits there until it opens."
    with socket.create_connection(("127.0.0.1", port)) as gate:
        gate.sendall(name.encode() + b"\\n")
        return gate.recv(1)

def handler(event, context):
    scope = dict(globals(), event=event, context=context, result=None)
    exec(event.get("code", ""), scope)
    return scope["result"]
"""

# The log stream is an environment's own, and known inside.
STREAM = "result = os.environ['AWS_LAMBDA_LOG_STREAM_NAME']"


def deploy_lab(client, name, init="", **config):
    """A [`LAB`]; `init` is code that runs in its init."""
    return deploy(client, name, {"app.py": LAB + textwrap.dedent(init)}, **config)


def run(client, name, code, tail=False, **event):
    """Runs code inside; its `result` is the answer's JSON."""
    return invoke(client, name, {"code": textwrap.dedent(code), **event}, tail=tail)


def result_of(client, name, code, **event):
    """As [`run`], for code that must end well: its result."""
    answer = run(client, name, code, **event)
    assert answer.error is None, answer
    return answer.json


@contextlib.contextmanager
def small_disk(directory, size):
    """A file system of its own at a directory, of so many megabytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


class LineServer:
    """Gets a line of JSON from each connection, and answers with one: `answer` of what it got.

    Functions reach it by `--allow-host-port`.
    """

    def __init__(self, answer):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                line = self.rfile.readline()
                if not line.endswith(b"\n"):
                    return
                told = answer(json.loads(line))
                try:
                    self.wfile.write(json.dumps(told).encode() + b"\n")
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 512

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Gate:
    """Where functions wait for the test, so that what is simultaneous is so by order, not by time.

    Reached by `--allow-host-port`: `meet(PORT, NAME)` inside waits until `open(NAME)` here.
    """

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.waiting = {}
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection):
        name = b""
        while not name.endswith(b"\n"):
            piece = connection.recv(100)
            if not piece:
                return
            name += piece
        with self.changed:
            self.waiting.setdefault(name.decode().strip(), []).append(connection)
            self.changed.notify_all()

    def wait_for(self, name, count=1):
        """Waits until so many stand at the gate of that name."""
        with self.changed:
            there = self.changed.wait_for(
                lambda: len(self.waiting.get(name, [])) >= count, DEADLINE_S
            )
            assert there, f"{len(self.waiting.get(name, []))} of {count} came to {name}"

    def open(self, name, count=None):
        """Lets `count` of them go on, or all."""
        with self.changed:
            waiting = self.waiting.get(name, [])
            count = len(waiting) if count is None else count
            leaving, self.waiting[name] = waiting[:count], waiting[count:]
        for connection in leaving:
            with connection:
                # One that has been killed meanwhile doesn't mind.
                try:
                    connection.sendall(b"!")
                except OSError:
                    pass

    def close(self):
        for name in list(self.waiting):
            self.open(name)
        self.listener.close()


# A runtime of its own that speaks the Runtime API by hand: what the event says is done between
# the event and the response, and `/var/task/init.py` before the first event.
SCRIPT = r'''
import base64, json, os, signal, socket, struct, subprocess, sys, threading, time, traceback

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime"
STATE = {}

class Reply:
    def __init__(self, head, body):
        self.head = head.decode("latin-1")
        lines = self.head.split("\r\n")
        self.line = lines[0]
        self.status = int(lines[0].split(" ")[1])
        self.fields = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            self.fields[name.lower()] = value
        self.body = body

    @property
    def text(self):
        return self.body.decode("latin-1")

    @property
    def both(self):
        return [self.status, self.text]

class Connection:
    def __init__(self, timeout=60):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = b""

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def request(self, method, path, body=b"", fields=None):
        body = body if isinstance(body, bytes) else body.encode()
        fields = {"Host": "x", "Content-Length": str(len(body)), **(fields or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return self.send(head.encode("latin-1") + b"\r\n" + body)

    def more(self):
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise EOFError("closed after " + repr(self.read[:200]))
        self.read += piece

    def reply(self):
        while b"\r\n\r\n" not in self.read:
            self.more()
        head, _, self.read = self.read.partition(b"\r\n\r\n")
        reply = Reply(head, b"")
        if reply.status == 100:
            return reply
        length = int(reply.fields.get("content-length", 0))
        while len(self.read) < length:
            self.more()
        reply.body, self.read = self.read[:length], self.read[length:]
        return reply

    def closed(self):
        "Whether the other side closes without a word more."
        try:
            return not self.read and not self.socket.recv(1)
        except ConnectionError:
            return True

    def close(self):
        self.socket.close()

def call(method, path, body=b"", fields=None):
    "One request on a connection of its own."
    connection = Connection()
    try:
        return connection.request(method, path, body, fields).reply()
    finally:
        connection.close()

def ask_next(fields=None):
    return call("GET", API + "/invocation/next", fields=fields)

def post(identity, what, body=b"{}", fields=None):
    return call("POST", f"{API}/invocation/{identity}/{what}", body, fields)

class Answered(Exception):
    "The code has answered the invocation itself."

def serve():
    if os.path.exists("/var/task/init.py"):
        exec(compile(open("/var/task/init.py").read(), "init.py", "exec"), globals())
    while True:
        event = ask_next()
        assert event.status == 200, event.both
        identity = event.fields["lambda-runtime-aws-request-id"]
        try:
            given = json.loads(event.body)
            code = given.get("code", "")
        except (ValueError, AttributeError):
            given, code = {}, STATE["code"]
        scope = dict(globals(), event=event, identity=identity, given=given, result=None)
        try:
            exec(code, scope)
            what, body = "response", json.dumps(scope["result"])
        except Answered:
            continue
        except Exception:
            what, body = "error", json.dumps({"errorType": "Script", "errorMessage": traceback.format_exc()})
        reply = post(identity, what, body)
        assert reply.status == 202, reply.both

if __name__ == "__main__":
    serve()
'''


def deploy_script(client, name, init="", script=SCRIPT, **config):
    """A function whose runtime is a script of ours. Also takes what [`run`] sends.

    With a Python that the sandbox shows anyway it is an OS-only runtime, else it is put in the
    place of the managed runtime by the wrapper that AWS has for such things.
    """
    files = {"script.py": script}
    if init:
        files["init.py"] = textwrap.dedent(init)
    below_usr = [file for file in interpreters().values() if re.match(r"/usr/(local/)?bin/python", file)]
    if below_usr:
        files["bootstrap"] = (f"#!/bin/sh\nexec {below_usr[0]} -S /var/task/script.py\n", 0o755)
        config.setdefault("Runtime", "provided.al2023")
    else:
        files["wrapper"] = ("#!/bin/sh\nexec \"$1\" -S /var/task/script.py\n", 0o755)
        config.setdefault("Environment", {}).setdefault("Variables", {})
        config["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] = "/var/task/wrapper"
    return deploy(client, name, files, **config)


# What extensions share, in a layer of theirs: a client that does what it is told. Internal
# extensions import it too: /opt/python is on a Python function's path.
EXTENSION = r'''
import http.client, json, os, signal, socket, sys, threading, time

class Reply:
    def __init__(self, reply):
        self.status = reply.status
        self.fields = {name.lower(): value for name, value in reply.getheaders()}
        self.text = reply.read().decode()
        try:
            self.json = json.loads(self.text)
        except ValueError:
            self.json = None

    @property
    def both(self):
        return [self.status, self.json]

def call(method, path, body=None, fields=None):
    "One request on a connection of its own."
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        connection.request(method, path, body, fields or {})
        return Reply(connection.getresponse())
    finally:
        connection.close()

def say(**what):
    "A line of the log that the test finds again."
    os.write(1, json.dumps({"by": NAME, **what}).encode() + b"\n")

def meet(name, port=None):
    "Comes to the test's gate and waits there until it opens."
    with socket.create_connection(("127.0.0.1", int(port or os.environ["GATE"]))) as gate:
        gate.sendall(name.encode() + b"\n")
        return gate.recv(1)

def keep(name, value):
    "Leaves something in /tmp, where the function finds it whole or not at all."
    with open(f"/tmp/{name}.new", "w") as file:
        json.dump(value, file)
    os.rename(f"/tmp/{name}.new", f"/tmp/{name}")

def await_file(name):
    while not os.path.exists(f"/tmp/{name}"):
        time.sleep(0.001)
    with open(f"/tmp/{name}") as file:
        return json.load(file)

NAME = os.path.basename(sys.argv[0])

class Extension:
    def __init__(self, name=NAME):
        self.name, self.id = name, None

    def ask(self, method, path, body=None, **fields):
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.id:
            fields.setdefault("Lambda-Extension-Identifier", self.id)
        return call(method, path, body if body is None or isinstance(body, str) else json.dumps(body), fields)

    def register(self, *events, **fields):
        fields.setdefault("Lambda_Extension_Name", self.name)
        reply = self.ask("POST", "/2020-01-01/extension/register", {"events": events}, **fields)
        self.id = reply.fields.get("lambda-extension-identifier")
        return reply

    def next(self):
        return self.ask("GET", "/2020-01-01/extension/event/next")

    def error(self, phase, kind="Extension.Test"):
        return self.ask("POST", f"/2020-01-01/extension/{phase}/error", {}, Lambda_Extension_Function_Error_Type=kind)

    def subscribe(self, destination, types=("platform", "function", "extension"), api="2022-07-01/telemetry", **more):
        body = {"schemaVersion": "2022-12-13", "types": types, "destination": destination, **more}
        return self.ask("PUT", "/" + api, {name: value for name, value in body.items() if value is not None})

    def serve(self, on_invoke=None, on_shutdown=None):
        "Takes events until the last, which it waits for."
        while True:
            event = self.next()
            assert event.status == 200, event.both
            if event.json["eventType"] == "SHUTDOWN":
                if on_shutdown:
                    on_shutdown(event)
                return
            if on_invoke:
                on_invoke(event)

class Subscriber:
    """A destination over HTTP: keeps what it gets, in /tmp too.

    `refuses(batch)`: whether it answers 500.
    """

    def __init__(self, port=4243, refuses=lambda batch: False):
        self.listener = socket.create_server(("sandbox.localdomain", port))
        self.destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}/a/path?and=query"}
        self.posts, self.refuses, self.changed = [], refuses, threading.Condition()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection):
        file = connection.makefile("rb")
        while first := file.readline():
            fields = {}
            while (line := file.readline()) != b"\r\n":
                name, value = line.decode().strip().split(": ", 1)
                fields[name.lower()] = value
            batch = json.loads(file.read(int(fields["content-length"])))
            status = 500 if self.refuses(batch) else 200
            self.got({"line": first.decode().strip(), "fields": fields, "status": status, "batch": batch})
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    def got(self, post):
        with self.changed:
            self.posts.append({"at": time.time(), **post})
            keep(NAME, self.posts)

    def tell(self, event=None):
        "Says everything, at the end."
        for post in self.posts:
            say(post=post)

class Receiver(Subscriber):
    "A destination over TCP."

    def __init__(self, port=4244):
        super().__init__(port)
        self.destination = {"protocol": "TCP", "port": port}

    def tell(self, event=None):
        # Nobody waits for what is still in the connection.
        reported = lambda: any(one["type"] == "platform.report" for post in self.posts for one in post["batch"])
        with self.changed:
            self.changed.wait_for(reported, 1)
        super().tell()

    def read(self, connection):
        for line in connection.makefile("rb"):
            self.got({"batch": [json.loads(line)], "status": 200})
'''


class Layered(Service):
    """A service whose functions have a layer, unless they name others.

    `{name: content}` or `{name: (content, mode)}`; what ends with a slash is an empty directory.
    """

    def __init__(self, layer, *options, **more):
        self.layer = zip_of({
            name: ("", stat.S_IFDIR | 0o755) if name.endswith("/") else content
            for name, content in layer.items()
        })
        super().__init__("--memory", "200000", *options, **more)

    def start(self):
        super().start()
        content = {"ZipFile": self.layer}
        layer = self.client().publish_layer_version(LayerName="layer", Content=content)
        self.layers = [layer["LayerVersionArn"]]
        return self

    def said(self, name):
        """What extensions and functions have said in the log by `say`, in order."""
        return said(self.log(name))


def said(log):
    lines = []
    for line in log.splitlines():
        if line.startswith('{"by": '):
            try:
                lines.append(json.loads(line))
            except ValueError:
                pass
    return lines


# Whatever python3 the sandbox shows; without the directories of a host's packages.
EXTENSION_HEAD = "#!/usr/bin/env -S python3 -S\nimport sys\nsys.path.insert(0, '/opt/python')\nfrom lab_extension import *\n"


def extensions(**scripts):
    """A layer of extensions: what each does, beside a client to do it with."""
    layer = {"python/lab_extension.py": EXTENSION}
    for name, script in scripts.items():
        script = EXTENSION_HEAD + textwrap.dedent(script)
        layer["extensions/" + name.replace("_", "-")] = (script, 0o755)
    return layer


def script_is_os_only():
    """Whether [`deploy_script`] makes OS-only functions on this host."""
    return any(re.match(r"/usr/(local/)?bin/python", file) for file in interpreters().values())
