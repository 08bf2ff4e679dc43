"""The Python runtime interface client: init, then one invocation after the other.

```text
main --imports the handler--> next --> handler --> response or error --> next ...
     \\--fails--> init/error, exit 1
```

Start time is what this file is shaped by. It imports C modules only: `json`, `http.client`, `logging`, `traceback` and
`os` cost more than the interpreter itself. What a failure or a log record needs is in the modules beside this one and is
loaded when it happens.
"""

import posix
import sys
from time import time

import _json
import _socket

_DIRECTORY = __file__.rpartition("/")[0]
_API = "/2018-06-01/runtime/"

# What one `recv` takes: most events and their headers fit.
_RECEIVE_SIZE = 65536


# --- Environment variables -------------------------------------------------------------------------------------------


def getenv(name, default=None):
    """Reads a variable without importing `os`."""
    os = sys.modules.get("os")
    if os is not None:
        return os.environ.get(name, default)
    value = posix.environ.get(name.encode())
    return default if value is None else value.decode(sys.getfilesystemencoding(), "surrogateescape")


def setenv(name, value):
    """Sets or, with `None`, removes a variable, for this process and its children.

    `os.environ` is made of `posix.environ` when `os` is first imported: before that, the latter is what must change.
    """
    os = sys.modules.get("os")
    if os is not None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
        return
    key = name.encode()
    if value is None:
        if posix.environ.pop(key, None) is not None:
            posix.unsetenv(key)
    else:
        encoded = value.encode(sys.getfilesystemencoding(), "surrogateescape")
        posix.environ[key] = encoded
        posix.putenv(key, encoded)


def helper(name):
    """Loads a module that lies beside this one, whatever `sys.path` says by now."""
    module = sys.modules.get(name)
    if module is None:
        from _frozen_importlib import _load
        from _frozen_importlib_external import spec_from_file_location

        module = _load(spec_from_file_location(name, _DIRECTORY + "/" + name + ".py"))
    return module


# --- Runtime API -----------------------------------------------------------------------------------------------------


class RuntimeApiError(RuntimeError):
    """The Runtime API answered something else than what was agreed: the runtime cannot go on."""


