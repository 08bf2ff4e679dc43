// The script of twenty steps by AWS's JavaScript SDK; prints what each step gave as one JSON object.
//
//     node script.cjs ENDPOINT NAME ONE_ZIP TWO_ZIP LAYER_ZIP
//
// What must have come out is `test_script.py`'s matter: it is the same for every client.

const fs = require("node:fs");
const http = require("node:http");
const sdk = require("@aws-sdk/client-lambda");

const [endpoint, name, ...zips] = process.argv.slice(2);
const [one, two, layer] = zips.map((path) => fs.readFileSync(path));

const connect = (more) => new sdk.LambdaClient({ endpoint, maxAttempts: 1, ...more });
// Region and credentials come from the environment.
const client = connect();
const send = (command, input) => client.send(new sdk[`${command}Command`](input));
const patience = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 };
const FunctionName = name;
const updated = () => sdk.waitUntilFunctionUpdatedV2(patience, { FunctionName });

async function error(answer) {
  try {
    await answer;
    return { code: null };
  } catch (error) {
    return { code: error.name, message: error.message };
  }
}

async function invoke(event, more) {
  const answer = await send("Invoke", { FunctionName, Payload: JSON.stringify(event), ...more });
  return {
    status: answer.StatusCode,
    error: answer.FunctionError ?? null,
    version: answer.ExecutedVersion,
    payload: JSON.parse(answer.Payload.transformToString()),
    log: answer.LogResult,
  };
}

const fetched = (url) =>
  new Promise((resolve, reject) => {
    const { host } = new URL(url);
    // Hosts below localhost are this machine, whatever the resolver says.
    const options = { headers: { host }, host: "127.0.0.1", port: new URL(endpoint).port };
    const request = http.get({ ...options, path: "/a/b?c=d" }, async (answer) => {
      let body = "";
      for await (const piece of answer) body += piece;
      resolve({ status: answer.statusCode, by: answer.headers["x-by"], body });
    });
    request.on("error", reject);
  });

