"use strict";
// The function's log: `console` as AWS patches it.
//
// Every record is written before the call returns. A response must not overtake what the handler printed, and a process that
// dies has already said all it had to say.

const fs = require("node:fs");

const LEVELS = {
  TRACE: { name: "TRACE", priority: 1 },
  DEBUG: { name: "DEBUG", priority: 2 },
  INFO: { name: "INFO", priority: 3 },
  WARN: { name: "WARN", priority: 4 },
  ERROR: { name: "ERROR", priority: 5 },
  FATAL: { name: "FATAL", priority: 6 },
};

const FRAME_TEXT = 0xa55a0003;
const FRAME_JSON = 0xa55a0002;

// Libraries read the request id from here.
const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");
const TENANT_ID = Symbol.for("aws.lambda.runtime.tenantId");

const json = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";

function setInvocation(requestId, tenantId) {
  globalThis[REQUEST_ID] = requestId;
  globalThis[TENANT_ID] = tenantId;
}

function writeAll(fd, bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") {
        throw error;
      }
      // Node makes a pipe non-blocking once the function has used it as a stream; a full one has to drain.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function format(...values) {
  return require("node:util").format(...values);
}

function describeErrors(_key, value) {
  if (!(value instanceof Error)) {
    return value;
  }
  const stack = typeof value.stack === "string" ? value.stack.split("\n") : value.stack;
  return {
    errorType: value.constructor?.name ?? "UnknownError",
    errorMessage: value.message,
    stackTrace: stack,
    ...value,
  };
}

function jsonRecord(time, requestId, level, values) {
  const tenantId = globalThis[TENANT_ID];
  const record = { timestamp: time, level: level.name, requestId };
  if (tenantId !== undefined && tenantId !== null) {
    record.tenantId = tenantId;
  }
  if (values.length === 1) {
    record.message = values[0];
    try {
      return JSON.stringify(record, describeErrors);
    } catch {
      record.message = format(record.message);
      return JSON.stringify(record);
    }
  }
  record.message = format(...values);
  const error = values.find((value) => value instanceof Error);
  if (error) {
    record.errorType = error.constructor?.name ?? "UnknownError";
    record.errorMessage = error.message;
    record.stackTrace = typeof error.stack === "string" ? error.stack.split("\n") : [];
  }
  return JSON.stringify(record);
}

function frame(level, date, message) {
  const bytes = Buffer.allocUnsafe(16 + Buffer.byteLength(message));
  bytes.writeUInt32BE(((json ? FRAME_JSON : FRAME_TEXT) | (level.priority << 2)) >>> 0, 0);
  bytes.writeUInt32BE(bytes.length - 16, 4);
  bytes.writeBigInt64BE(BigInt(date.valueOf()) * 1000n, 8);
  bytes.write(message, 16);
  return bytes;
}

/** Replaces the methods of `console`. Records go to the frame descriptor if the platform gave one, else to standard output. */
function patchConsole(classic) {
  const { _LAMBDA_TELEMETRY_LOG_FD: descriptor } = process.env;
  delete process.env._LAMBDA_TELEMETRY_LOG_FD;
  const fd = descriptor === undefined ? undefined : parseInt(descriptor, 10);
  const noRequest = classic ? undefined : "-";
  const least = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;

  const write = (level, values) => {
    const date = new Date();
    const time = date.toISOString();
    const requestId = globalThis[REQUEST_ID] ?? noRequest;
    const record = json
      ? jsonRecord(time, requestId, level, values)
      : `${time}\t${requestId}\t${level.name}\t${format(...values)}`;
    if (fd === undefined) {
      // The platform ends a record at a line feed.
      writeAll(1, Buffer.from(record.replace(/\n/g, "\r") + "\n"));
    } else {
      writeAll(fd, frame(level, date, json ? record : record + "\n"));
    }
  };
  const method = (level) =>
    level.priority >= least.priority
      ? (message, ...values) => {
          write(level, [message, ...values]);
        }
      : () => {};

  console.trace = method(LEVELS.TRACE);
  console.debug = method(LEVELS.DEBUG);
  console.info = method(LEVELS.INFO);
  console.log = console.info;
  console.warn = method(LEVELS.WARN);
  console.error = method(LEVELS.ERROR);
  console.fatal = method(LEVELS.FATAL);
}

/** Logs an error that ended an invocation or the process. */
function logError(title, error) {
  const errors = require("./errors.cjs");
  const known = error instanceof Error ? error : new Error(error);
  if (json) {
    console.error(known);
  } else {
    console.error(title, errors.logText(known));
  }
}

module.exports = { patchConsole, setInvocation, logError };
