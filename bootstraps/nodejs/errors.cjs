"use strict";
// Error bodies and the runtime's own errors. Loaded at the first failure.

const util = require("node:util");

// Bytes. AWS's clients leave the cause out when it would be larger.
const CAUSE_SIZE_MAX = 1024 * 1024;

function runtimeError(name) {
  const kind = { [name]: class extends Error {} }[name];
  kind.prototype.name = "Runtime." + name;
  return kind;
}

const UserCodeSyntaxError = runtimeError("UserCodeSyntaxError");

class UnhandledPromiseRejection extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}
UnhandledPromiseRejection.prototype.name = "Runtime.UnhandledPromiseRejection";

class CallbackHandlerDeprecated extends Error {
  constructor() {
    super(
      "ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to " +
        "modify this function to use a supported handler signature to use Node.js 24 or later. For more information see " +
        "https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html."
    );
    this.name = "Runtime.CallbackHandlerDeprecated";
  }
}

class NodeJsExit extends Error {
  constructor() {
    super("The event loop ran empty before the handler's promise was settled");
    this.name = "Runtime.NodeJsExit";
  }
}

class JSONStringifyError extends Error {
  constructor() {
    super("Unable to stringify response body");
    this.name = "Runtime.JSONStringifyError";
  }
}

function userCodeSyntaxError(error, classic) {
  const wrapped = new UserCodeSyntaxError(error);
  // The original stack is the one that says where in the function the error is.
  wrapped.stack = classic ? `${wrapped.name}: ${wrapped.message}\n${error.stack}` : error.stack;
  return wrapped;
}

// An HTTP header must not carry it, and AWS writes bodies the same way.
function withoutDelete(text) {
  return typeof text === "string" ? text.replace(/\x7f/g, "%7F") : text;
}

function isError(value) {
  return util.types.isNativeError(value) || ["name", "message", "stack"].every((key) => value?.[key] && typeof value[key] === "string");
}

function toBody(error) {
  try {
    if (isError(error)) {
      return {
        errorType: withoutDelete(error.name),
        errorMessage: withoutDelete(error.message),
        trace: withoutDelete(error.stack).split("\n"),
      };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: "handled",
      errorMessage:
        "callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack",
    };
  }
}

function stackEntry(line) {
  const text = line.trim().replace(/[()]/g, "");
  const words = text.substring(text.indexOf(" ") + 1);
  const space = words.lastIndexOf(" ");
  const [path, row] = words.slice(space + 1).split(":");
  return { path, line: parseInt(row, 10), label: (space >= 0 && words.slice(0, space)) || "anonymous" };
}

/** The header that tells X-Ray what failed, in ASCII as a header must be; empty if there is nothing to tell. */
function cause(error) {
  try {
    const stack = error.stack ? withoutDelete(error.stack).split("\n").slice(1).map(stackEntry) : [];
    const text = JSON.stringify({
      working_directory: process.cwd(),
      exceptions: [{ type: withoutDelete(error.name), message: withoutDelete(error.message), stack }],
      paths: [...new Set(stack.map((entry) => entry.path))],
    }).replace(/[\x7f-\uffff]/g, (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"));
    return text.length < CAUSE_SIZE_MAX ? text : "";
  } catch {
    return "";
  }
}

/** What to post about `error`: the body, its type as a header value, and X-Ray's cause. */
function describe(error) {
  const body = toBody(error);
  // A name may hold anything; what would end the header line must not come through.
  const type = String(body.errorType).replace(/[^\x20-\x7e]/g, "?");
  return { body: JSON.stringify(body), type, cause: cause(error) };
}

function withProperties(_key, value) {
  if (!(value instanceof Error)) {
    return value;
  }
  const shown = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
  if (typeof value.stack === "string") {
    shown.stack = value.stack.split("\n");
  }
  return shown;
}

/** The second half of an error record in text format. */
function logText(error) {
  try {
    return "\t" + JSON.stringify(error, withProperties);
  } catch {
    return "\t" + JSON.stringify(toBody(error));
  }
}

module.exports = {
  ImportModuleError: runtimeError("ImportModuleError"),
  HandlerNotFound: runtimeError("HandlerNotFound"),
  MalformedHandlerName: runtimeError("MalformedHandlerName"),
  MalformedStreamingHandler: runtimeError("MalformedStreamingHandler"),
  InvalidStreamingOperation: runtimeError("InvalidStreamingOperation"),
  UnhandledPromiseRejection,
  CallbackHandlerDeprecated,
  NodeJsExit,
  JSONStringifyError,
  userCodeSyntaxError,
  toBody,
  describe,
  logText,
};