class RuntimeApi:
    """An HTTP client for exactly one server: one kept connection, one request at a time."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._socket = None
        agent = "coldframe-python/%d.%d.%d" % sys.version_info[:3]
        self._common = " HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n" % (address, agent)
        self._next = self._head("GET", "invocation/next", ()) + b"\r\n"

    def _head(self, method, path, headers):
        lines = "".join(["%s: %s\r\n" % header for header in headers])
        return (method + " " + _API + path + self._common + lines).encode("utf-8", "surrogateescape")

    def next(self):
        """Waits for the next invocation. Answers its headers, names in lower case, and the event's bytes."""
        status, headers, body = self._exchange(self._next)
        if status != 200:
            raise RuntimeApiError("Failed to get next: the Runtime API answered %d: %r" % (status, body))
        return headers, body

    def get(self, path):
        status, _, body = self._exchange(self._head("GET", path, ()) + b"\r\n")
        if status != 200:
            raise RuntimeApiError("Request to %s failed: the Runtime API answered %d: %r" % (path, status, body))

    def post(self, path, body, headers):
        """Posts `body`. Any answer outside 2xx raises, which ends the process as it does on AWS."""
        length = "Content-Length: %d\r\n\r\n" % len(body)
        request = self._head("POST", path, headers) + length.encode() + body
        status, _, answer = self._exchange(request)
        if not 200 <= status < 300:
            raise RuntimeApiError("Request to %s failed: the Runtime API answered %d: %r" % (path, status, answer))

    def _connect(self):
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.connect(self._address)
        # Without it the end of a large response may wait for the acknowledgement of its beginning.
        self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)

    def _exchange(self, request):
        reused = self._socket is not None
        if not reused:
            self._connect()
        try:
            self._socket.sendall(request)
            received = self._socket.recv(_RECEIVE_SIZE)
        except (ConnectionResetError, BrokenPipeError):
            if not reused:
                raise
            received = b""
        if not received:
            if not reused:
                raise RuntimeApiError("the Runtime API closed the connection")
            # A server may close a connection that rests; nothing was answered, so nothing was done.
            self._socket.close()
            self._connect()
            self._socket.sendall(request)
            received = self._socket.recv(_RECEIVE_SIZE)
        return self._answer(received)

    def _answer(self, received):
        end = received.find(b"\r\n\r\n")
        while end < 0:
            received += self._receive()
            end = received.find(b"\r\n\r\n")
        lines = received[:end].decode("utf-8", "surrogateescape").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = received[end + 4 :]
        if status == 100:
            return self._answer(body or self._receive())
        length = headers.get("content-length")
        if length is not None:
            body = self._body(body, int(length))
        elif "transfer-encoding" in headers:
            body = self._chunks(body)
        if headers.get("connection", "").lower() == "close":
            self._socket.close()
            self._socket = None
        return status, headers, body

    def _receive(self):
        received = self._socket.recv(_RECEIVE_SIZE)
        if not received:
            raise RuntimeApiError("the Runtime API closed the connection within an answer")
        return received

    def _body(self, begun, length):
        have = len(begun)
        if have >= length:
            return begun
        body = bytearray(length)
        body[:have] = begun
        rest = memoryview(body)[have:]
        while rest:
            count = self._socket.recv_into(rest)
            if not count:
                raise RuntimeApiError("the Runtime API closed the connection within an answer")
            rest = rest[count:]
        return bytes(body)

    def _chunks(self, buffer):
        body = b""
        while True:
            while b"\r\n" not in buffer:
                buffer += self._receive()
            size, _, buffer = buffer.partition(b"\r\n")
            size = int(size.partition(b";")[0], 16)
            if not size:
                break
            while len(buffer) < size + 2:
                buffer += self._receive()
            body += buffer[:size]
            buffer = buffer[size + 2 :]
        while True:
            while b"\r\n" not in buffer:
                buffer += self._receive()
            line, _, buffer = buffer.partition(b"\r\n")
            if not line:
                return body


# --- Payloads --------------------------------------------------------------------------------------------------------


class Fault(Exception):
    """A failure that the runtime itself names, such as `Runtime.ImportModuleError`."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace


def _no_constant(name):
    raise ValueError(name)


class _DecoderOptions:
    """What `_json.make_scanner` asks of the decoder it is made for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _no_constant


try:
    _scan = _json.make_scanner(_DecoderOptions)
except AttributeError:
    # A later Python asks for more than is known here.
    import json

    _scan = json.JSONDecoder(parse_constant=_no_constant).scan_once


def unmarshal(body):
    try:
        text = body.decode().strip(" \t\n\r")
        event, end = _scan(text, 0)
        if end == len(text):
            return event
        reason = None
    except Exception as error:
        reason = error
    text = helper("_coldframe_errors").unmarshal_reason(body, reason)
    raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: " + text)


class _Raw(str):
    """Text that goes into the JSON as it is."""


class _NeedsRaw(Exception):
    """A value has no place in what the C encoder writes by itself."""


def _ascii_only():
    # AWS escapes everything outside ASCII up to python3.11 and nothing from python3.12 on.
    prefix, _, minor = getenv("AWS_EXECUTION_ENV", "").rpartition(".")
    if prefix == "AWS_Lambda_python3" and minor.isdigit():
        return int(minor) < 12
    return sys.version_info < (3, 12)


_basestring = _json.encode_basestring_ascii if _ascii_only() else _json.encode_basestring


def _default(value):
    """What to encode in place of a value that JSON does not know."""
    if isinstance(value, bytes):
        return str(value, "utf-8")
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        if value.is_nan():
            return float("nan")
        raise _NeedsRaw
    as_dict = getattr(value, "_asdict", None)
    if callable(as_dict):
        return _plain(as_dict())
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def _default_raw(value):
    try:
        return _default(value)
    except _NeedsRaw:
        return _Raw(value)


def _basestring_raw(text):
    return str(text) if type(text) is _Raw else _basestring(text)


