"""Error bodies, stack traces and the error lines of the log. Loaded at the first failure."""

import posix
import sys
import time
import traceback

import _coldframe_runtime as runtime

# Bytes. AWS's clients leave the cause out when it would be larger.
_CAUSE_SIZE_MAX = 1024 * 1024

_FRAME_JSON_ERROR = 0xA55A0016
_FRAME_TEXT_ERROR = 0xA55A0017

_NO_BREAK_SPACE = "\u00a0"


def unmarshal_reason(body, error):
    """Why `body` is not JSON, in the words of `json`, which the C scanner alone does not have."""
    import json

    try:
        json.loads(body)
    except Exception as reason:
        return str(reason)
    return "Expecting value: line 1 column 1 (char 0)" if error is None else str(error)


def frames(error):
    """The stack of `error` as tuples, without the runtime's own frames at its beginning."""
    own = runtime._DIRECTORY + "/_coldframe_"
    stack = [(frame.filename, frame.lineno, frame.name, frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    for index, frame in enumerate(stack):
        if not frame[0].startswith(own):
            return stack[index:]
    return stack


def body_of(error, request_id=""):
    """The error as AWS's client describes it, and the stack frames it tells of."""
    if isinstance(error, runtime.Fault):
        kind, message, stack, trace = error.kind, error.message, [], error.trace
    else:
        stack = frames(error)
        kind, message, trace = type(error).__name__, str(error), traceback.format_list(stack)
    return {"errorMessage": message or "", "errorType": kind, "requestId": request_id or "", "stackTrace": trace or []}, stack


def _cause(error, stack):
    """The header that tells X-Ray what failed; it travels as ASCII, as a header must."""
    import json

    fault = isinstance(error, runtime.Fault)
    described = {
        "message": error.message if fault else str(error),
        "type": "LambdaValidationError" if fault else type(error).__name__,
        "stack": [{"label": name, "path": path, "line": line} for path, line, name, _ in stack],
    }
    cause = {"working_directory": posix.getcwd(), "exceptions": [described], "paths": list({frame[0] for frame in stack})}
    text = json.dumps(cause).replace("\x7f", "\\u007f")
    return text if len(text) < _CAUSE_SIZE_MAX else ""


def _log(body, sink):
    if (runtime.getenv("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON":
        record = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": "ERROR"}
        record.update(body)
        sink.log_error([runtime.to_json(record)], _FRAME_JSON_ERROR)
        return
    first = "[ERROR]"
    if body["errorType"]:
        first += " " + body["errorType"]
    if body["errorMessage"]:
        first += (": " if body["errorType"] else " ") + body["errorMessage"]
    lines = [first, "Traceback (most recent call last):"]
    for element in body["stackTrace"]:
        for line in element.splitlines() or [""]:
            # Log viewers drop spaces at the beginning of a line.
            bare = line.lstrip(" ")
            lines.append(_NO_BREAK_SPACE * (len(line) - len(bare)) + bare)
    sink.log_error(lines, _FRAME_TEXT_ERROR)


def invocation_error(error, request_id, sink):
    """Logs a failed invocation. Answers the body and the X-Ray cause to post."""
    body, stack = body_of(error, request_id)
    _log(body, sink)
    return runtime.to_json(body).encode("utf-8", "backslashreplace"), _cause(error, stack)


def report(error, client, sink, path, kind=None):
    """Logs a failure outside an invocation and posts it."""
    body, _ = body_of(error)
    _log(body, sink)
    runtime._flush(sys.stdout, sys.stderr)
    # A class may have any name; what would end the header line must not come through.
    kind = "".join([letter if " " <= letter <= "~" else "?" for letter in kind or body["errorType"]])
    headers = [("Content-Type", "application/json"), ("Lambda-Runtime-Function-Error-Type", kind)]
    client.post(path, runtime.to_json(body).encode("utf-8", "backslashreplace"), headers)


def init_error(error, client, sink):
    report(error, client, sink, "init/error")
