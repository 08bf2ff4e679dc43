"use strict";
// The Node.js runtime interface client: init, then one invocation after the other.
//
//     load the handler --> next --> handler --> response or error --> next ...
//          \--fails--> init/error, exit
//
// AWS has two clients. Up to Node 22 a handler may take a callback and the response may wait for an empty event loop; from
// Node 24 on only promises and plain return values count. `classic` says which one this process stands for.
//
// Start time is what this file is shaped by: one socket of `net` and no `http`; streaming and error formatting lie in files
// of their own and are loaded when they happen.

const fs = require("node:fs");
const path = require("node:path");
const { Client } = require("./client.cjs");
const log = require("./log.cjs");

const env = process.env;
const major = parseInt(/^AWS_Lambda_nodejs(\d+)/.exec(env.AWS_EXECUTION_ENV ?? "")?.[1] ?? process.versions.node, 10);
const classic = major < 24;

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HIGH_WATER_MARK = Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark");
const BEFORE_EXIT = Symbol.for("aws.lambda.beforeExit");

const client = new Client(env.AWS_LAMBDA_RUNTIME_API);
const errors = () => require("./errors.cjs");

// --- Loading the handler ---------------------------------------------------------------------------------------------

function requireIfPresent(file) {
  return fs.existsSync(file) ? require(file) : undefined;
}

function importFile(file) {
  return import(require("node:url").pathToFileURL(file).href);
}

async function importIfPresent(file) {
  return fs.existsSync(file) ? importFile(file) : undefined;
}

