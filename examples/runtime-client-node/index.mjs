// Run by `aws-lambda-ric` on provided.al2023, not by coldframe's own runtime client.

let invocations = 0;

export const handler = async (event, context) => {
  invocations += 1;
  if (event.fail) throw new RangeError("asked to fail");
  console.log(`invocation ${invocations} of this environment`);
  return {
    greeting: `Hello, ${event.name ?? "world"}!`,
    invocations,
    requestId: context.awsRequestId,
  };
};
