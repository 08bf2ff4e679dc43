"""One connection, two ways: invocations that come whole don't go through hyper, all else does. Nobody
may see which way a request went, however it is cut."""

import contextlib
import json
import re
import socket
import tempfile
import time
import unittest

import support

ECHO = {"app.py": "def handler(event, context):\n    if event == 'fail':\n        raise ValueError('wanted')\n    return event\n"}
PATH = "/2015-03-31/functions/echo/invocations"
# Goes to hyper, and its connection with it.
LONG = b"GET /2015-03-31/functions/none HTTP/1.1\r\nHost: x\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LAST = b"GET /2015-03-31/functions/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def request(headers="", body='{"a": 1}', line=f"POST {PATH} HTTP/1.1", length=True):
    if length:
        headers += f"Content-Length: {len(body.encode())}\r\n"
    return f"{line}\r\nHost: x\r\n{headers}\r\n{body}".encode()


def signed(date):
    scope = f"AKIDEXAMPLE/{date}/eu-west-1/lambda/aws4_request"
    return f"X-Amz-Date: {date}T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n"


WHOLE = request()
CHUNKED = "8\r\n{\"a\": 1}\r\n0\r\n\r\n"
REQUESTS = [
    WHOLE,
    request(body=""),
    request(body="no json"),
    request(body='"fail"'),
    request(body="\u00e4"),
    request(body='"' + "x" * 7000 + '"'),
    request(body='"' + "x" * 20_000 + '"'),
    request(body='"' + "x" * 300_000 + '"'),
    request(length=False, body=""),
    request("X-Amz-Invocation-Type: DryRun\r\n"),
    request("X-Amz-Invocation-Type: Event\r\n"),
    request("x-AMZ-invocation-TYPE: RequestResponse\r\n"),
    request("X-Amz-Invocation-Type: Other\r\n"),
    request("X-Amz-Invocation-Type: DryRun\r\nX-Amz-Invocation-Type: Event\r\n"),
    request("X-Amz-Log-Type: None\r\n"),
    request("X-Amz-Log-Type: Other\r\n"),
    request("X-Amz-Client-Context: e30=\r\n"),
    request("X-Amz-Tenant-Id: t\r\n"),
    request("X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1\r\n"),
    request("X-Amzn-Trace-Id: \u00e4\r\n"),
    request("Content-Encoding: gzip\r\n"),
    request("Content-Type: text/plain\r\nUser-Agent: \u00e4\r\nAccept:\r\n"),
    request(signed("20260101")),
    request("Authorization: nonsense\r\n"),
    request("Origin: http://elsewhere\r\n"),
    request("Origin: http://x\r\n"),
    request("Host: y\r\n"),
    request().replace(b"Host: x", b"Host: id.lambda-url.eu-west-1.localhost"),
    request().replace(b"Host: x\r\n", b""),
    request(line=f"POST {PATH}?Qualifier=$LATEST HTTP/1.1"),
    request(line=f"POST {PATH}?Qualifier=none HTTP/1.1"),
    request(line=f"POST {PATH}? HTTP/1.1"),
    request(line=f"POST {PATH}/ HTTP/1.1"),
    request(line=f"POST {PATH}#a HTTP/1.1"),
    request(line=f"POST http://x{PATH} HTTP/1.1"),
    request(line=f"POST http://id.lambda-url.eu-west-1.localhost{PATH} HTTP/1.1"),
    request(line="POST /2015-03-31/functions/none/invocations HTTP/1.1"),
    request(line="POST /2015-03-31/functions/echo:none/invocations HTTP/1.1"),
    request(line="POST /2015-03-31/functions/%65cho/invocations HTTP/1.1"),
    request(line="POST /2015-03-31/functions//invocations HTTP/1.1"),
    request(line="POST /2015-03-31/functions/e/cho/invocations HTTP/1.1"),
    request(line="POST /2015-03-31/functions/../functions/echo/invocations HTTP/1.1"),
    request(line=f"POST /2015-03-31/functions/{'e' * 65}/invocations HTTP/1.1"),
    request(line=f"PUT {PATH} HTTP/1.1"),
    request(line=f"post {PATH} HTTP/1.1"),
    request(line=f"GET {PATH} HTTP/1.1"),
    request(line=f"POST {PATH} HTTP/1.0"),
    request("Connection: keep-alive\r\n", line=f"POST {PATH} HTTP/1.0"),
    request(line=f"POST {PATH} HTTP/1.2"),
    request(line=f"POST {PATH} HTTP/2.0"),
    request(line=f"POST {PATH}"),
    request(line=f"POST  {PATH} HTTP/1.1"),
    request(line=f"\r\n\r\nPOST {PATH} HTTP/1.1"),
    request().replace(b"\r\n", b"\n"),
    request("Connection: close\r\n"),
    request("Connection: keep-alive\r\n"),
    request("Connection: KEEP-ALIVE, close\r\n"),
    request("Connection: keep-alive\r\nConnection: close\r\n"),
    request("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    request("Expect: 100-continue\r\n"),
    request("Expect: other\r\n"),
    request("TE: trailers\r\n"),
    # What smugglers send.
    request("Content-Length: 8\r\n"),
    request("Content-Length: 9\r\n"),
    request("Content-Length: +8\r\n", length=False),
    request("Content-Length: 8, 8\r\n", length=False),
    request("Content-Length: -1\r\n", length=False),
    request("Content-Length: 0008\r\n", length=False),
    request("Content-Length: 0x8\r\n", length=False),
    request("Content-Length: 18446744073709551617\r\n", length=False),
    request("Content-Length : 8\r\n", length=False),
    request("Content-Length:\t8\t\r\n", length=False),
    request("Content-Length:\r\n", length=False),
    request("Content-Length: 8\r\n folded\r\n", length=False),
    request("Transfer-Encoding: chunked\r\n", CHUNKED, length=False),
    request("tRANSFER-eNCODING: cHUNKED\r\n", CHUNKED, length=False),
    request("Transfer-Encoding: chunked\r\n", CHUNKED),
    request("Content-Length: 8\r\nTransfer-Encoding: chunked\r\n", CHUNKED, length=False),
    request("Transfer-Encoding: identity\r\n"),
    request("Transfer-Encoding: chunked, gzip\r\n", CHUNKED, length=False),
    request("Transfer-Encoding : chunked\r\n", CHUNKED, length=False),
    request("Transfer-Encoding: \x0bchunked\r\n", CHUNKED, length=False),
    request("A\x00: b\r\n"),
    request("A: b\x00\r\n"),
    request("A: b\rc\r\n"),
    request("A b: c\r\n"),
    request(": c\r\n"),
    request("A: b\r\n" * 23),
    request("A: b\r\n" * 90),
    request("A: b\r\n" * 120),
    request(f"A: {'b' * 20_000}\r\n"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
]
VARIES = re.compile(
    rb"(?i)(date: |x-amzn-requestid: |x-amzn-trace-id: Root=1-|\"requestId\": ?\"|<RequestId>)[^\r\"<]*"
)


class Ways(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = support.Service().start()
        cls.addClassCleanup(cls.service.stop)
        support.deploy(cls.service.client(), "echo", ECHO)

    @contextlib.contextmanager
    def connection(self, service=None):
        address = ("127.0.0.1", (service or self.service).port)
        with socket.create_connection(address, support.DEADLINE_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection

    def answer(self, connection):
        """One answer, by its length; what has come when the connection ends before."""
        text = b""
        while True:
            head, found, body = text.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            if found and len(body) >= int(length[1] if length else 0):
                return text
            try:
                piece = connection.recv(1 << 16)
            except ConnectionResetError:
                return text
            if not piece:
                return text
            text += piece

    def all(self, connection):
        text = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                text += piece
        return text

    def seen(self, parts, first=b"", pipelined=False, service=None):
        """All that is answered, but for what differs each time."""
        with self.connection(service) as connection:
            if first:
                connection.sendall(first)
                self.answer(connection)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts[:-1]:
                    connection.sendall(part)
                    # Most likely it is read alone; if not, that is another cut.
                    time.sleep(0.001)
                connection.sendall(parts[-1] + (LAST if pipelined else b""))
            text = b"" if pipelined else self.answer(connection)
            if not pipelined:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(LAST)
            return VARIES.sub(rb"\1", text + self.all(connection))

    def check(self, service=None):
        for request in REQUESTS:
            whole = [request]
            for pipelined in (False, True):
                with self.subTest(request[:300], pipelined=pipelined):
                    wanted = self.seen(whole, LONG, pipelined, service)
                    self.assertEqual(self.seen(whole, b"", pipelined, service), wanted)
                    # A connection that has gone the short way before.
                    self.assertEqual(self.seen(whole, WHOLE, pipelined, service), wanted)

    def test_each_request_is_answered_the_same_on_both(self):
        self.check()

    def test_where_signatures_are_checked(self):
        with tempfile.TemporaryDirectory() as data:
            with support.Service("--auth", "sigv4", data=data) as strict:
                self.check(strict)

    def test_http_2_by_prior_knowledge(self):
        settings = b"\0\0\0\x04\0\0\0\0\0"
        for cut in (0, 3, 14, 24):
            with self.connection() as connection:
                for part in (PREFACE[:cut], PREFACE[cut:] + settings):
                    connection.sendall(part)
                    time.sleep(0.001)
                # A SETTINGS frame on stream 0.
                self.assertEqual(connection.recv(9)[3:4], b"\x04")

    def test_each_cut(self):
        for request in (WHOLE, REQUESTS[11]):
            wanted = self.seen([request], LONG)
            self.assertIn(b'{"a": 1}', wanted)
            for at in range(1, len(request)):
                with self.subTest(request, at=at):
                    self.assertEqual(self.seen([request[:at], request[at:]]), wanted)
        one_by_one = [bytes([byte]) for byte in WHOLE]
        self.assertEqual(self.seen(one_by_one), self.seen([WHOLE], LONG))

    def test_many_at_once(self):
        with self.connection() as connection:
            for count in (1, 2, 5):
                connection.sendall(WHOLE * count)
            connection.sendall(LAST)
            text = self.all(connection)
        self.assertEqual(text.count(b"HTTP/1.1 200 OK"), 8)

    def test_who_goes_while_the_function_runs(self):
        gate = support.Gate()
        self.addCleanup(gate.close)
        with support.Service("--allow-host-port", str(gate.port)) as service:
            support.deploy_lab(service.client(), "echo")
            code = f"meet({gate.port}, 'gate'); {support.STREAM}"
            waiting = request(body=json.dumps({"code": code}))
            streams = set()
            for first in (b"", LONG):
                # Gone altogether, or for writing only: nobody is answered, the function goes on.
                for leave in (socket.socket.close, lambda one: one.shutdown(socket.SHUT_WR)):
                    with self.connection(service) as connection:
                        if first:
                            connection.sendall(first)
                            self.answer(connection)
                        connection.sendall(waiting)
                        gate.wait_for("gate")
                        leave(connection)
                        if connection.fileno() >= 0:
                            self.assertEqual(self.all(connection), b"")
                    gate.open("gate")
                    service.settle("echo")
                # What is sent meanwhile is answered next.
                with self.connection(service) as connection:
                    connection.sendall(first + waiting)
                    gate.wait_for("gate")
                    connection.sendall(waiting)
                    gate.open("gate")
                    gate.wait_for("gate")
                    gate.open("gate")
                    connection.sendall(LAST)
                    text = self.all(connection)
                    self.assertEqual(text.count(b" 200 OK"), 2, text)
                    streams |= set(re.findall(rb'"(\d{4}/\d\d/\d\d/[^"]*)"', text))
            self.assertEqual(len(streams), 1, "one environment has served all of them")

    def test_idle_connections_end_with_the_service(self):
        with contextlib.ExitStack() as connections:
            with support.Service() as service:
                support.deploy(service.client(), "echo", ECHO)
                used = connections.enter_context(self.connection(service))
                fresh = connections.enter_context(self.connection(service))
                used.sendall(WHOLE)
                self.assertIn(b"200 OK", self.answer(used))
            self.assertEqual((self.all(used), self.all(fresh)), (b"", b""))


if __name__ == "__main__":
    unittest.main()