const steps = {
  async create() {
    const made = await send("CreateFunction", {
      FunctionName,
      Runtime: process.env.RUNTIME,
      Handler: "app.handler",
      Role: "arn:aws:iam::123456789012:role/any",
      Code: { ZipFile: one },
      Tags: { "made by": "script" },
      Environment: { Variables: { COLOUR: "red" } },
    });
    this.revision = made.RevisionId;
    return {
      arn: made.FunctionArn,
      version: made.Version,
      state: made.State,
      reason: made.StateReasonCode,
      sha256: made.CodeSha256,
      variables: made.Environment.Variables,
    };
  },

  async wait() {
    await sdk.waitUntilFunctionActiveV2(patience, { FunctionName });
    const arn = `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
    const shown = await send("GetFunctionConfiguration", { FunctionName: arn });
    return { state: shown.State, update: shown.LastUpdateStatus };
  },

  async invoke() {
    const context = Buffer.from(JSON.stringify({ custom: { by: "ü" } })).toString("base64");
    return invoke({ name: "Zoë" }, { LogType: "Tail", ClientContext: context });
  },

  async code() {
    const changed = await send("UpdateFunctionCode", { FunctionName, ZipFile: two });
    await updated();
    return {
      update: changed.LastUpdateStatus,
      sha256: changed.CodeSha256,
      changed: changed.RevisionId !== this.revision,
    };
  },

  async configuration() {
    const changed = await send("UpdateFunctionConfiguration", {
      FunctionName,
      MemorySize: 256,
      Description: "by a script",
      Environment: { Variables: { COLOUR: "green" } },
    });
    await updated();
    return {
      update: changed.LastUpdateStatus,
      memory: changed.MemorySize,
      description: changed.Description,
      variables: changed.Environment.Variables,
    };
  },

  async publish() {
    const made = await send("PublishVersion", { FunctionName, Description: "the first" });
    this.published = made.RevisionId;
    await sdk.waitUntilPublishedVersionActive(patience, { FunctionName, Qualifier: "1" });
    return { version: made.Version, arn: made.FunctionArn, description: made.Description };
  },

  async publishAgain() {
    const made = await send("PublishVersion", { FunctionName, Description: "the first" });
    const shown = await send("GetFunctionConfiguration", { FunctionName, Qualifier: "1" });
    return { version: made.Version, same: made.RevisionId === shown.RevisionId };
  },

  async alias() {
    await send("UpdateFunctionCode", { FunctionName, ZipFile: one, Publish: true });
    await updated();
    const made = await send("CreateAlias", {
      FunctionName,
      Name: "live",
      FunctionVersion: "1",
      RoutingConfig: { AdditionalVersionWeights: { 2: 0.25 } },
    });
    return {
      arn: made.AliasArn,
      version: made.FunctionVersion,
      weights: made.RoutingConfig.AdditionalVersionWeights,
    };
  },

  async qualifier() {
    const drawn = await invoke({}, { Qualifier: "live" });
    const RoutingConfig = { AdditionalVersionWeights: { 2: 1 } };
    await send("UpdateAlias", { FunctionName, Name: "live", RoutingConfig });
    const { version, payload } = await invoke({}, { Qualifier: "live" });
    return { told: drawn.version === drawn.payload.version, version, payload };
  },

  async layer() {
    const made = await send("PublishLayerVersion", {
      LayerName: "words",
      Content: { ZipFile: layer },
      CompatibleRuntimes: [process.env.RUNTIME],
    });
    const Layers = [made.LayerVersionArn];
    const { Layers: layers } = await send("UpdateFunctionConfiguration", { FunctionName, Layers });
    await updated();
    const { payload } = await invoke({});
    return {
      arn: made.LayerVersionArn,
      version: made.Version,
      sha256: made.Content.CodeSha256,
      runtimes: made.CompatibleRuntimes,
      layers: layers.map(({ Arn, CodeSize }) => ({ Arn, CodeSize })),
      payload,
    };
  },

  async tags() {
    const Resource = `arn:aws:lambda:us-east-1:000000000000:function:${name}`;
    const Tags = { team: "blue = grün", "a+b / c": "d=e" };
    await send("TagResource", { Resource, Tags });
    await send("UntagResource", { Resource, TagKeys: ["made by", "a+b / c"] });
    return (await send("ListTags", { Resource })).Tags;
  },

  async policy() {
    const added = await send("AddPermission", {
      FunctionName,
      StatementId: "bucket",
      Action: "lambda:InvokeFunction",
      Principal: "s3.amazonaws.com",
      SourceArn: "arn:aws:s3:::bucket",
      SourceAccount: "123456789012",
    });
    const { Policy } = await send("GetPolicy", { FunctionName });
    await send("RemovePermission", { FunctionName, StatementId: "bucket" });
    return {
      statement: JSON.parse(added.Statement),
      policy: JSON.parse(Policy),
      removed: await error(send("GetPolicy", { FunctionName })),
    };
  },

  async concurrency() {
    const put = (ReservedConcurrentExecutions) =>
      send("PutFunctionConcurrency", { FunctionName, ReservedConcurrentExecutions });
    await put(0);
    const throttled = await error(invoke({}));
    await put(1);
    const shown = await send("GetFunctionConcurrency", { FunctionName });
    return { reserved: shown.ReservedConcurrentExecutions, throttled };
  },

  async event() {
    const made = await send("PutFunctionEventInvokeConfig", {
      FunctionName,
      MaximumRetryAttempts: 1,
      MaximumEventAgeInSeconds: 120,
    });
    const Payload = JSON.stringify({ remember: "this" });
    const sent = await send("Invoke", { FunctionName, InvocationType: "Event", Payload });
    // One environment is reserved: who asks it after the event is told of it. Who asked all the
    // time would keep the event out.
    let events = [];
    for (const end = Date.now() + 30_000; !events.length && Date.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      try {
        events = (await invoke({})).payload.events;
      } catch (error) {
        if (!(error instanceof sdk.TooManyRequestsException)) throw error;
      }
    }
    await send("DeleteFunctionConcurrency", { FunctionName });
    const after = await send("GetFunctionConcurrency", { FunctionName });
    return {
      arn: made.FunctionArn,
      retries: made.MaximumRetryAttempts,
      age: made.MaximumEventAgeInSeconds,
      status: sent.StatusCode,
      events,
      reserved: after.ReservedConcurrentExecutions ?? null,
    };
  },

  async url() {
    const made = await send("CreateFunctionUrlConfig", { FunctionName, AuthType: "NONE" });
    const anybody = { FunctionName, Principal: "*" };
    await send("AddPermission", {
      ...anybody,
      StatementId: "url",
      Action: "lambda:InvokeFunctionUrl",
      FunctionUrlAuthType: "NONE",
    });
    await send("AddPermission", {
      ...anybody,
      StatementId: "by-url",
      Action: "lambda:InvokeFunction",
      InvokedViaFunctionUrl: true,
    });
    const shown = await send("GetFunctionUrlConfig", { FunctionName });
    return {
      arn: made.FunctionArn,
      auth: made.AuthType,
      mode: shown.InvokeMode,
      same: made.FunctionUrl === shown.FunctionUrl,
      ...(await fetched(made.FunctionUrl)),
    };
  },

  async stream() {
    const Payload = JSON.stringify({ name: "stream" });
    const answer = await send("InvokeWithResponseStream", { FunctionName, Payload });
    const chunks = [];
    let complete = null;
    for await (const { PayloadChunk, InvokeComplete } of answer.EventStream) {
      if (PayloadChunk) chunks.push(Buffer.from(PayloadChunk.Payload));
      if (InvokeComplete) complete = { error: InvokeComplete.ErrorCode ?? null };
    }
    const payload = JSON.parse(Buffer.concat(chunks).toString());
    return { version: answer.ExecutedVersion, payload, complete };
  },

  async pages() {
    const versions = [];
    const paging = { client, pageSize: 1 };
    for await (const page of sdk.paginateListVersionsByFunction(paging, { FunctionName })) {
      versions.push(...page.Versions.map((found) => found.Version));
    }
    return versions;
  },

  async errors() {
    const stale = "00000000-0000-0000-0000-000000000000";
    const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "wrong" };
    const stranger = connect({ credentials });
    return {
      absent: await error(send("GetFunction", { FunctionName: "absent" })),
      conflict: await error(
        send("CreateFunction", {
          FunctionName,
          Runtime: process.env.RUNTIME,
          Handler: "app.handler",
          Role: "arn:aws:iam::123456789012:role/any",
          Code: { ZipFile: one },
        }),
      ),
      stale: await error(send("PublishVersion", { FunctionName, RevisionId: stale })),
      signature: await error(stranger.send(new sdk.GetFunctionCommand({ FunctionName }))),
    };
  },

  async deleteParts() {
    await send("DeleteFunctionUrlConfig", { FunctionName });
    await send("DeleteFunctionEventInvokeConfig", { FunctionName });
    await send("DeleteAlias", { FunctionName, Name: "live" });
    await send("DeleteFunction", { FunctionName, Qualifier: "1" });
    await send("DeleteLayerVersion", { LayerName: "words", VersionNumber: 1 });
    const { Versions } = await send("ListVersionsByFunction", { FunctionName });
    return {
      versions: Versions.map((found) => found.Version),
      alias: await error(send("GetAlias", { FunctionName, Name: "live" })),
      url: await error(send("GetFunctionUrlConfig", { FunctionName })),
    };
  },

  async delete() {
    await send("DeleteFunction", { FunctionName });
    return error(send("GetFunction", { FunctionName }));
  },
};

async function main() {
  const seen = {};
  for (const step of Object.keys(steps)) seen[step] = await steps[step]();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