/** Whether the nearest `package.json` at or above `folder` makes `.js` files ES modules. */
function isModuleFolder(folder) {
  for (; !folder.endsWith("/node_modules"); folder = path.dirname(folder)) {
    const file = path.join(folder, "package.json");
    let text;
    try {
      text = fs.readFileSync(file);
    } catch {
      text = undefined;
    }
    if (text !== undefined) {
      try {
        return JSON.parse(text).type === "module";
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (folder === "/") {
      return false;
    }
  }
  return false;
}

/** CommonJS where that can be, as it loads sooner; what only the other loader understands goes there. */
async function loadScript(file) {
  if (isModuleFolder(path.dirname(file))) {
    return importFile(file);
  }
  if (classic) {
    return require(file);
  }
  try {
    return require(file);
  } catch (error) {
    if (error?.code === "ERR_REQUIRE_ESM" || error?.code === "ERR_REQUIRE_ASYNC_MODULE") {
      return importFile(file);
    }
    throw error;
  }
}

async function loadModule(root, folder, name) {
  const file = path.resolve(root, folder, name);
  const script = file + ".js";
  const found =
    requireIfPresent(file) ||
    (fs.existsSync(script) && (await loadScript(script))) ||
    (await importIfPresent(file + ".mjs")) ||
    requireIfPresent(file + ".cjs");
  if (found) {
    return found;
  }
  return require(require.resolve(name, { paths: [root, classic ? folder : path.join(root, folder)] }));
}

function find(object, names) {
  return names.split(".").reduce((nested, name) => nested && nested[name], object);
}

async function loadHandler(root, handler) {
  if (handler.includes("..")) {
    throw new (errors().MalformedHandlerName)(
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`
    );
  }
  const base = path.basename(handler);
  const folder = handler.substring(0, handler.indexOf(base));
  const match = /^([^.]*)\.(.*)$/.exec(base);
  if (!match) {
    throw new (errors().MalformedHandlerName)("Bad handler");
  }
  let module;
  try {
    module = await loadModule(root, folder, match[1]);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw errors().userCodeSyntaxError(error, classic);
    }
    if (error?.code === "MODULE_NOT_FOUND") {
      throw new (errors().ImportModuleError)(error);
    }
    throw error;
  }
  let found = find(module, match[2]);
  if (!found && !classic && module?.default) {
    found = find(module.default, match[2]);
  }
  if (!found) {
    throw new (errors().HandlerNotFound)(`${handler} is undefined or not exported`);
  }
  if (typeof found !== "function") {
    throw new (errors().HandlerNotFound)(`${handler} is not a function`);
  }
  if (found[STREAMING] && found[STREAMING] !== "response") {
    throw new (errors().MalformedStreamingHandler)("Only response streaming is supported.");
  }
  if (!classic && found.length >= 3 && !found[STREAMING]) {
    throw new (errors().CallbackHandlerDeprecated)();
  }
  return found;
}

// --- Globals ---------------------------------------------------------------------------------------------------------

/** What libraries ask about the invocation, for clients of Node 24 and later. */
class InvokeStore {
  static PROTECTED_KEYS = {
    REQUEST_ID: Symbol.for("_AWS_LAMBDA_REQUEST_ID"),
    X_RAY_TRACE_ID: Symbol.for("_AWS_LAMBDA_X_RAY_TRACE_ID"),
    TENANT_ID: Symbol.for("_AWS_LAMBDA_TENANT_ID"),
  };

  getContext() {
    return this.currentContext;
  }

  hasContext() {
    return this.currentContext !== undefined;
  }

  get(key) {
    return this.currentContext?.[key];
  }

  set(key, value) {
    if (this.isProtectedKey(key)) {
      throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    }
    this.currentContext = this.currentContext || {};
    this.currentContext[key] = value;
  }

  run(context, fn) {
    this.currentContext = context;
    return fn();
  }

  isProtectedKey(key) {
    return Object.values(InvokeStore.PROTECTED_KEYS).includes(key);
  }

  getRequestId() {
    return this.get(InvokeStore.PROTECTED_KEYS.REQUEST_ID) ?? "-";
  }

  getXRayTraceId() {
    return this.get(InvokeStore.PROTECTED_KEYS.X_RAY_TRACE_ID);
  }

  getTenantId() {
    return this.get(InvokeStore.PROTECTED_KEYS.TENANT_ID);
  }
}

const invokeStore = classic ? undefined : new InvokeStore();

function setGlobals() {
  if (["1", "true"].includes(env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
    return;
  }
  globalThis.awslambda = {
    ...globalThis.awslambda,
    streamifyResponse(handler, options) {
      handler[STREAMING] = "response";
      if (typeof options?.highWaterMark === "number") {
        handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
      }
      return handler;
    },
    get HttpResponseStream() {
      return require("./streaming.cjs").HttpResponseStream;
    },
  };
  if (invokeStore) {
    globalThis.awslambda.InvokeStore = invokeStore;
  }
}

// --- Context ---------------------------------------------------------------------------------------------------------

function parseHeader(text, name) {
  if (!text) {
    return undefined;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot parse ${name} as json: ${error.toString()}`);
  }
}

/** Adds what environment variables and headers tell to `context`, and hands the trace id on. */
function fillContext(context, headers) {
  const trace = headers["lambda-runtime-trace-id"];
  if (trace) {
    env._X_AMZN_TRACE_ID = trace;
  } else {
    delete env._X_AMZN_TRACE_ID;
  }
  const deadline = parseInt(headers["lambda-runtime-deadline-ms"], 10);
  context.functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION;
  context.functionName = env.AWS_LAMBDA_FUNCTION_NAME;
  context.memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
  context.logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME;
  context.logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME;
  context.clientContext = parseHeader(headers["lambda-runtime-client-context"], "ClientContext");
  context.identity = parseHeader(headers["lambda-runtime-cognito-identity"], "CognitoIdentity");
  context.invokedFunctionArn = headers["lambda-runtime-invoked-function-arn"];
  context.awsRequestId = headers["lambda-runtime-aws-request-id"];
  context.tenantId = headers["lambda-runtime-aws-tenant-id"];
  if (!classic) {
    context.xRayTraceId = trace;
  }
  context.getRemainingTimeInMillis = function () {
    return deadline - Date.now();
  };
  return context;
}

// --- One invocation --------------------------------------------------------------------------------------------------

/** The invocation that runs: where its answers go. */
class Invocation {
  constructor(headers) {
    this.id = headers["lambda-runtime-aws-request-id"];
    this.path = "invocation/" + encodeURIComponent(this.id);
    const attempt = headers["lambda-runtime-invocation-id"];
    this.echo = attempt ? `Lambda-Runtime-Invocation-Id: ${attempt}\r\n` : "";
  }

  postResponse(result, then) {
    let body;
    try {
      body = JSON.stringify(result === undefined ? null : result);
    } catch {
      throw classic ? new Error("Unable to stringify response body") : new (errors().JSONStringifyError)();
    }
    if (body === undefined) {
      throw new TypeError("Wrong arguments");
    }
    // A refusal, such as 413 for a response that is too large, is the platform's to report: the runtime goes on.
    client.post(this.path + "/response", "Content-Type: application/json\r\n" + this.echo, body, then);
  }

  postError(error, then, connection = client) {
    const { body, cause } = errors().describe(error);
    const header = cause ? `Lambda-Runtime-Function-XRay-Error-Cause: ${cause}\r\n` : "";
    connection.post(this.path + "/error", "Content-Type: application/json\r\n" + header + this.echo, body, then);
  }
}

function postInitError(error, then, connection = client) {
  const { body, type } = errors().describe(error);
  const header = `Lambda-Runtime-Function-Error-Type: ${type}\r\n`;
  connection.post("init/error", "Content-Type: application/json\r\n" + header, body, then);
}

const noBeforeExit = () => {};

/** What happens when nothing is left to do, until the next call of this function. */
function onceLoopIsEmpty(action) {
  globalThis[BEFORE_EXIT] = action ?? noBeforeExit;
}

/** Callback, `context` and the rest of what a handler up to Node 22 may complete its invocation with. */
function classicCompletion(invocation) {
  let waits = true;
  let completed = false;
  let finished = false;
  const complete = (result) => {
    if (completed) {
      console.error("Invocation has already been reported as done. Cannot call complete more than once per invocation.");
      return;
    }
    completed = true;
    invocation.postResponse(result, scheduleNext);
  };
  const fail = (error) => {
    log.logError("Invoke Error", error);
    invocation.postError(error, scheduleNext);
  };
  const done = (error, result) => {
    onceLoopIsEmpty();
    if (error !== undefined && error !== null) {
      fail(error);
    } else {
      complete(result);
    }
  };
  const callback = (error, result) => {
    onceLoopIsEmpty();
    if (error !== undefined && error !== null) {
      fail(error);
    } else if (waits) {
      onceLoopIsEmpty(() => setImmediate(() => complete(result)));
    } else {
      complete(result);
    }
  };
  // The first call counts, and only once it has come through: a result that cannot be serialised may still be followed
  // by the error that says so.
  const first = (action) =>
    function (...values) {
      if (!finished) {
        action(...values);
        finished = true;
      }
    };
  const context = {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    succeed: first((result) => done(null, result)),
    fail: first((error) => done(error === undefined || error === null ? "handled" : error, null)),
    done: first(done),
  };
  onceLoopIsEmpty(() => {
    completed = true;
    invocation.postResponse(null, scheduleNext);
  });
  return { callback: first(callback), context };
}

function runClassic(handler, invocation, headers, body) {
  const { callback, context } = classicCompletion(invocation);
  try {
    const result = handler(JSON.parse(body), fillContext(context, headers), callback);
    if (result && typeof result.then === "function") {
      const settled = result.then(context.succeed, context.fail);
      // A thenable of the function's own need not answer a promise.
      settled?.catch?.(context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

function nextTurn() {
  return new Promise((resolve) => setImmediate(resolve));
}

async function runModern(handler, invocation, headers, body) {
  // Nothing is left that could settle the promise: AWS's client ends here without a word.
  onceLoopIsEmpty(() => {
    const error = new (errors().NodeJsExit)();
    log.logError("Invoke Error", error);
    invocation.postError(error, () => process.exit(0));
  });
  try {
    const result = await handler(JSON.parse(body), fillContext({}, headers));
    await nextTurn();
    onceLoopIsEmpty();
    invocation.postResponse(result, scheduleNext);
  } catch (error) {
    await nextTurn();
    onceLoopIsEmpty();
    log.logError("Invoke Error", error);
    invocation.postError(error, scheduleNext);
  }
}

async function runStreaming(handler, invocation, headers, body) {
  const { ResponseStream } = require("./streaming.cjs");
  const stream = new ResponseStream(client, invocation, handler[HIGH_WATER_MARK]);
  let waits = true;
  const context = {};
  if (classic) {
    Object.defineProperty(context, "callbackWaitsForEmptyEventLoop", {
      enumerable: true,
      get: () => waits,
      set: (value) => (waits = value),
    });
  }
  onceLoopIsEmpty();
  const goOn = () => {
    if (classic && waits) {
      onceLoopIsEmpty(() => {
        onceLoopIsEmpty();
        scheduleNext();
      });
    } else {
      scheduleNext();
    }
  };
  const fail = (error) => {
    log.logError("Invoke Error", error);
    stream.fail(error, goOn);
  };
  try {
    const promise = handler(JSON.parse(body), stream, fillContext(context, headers));
    if (!promise || typeof promise.then !== "function") {
      fail(classic ? "Streaming does not support non-async handlers." : new Error("Streaming does not support non-async handlers."));
      return;
    }
    const result = await promise;
    if (result !== undefined) {
      console.warn("Streaming handlers ignore return values.");
    }
    await stream.over;
    if (!stream.writableFinished) {
      fail(classic ? "Response stream is not finished." : new Error("Response stream is not finished."));
      return;
    }
    goOn();
  } catch (error) {
    fail(error);
  }
}

// --- The loop --------------------------------------------------------------------------------------------------------

/** Where an error goes that nobody caught: to `init/error` until the first invocation, to the invocation after it. */
let reportUncaught = postInitError;

let run;

/** An uncaught error is on its way to the platform: nothing new may begin. */
let dying = false;

/** Looks for the next invocation at the next turn of the loop, so that what the handler left behind runs before. */
function scheduleNext() {
  setImmediate(waitForNext);
}

/** The handler runs as a microtask: stack traces then do not end in the frames of the socket. */
function waitForNext() {
  if (dying) {
    return;
  }
  client.next((failure, headers, body) => queueMicrotask(() => received(failure, headers, body)));
}

function received(failure, headers, body) {
  if (dying) {
    return;
  }
  if (failure) {
    console.log(`Unexpected Top Level Error: ${failure.toString()}`);
    reportUncaught(failure, () => process.exit(129), client.other());
    return;
  }
  const invocation = new Invocation(headers);
  const tenant = headers["lambda-runtime-aws-tenant-id"];
  log.setInvocation(invocation.id, tenant);
  reportUncaught = (error, then, connection) => invocation.postError(error, then, connection);
  if (invokeStore) {
    const { REQUEST_ID, X_RAY_TRACE_ID, TENANT_ID } = InvokeStore.PROTECTED_KEYS;
    const trace = headers["lambda-runtime-trace-id"];
    const context = { [REQUEST_ID]: invocation.id, [X_RAY_TRACE_ID]: trace, [TENANT_ID]: tenant };
    invokeStore.run(context, () => run(invocation, headers, body));
  } else {
    run(invocation, headers, body);
  }
}

/** Tells the platform of an error that nobody caught, then exits. Another may be busy on the connection, so it has its own. */
function dieOf(title, error, code) {
  dying = true;
  log.logError(title, error);
  reportUncaught(error, () => process.exit(code), client.other());
}

async function main() {
  log.patchConsole(classic);
  setGlobals();
  process.on("uncaughtException", (error) => dieOf("Uncaught Exception", error, 129));
  process.on("unhandledRejection", (reason) => {
    dieOf("Unhandled Promise Rejection", new (errors().UnhandledPromiseRejection)(reason), 128);
  });
  onceLoopIsEmpty();
  process.on("beforeExit", () => globalThis[BEFORE_EXIT]());
  let handler;
  try {
    handler = await loadHandler(env.LAMBDA_TASK_ROOT ?? "/var/task", process.argv[2] ?? env._HANDLER ?? "");
  } catch (error) {
    log.logError(classic ? "Uncaught Exception" : "Init Error", error);
    postInitError(error, () => process.exit(classic ? 129 : 1));
    return;
  }
  const runHandler = handler[STREAMING] ? runStreaming : classic ? runClassic : runModern;
  run = (invocation, headers, body) => runHandler(handler, invocation, headers, body);
  scheduleNext();
}

main();