def _encode(value, default, basestring):
    # A new set of markers each time: a failed encoding leaves its own behind.
    encoder = _json.make_encoder({}, default, basestring, None, ": ", ", ", False, False, True)
    return "".join(encoder(value, 0))


_standard_library = getattr(sys, "stdlib_module_names", frozenset(["functools", "urllib", "inspect", "dis", "tokenize"]))


def _has_named_tuples():
    """Whether the function may hold named tuples: AWS writes them as objects, the C encoder as arrays."""
    for kind in tuple.__subclasses__():
        if hasattr(kind, "_asdict") and kind.__module__.partition(".")[0] not in _standard_library:
            return True
    return False


def _plain(value):
    """The same value with named tuples as dictionaries and byte keys as text."""
    if isinstance(value, dict):
        return {k.decode() if isinstance(k, bytes) else k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, tuple):
        as_dict = getattr(value, "_asdict", None)
        return _plain(as_dict()) if callable(as_dict) else [_plain(v) for v in value]
    return value


def _has_byte_keys(value):
    if isinstance(value, dict):
        return any(isinstance(k, bytes) or _has_byte_keys(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return any(_has_byte_keys(v) for v in value)
    return False


def to_json(value):
    if _has_named_tuples():
        try:
            value = _plain(value)
        except RecursionError:
            # It contains itself: the encoder says so in its own words.
            pass
    try:
        return _encode(value, _default, _basestring)
    except _NeedsRaw:
        return _encode(value, _default_raw, _basestring_raw)
    except TypeError as error:
        if str(error).endswith("not bytes") and _has_byte_keys(value):
            return to_json(_plain(value))
        raise


def marshal(response):
    """The body of a response and its content type."""
    if isinstance(response, bytes):
        return response, "application/unknown"
    try:
        return to_json(response), "application/json"
    except Exception as error:
        raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error)


# --- Context ---------------------------------------------------------------------------------------------------------


class LambdaContext:
    """What the handler gets as its second argument."""

    def __init__(
        self, invoke_id, client_context, cognito_identity, epoch_deadline_time_in_ms, invoked_function_arn=None, tenant_id=None
    ):
        self.aws_request_id = invoke_id
        self.log_group_name = getenv("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = getenv("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = getenv("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = getenv("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self._w3c_fields = _take_w3c(client_context)
        self.client_context = None
        if client_context is not None:
            self.client_context = _filled(ClientContext, client_context)
            if self.client_context.client is not None:
                self.client_context.client = _filled(Client, self.client_context.client)
        self.identity = CognitoIdentity()
        identity = cognito_identity if cognito_identity is not None else {}
        self.identity.cognito_identity_id = identity.get("cognitoIdentityId")
        self.identity.cognito_identity_pool_id = identity.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms

    def get_remaining_time_in_millis(self):
        remaining = self._epoch_deadline_time_in_ms - int(time() * 1000)
        return remaining if remaining > 0 else 0

    def w3c(self):
        """The W3C trace context that came with the invocation."""
        return dict(self._w3c_fields)

    def log(self, msg):
        logging = sys.modules.get("logging")
        if logging is None or not hasattr(logging, "getLogger"):
            current.sink.log(str(msg))
            return
        for handler in logging.getLogger().handlers:
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))

    def __repr__(self):
        return _shown(
            self,
            (
                "aws_request_id",
                "log_group_name",
                "log_stream_name",
                "function_name",
                "memory_limit_in_mb",
                "function_version",
                "invoked_function_arn",
                "client_context",
                "identity",
                "tenant_id",
            ),
        )


class CognitoIdentity:
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __repr__(self):
        return _shown(self, self.__slots__)


class Client:
    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]

    def __repr__(self):
        return _shown(self, self.__slots__)


class ClientContext:
    __slots__ = ["custom", "env", "client"]

    def __repr__(self):
        return _shown(self, self.__slots__)


def _shown(value, fields):
    return "%s([%s])" % (type(value).__name__, ",".join(["%s=%s" % (field, getattr(value, field)) for field in fields]))


