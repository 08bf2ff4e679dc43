// Drives a Lambda endpoint by AWS's JavaScript SDK and prints what it saw as one JSON object.
//
//     node lambda.cjs life ENDPOINT NAME ZIP OTHER_ZIP
//     node lambda.cjs throttled ENDPOINT NAME
//     node lambda.cjs stream ENDPOINT NAME EVENT
//
// A stream's events are printed one a line, as they come.
//
// What must have come out is `test_tools.py`'s matter: it is the same for every SDK.

const fs = require("node:fs");
const sdk = require("@aws-sdk/client-lambda");

const [mode, endpoint, name, ...rest] = process.argv.slice(2);
const [zip, other] = mode === "life" ? rest.map((path) => fs.readFileSync(path)) : [];

const client = new sdk.LambdaClient({
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" },
  maxAttempts: 1,
});
const send = (command, input) => client.send(new sdk[`${command}Command`](input));
const patience = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 };
const FunctionName = name;

function create(FunctionName, ZipFile) {
  return send("CreateFunction", {
    FunctionName,
    Runtime: process.env.RUNTIME,
    Handler: "app.handler",
    Role: "arn:aws:iam::123456789012:role/any",
    Code: { ZipFile },
    Tags: { "made-by": "node" },
  });
}

async function invoke(event) {
  const answer = await send("Invoke", {
    FunctionName,
    LogType: "Tail",
    Payload: JSON.stringify(event),
  });
  return {
    status: answer.StatusCode,
    error: answer.FunctionError ?? null,
    version: answer.ExecutedVersion,
    payload: JSON.parse(answer.Payload.transformToString()),
    log: answer.LogResult,
  };
}

// What a caller can tell of an error: whether it is the SDK's type, its code, text and status.
async function error(answer, type) {
  try {
    await answer;
    return { code: null };
  } catch (error) {
    return {
      typed: type ? error instanceof sdk[type] : error instanceof sdk.LambdaServiceException,
      code: error.name,
      message: error.message,
      status: error.$metadata?.httpStatusCode,
      reason: error.Reason,
    };
  }
}

async function life() {
  const created = await create(name, zip);
  await sdk.waitUntilFunctionActiveV2(patience, { FunctionName });
  const invoked = await invoke({ name: "SDK" });
  const failed = await invoke({ fail: true });

  const updated = await send("UpdateFunctionCode", { FunctionName, ZipFile: other });
  await sdk.waitUntilFunctionUpdatedV2(patience, { FunctionName });
  const invokedAnew = await invoke({});
  const configured = await send("UpdateFunctionConfiguration", {
    FunctionName,
    MemorySize: 256,
    Description: "by an SDK",
  });
  await sdk.waitUntilFunctionUpdatedV2(patience, { FunctionName });

  const { Configuration: shown, Code, Tags } = await send("GetFunction", { FunctionName });
  const plain = await send("GetFunctionConfiguration", { FunctionName });

  for (const letter of ["b", "c"]) await create(`${name}-${letter}`, zip);
  const listed = [];
  let pages = 0;
  for await (const page of sdk.paginateListFunctions({ client, pageSize: 1 }, {})) {
    if (page.Functions.length > 0) pages += 1;
    listed.push(...page.Functions.map((found) => found.FunctionName));
  }

  const absent = { FunctionName: "absent" };
  const stale = { FunctionName, RevisionId: "00000000-0000-0000-0000-000000000000" };
  const noJson = { FunctionName, Payload: "{" };
  const noZip = Buffer.from("no zip");
  const errors = {
    notFound: await error(send("GetFunction", absent), "ResourceNotFoundException"),
    invokeNotFound: await error(send("Invoke", absent), "ResourceNotFoundException"),
    conflict: await error(create(name, zip), "ResourceConflictException"),
    invalid: await error(create(`${name}-d`, noZip), "InvalidParameterValueException"),
    precondition: await error(
      send("UpdateFunctionConfiguration", stale),
      "PreconditionFailedException",
    ),
    content: await error(send("Invoke", noJson), "InvalidRequestContentException"),
    unimplemented: await error(send("ListCodeSigningConfigs", {})),
  };

  const deleted = await send("DeleteFunction", { FunctionName });
  for (const letter of ["b", "c"]) {
    const FunctionName = `${name}-${letter}`;
    await sdk.waitUntilFunctionActiveV2(patience, { FunctionName });
    await send("DeleteFunction", { FunctionName });
  }
  return {
    created: {
      State: created.State,
      StateReasonCode: created.StateReasonCode,
      FunctionArn: created.FunctionArn,
      CodeSize: created.CodeSize,
    },
    invoked,
    failed,
    updated: { LastUpdateStatus: updated.LastUpdateStatus, State: updated.State },
    invokedAnew,
    configured: {
      LastUpdateStatus: configured.LastUpdateStatus,
      MemorySize: configured.MemorySize,
    },
    function: {
      State: shown.State,
      LastUpdateStatus: shown.LastUpdateStatus,
      Description: shown.Description,
      MemorySize: shown.MemorySize,
      CodeSha256: shown.CodeSha256,
      RepositoryType: Code.RepositoryType,
      Tags,
    },
    sameConfiguration: plain.RevisionId === shown.RevisionId,
    pages,
    listed,
    errors,
    deleted: deleted.StatusCode ?? deleted.$metadata.httpStatusCode,
  };
}

const throttled = () => error(send("Invoke", { FunctionName }), "TooManyRequestsException");

async function stream() {
  const answer = await send("InvokeWithResponseStream", { FunctionName, Payload: rest[0] });
  for await (const { PayloadChunk, InvokeComplete } of answer.EventStream) {
    const text = PayloadChunk && Buffer.from(PayloadChunk.Payload).toString();
    console.log(JSON.stringify({ PayloadChunk: text, InvokeComplete }));
  }
}

({ life, throttled, stream })[mode]().then(
  (seen) => seen && console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
