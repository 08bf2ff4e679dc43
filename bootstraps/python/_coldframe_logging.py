"""Sets the standard `logging` package up as AWS does. Loaded when the function imports `logging`."""

import time

import _coldframe_runtime as runtime

_TEXT = 1
_DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"

# Attributes of every record; any other came by `extra` and belongs into a JSON record.
_OWN_ATTRIBUTES = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs "
    "relativeCreated thread threadName processName process taskName aws_request_id tenant_id _frame_type".split()
)


def _level(record):
    return min(50, max(0, record.levelno)) // 10 * 10


def _frame_type(level, text):
    """Type of a frame: 0 is no level, 10 is DEBUG, which the frame counts as 2."""
    return 0xA55A0002 | text | ((level // 10 + 1 if level else 0) << 2)


def set_up(logging, current):
    json_format = (runtime.getenv("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON"
    level = runtime.getenv("AWS_LAMBDA_LOG_LEVEL") or ""
    level = "DEBUG" if level == "TRACE" else level.upper()

    class LambdaLoggerHandler(logging.Handler):
        """Gives every record to the sink."""

        def __init__(self, log_sink):
            logging.Handler.__init__(self)
            self.log_sink = log_sink

        def emit(self, record):
            self.log_sink.log(self.format(record))

    class LambdaLoggerHandlerWithFrameType(LambdaLoggerHandler):
        """Gives every record to the sink and says its level outside the text too."""

        def emit(self, record):
            text = self.format(record)
            self.log_sink.log(text, getattr(record, "_frame_type", None) or _frame_type(_level(record), _TEXT))

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = current.request_id or ""
            record.tenant_id = current.tenant_id
            return True

    class JsonFormatter(logging.Formatter):
        def __init__(self):
            logging.Formatter.__init__(self, datefmt=_DATE_FORMAT + "Z")

        def format(self, record):
            import json
            import traceback

            record.levelno = _level(record)
            record.levelname = logging.getLevelName(record.levelno)
            record._frame_type = _frame_type(record.levelno, 0)
            failure = record.exc_info or None
            structured = isinstance(record.msg, dict) and not record.args
            fields = {
                "timestamp": self.formatTime(record, self.datefmt),
                "level": record.levelname,
                "message": record.msg if structured else record.getMessage(),
                "logger": record.name,
                "stackTrace": failure and traceback.format_tb(failure[2]),
                "errorType": failure and failure[0] and failure[0].__name__,
                "errorMessage": failure and str(failure[1]),
                "requestId": getattr(record, "aws_request_id", None),
                "location": failure and "%s:%s:%s" % (record.pathname, record.funcName, record.lineno),
            }
            if getattr(record, "tenant_id", None) is not None:
                fields["tenantId"] = record.tenant_id
            for name, value in record.__dict__.items():
                if name not in _OWN_ATTRIBUTES and name not in fields:
                    fields[name] = value
            fields = {name: value for name, value in fields.items() if value is not None}
            return json.dumps(fields, ensure_ascii=False, default=str) + "\n"

    logging.Formatter.converter = time.gmtime
    handler = (LambdaLoggerHandlerWithFrameType if json_format or level else LambdaLoggerHandler)(current.sink)
    if json_format:
        handler.setFormatter(JsonFormatter())
    else:
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, _DATE_FORMAT))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    if level in logging._nameToLevel:
        root.setLevel(level)
    root.addHandler(handler)