def _filled(kind, fields):
    value = kind()
    for field in kind.__slots__:
        setattr(value, field, fields.get(field))
    return value


def _take_w3c(client_context):
    """Moves the trace context out of the client context, where it travels but is not meant to be seen."""
    if not isinstance(client_context, dict):
        return {}
    fields = client_context.pop("w3c", None)
    if not isinstance(fields, dict):
        return {}
    return {name: fields[name] for name in ("traceparent", "tracestate", "baggage") if isinstance(fields.get(name), str)}


def _json_header(text, name):
    if not text:
        return None
    try:
        return unmarshal(text.encode("utf-8", "surrogateescape"))
    except Fault as fault:
        reason = fault.message.partition(": ")[2]
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, reason))


def _context(headers):
    return LambdaContext(
        headers.get("lambda-runtime-aws-request-id"),
        _json_header(headers.get("lambda-runtime-client-context"), "Client Context"),
        _json_header(headers.get("lambda-runtime-cognito-identity"), "Cognito Identity"),
        int(headers.get("lambda-runtime-deadline-ms") or 0),
        headers.get("lambda-runtime-invoked-function-arn"),
        headers.get("lambda-runtime-aws-tenant-id"),
    )


# --- Logs ------------------------------------------------------------------------------------------------------------


class LineSink:
    """Log records on standard output."""

    def log(self, msg, frame_type=None):
        sys.stdout.write(msg)

    def log_error(self, lines, frame_type):
        # The platform ends a record at a line feed; a carriage return keeps a stack trace in one record.
        sys.stdout.write("\r".join(lines) + "\n")


class FrameSink:
    """Log records on a descriptor of their own, each in a frame that says its length, time and level."""

    def __init__(self, fd):
        self._fd = fd

    def log(self, msg, frame_type=None):
        message = msg.encode("utf-8", "backslashreplace")
        frame = b"".join(
            [
                (frame_type or 0xA55A0003).to_bytes(4, "big"),
                len(message).to_bytes(4, "big"),
                int(time() * 1000000).to_bytes(8, "big"),
                message,
            ]
        )
        while frame:
            frame = frame[posix.write(self._fd, frame) :]

    def log_error(self, lines, frame_type):
        self.log("\n".join(lines), frame_type)


def _sink():
    fd = getenv("_LAMBDA_TELEMETRY_LOG_FD")
    if fd is None:
        return LineSink()
    setenv("_LAMBDA_TELEMETRY_LOG_FD", None)
    fd = int(fd)
    # Children of the function must not hold the log open.
    posix.set_inheritable(fd, False)
    return FrameSink(fd)


class _LoggingHook:
    """Sets `logging` up at the moment somebody first imports it, so that functions without it do not pay for it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "logging":
            return None
        for finder in sys.meta_path:
            if finder is not _LoggingHook:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _LoggingLoader(spec.loader)
                    return spec
        return None


class _LoggingLoader:
    """Runs `logging` by its own loader, then adds the handler."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if _LoggingHook in sys.meta_path:
            sys.meta_path.remove(_LoggingHook)
        # A package of the function may bear this name; then there is nothing to set up.
        if hasattr(module, "Formatter") and hasattr(module, "getLogger"):
            helper("_coldframe_logging").set_up(module, current)


class _Current:
    """What log records say about the invocation they belong to."""

    request_id = None
    tenant_id = None
    sink = LineSink()


current = _Current()


# --- Phases ----------------------------------------------------------------------------------------------------------


def _is_directory(path):
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False


def _set_path(task_root, runtime_directory):
    """Orders `sys.path` as on AWS: the function, layers, the runtime, then the interpreter's own directories."""
    version = "python%d.%d" % sys.version_info[:2]
    mine = {"", task_root, runtime_directory, _DIRECTORY}
    chosen = [entry for entry in getenv("PYTHONPATH", "").split(":") if entry not in mine]
    layers = ["/opt/python/lib/" + version + "/site-packages", "/opt/python"]
    layers = [entry for entry in layers if _is_directory(entry)]
    interpreter = [entry for entry in sys.path if entry not in mine and entry not in chosen and entry not in layers]
    if sys.flags.no_site:
        for entry in (
            sys.prefix + "/local/lib/" + version + "/dist-packages",
            sys.prefix + "/lib/python3/dist-packages",
            sys.prefix + "/lib/" + version + "/site-packages",
        ):
            if entry not in interpreter and _is_directory(entry):
                interpreter.append(entry)
    sys.path[:] = [task_root] + chosen + layers + [runtime_directory] + interpreter
    return chosen


def _do_as_site(chosen):
    """What `site` does for user code, when `-S` kept it from running."""
    import builtins

    import _sitebuiltins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    if chosen:
        # Wrapper scripts put instrumentation there and rely on it being found.
        try:
            __import__("sitecustomize")
        except ImportError as error:
            if error.name != "sitecustomize":
                raise


def _load_handler(handler):
    module_name, dot, function = handler.rpartition(".")
    if not dot:
        reason = "not enough values to unpack (expected 2, got 1)"
        raise Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (handler, reason))
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module_name)
    name = module_name.replace("/", ".")
    try:
        if name.startswith("."):
            from importlib import import_module

            import_module(name)
        else:
            __import__(name)
        module = sys.modules[name]
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error))
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise Fault("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, error), trace)
    try:
        return getattr(module, function)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function, module_name))


def _flush(*streams):
    for stream in streams:
        try:
            stream.flush()
        except Exception:
            # The function closed or replaced it; its response still counts.
            pass


def _line_buffer(stream):
    try:
        stream.reconfigure(line_buffering=True)
    except AttributeError:
        pass


def _invoke(client, handler, headers, body):
    request_id = headers.get("lambda-runtime-aws-request-id")
    path = "invocation/" + (request_id or "")
    attempt = headers.get("lambda-runtime-invocation-id")
    echo = [("Lambda-Runtime-Invocation-Id", attempt)] if attempt else []
    content_type = headers.get("content-type")
    try:
        context = _context(headers)
        event = unmarshal(body) if content_type is None or content_type == "application/json" else body
        response = handler(event, context)
        result, content_type = marshal(response)
    except Exception as error:
        error_body, cause = helper("_coldframe_errors").invocation_error(error, request_id, current.sink)
        _flush(sys.stdout, sys.stderr, sys.__stdout__)
        if cause:
            echo.append(("Lambda-Runtime-Function-XRay-Error-Cause", cause))
        client.post(path + "/error", error_body, [("Content-Type", "application/json")] + echo)
        return
    _flush(sys.stdout, sys.stderr, sys.__stdout__)
    if type(result) is str:
        result = result.encode()
    client.post(path + "/response", result, [("Content-Type", content_type)] + echo)


def main(arguments):
    """Runs init and the invoke loop. Returns never; an uncaught exception is the exit that AWS makes of it."""
    task_root = getenv("LAMBDA_TASK_ROOT", "/var/task")
    _line_buffer(sys.stdout)
    _line_buffer(sys.stderr)
    chosen = _set_path(task_root, getenv("LAMBDA_RUNTIME_DIR", "/var/runtime"))
    client = RuntimeApi(getenv("AWS_LAMBDA_RUNTIME_API"))
    current.sink = _sink()
    logging = sys.modules.get("logging")
    if logging is not None:
        helper("_coldframe_logging").set_up(logging, current)
    else:
        sys.meta_path.insert(0, _LoggingHook)
    if sys.flags.no_site:
        _do_as_site(chosen)
    try:
        handler = _load_handler(arguments[1] if len(arguments) > 1 else getenv("_HANDLER", ""))
    except Exception as error:
        helper("_coldframe_errors").init_error(error, client, current.sink)
        sys.exit(1)
    if getenv("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        helper("_coldframe_snapstart").wait_for_restore(client, current.sink)
    while True:
        headers, body = client.next()
        current.request_id = headers.get("lambda-runtime-aws-request-id")
        current.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        setenv("_X_AMZN_TRACE_ID", headers.get("lambda-runtime-trace-id") or None)
        _invoke(client, handler, headers, body)
