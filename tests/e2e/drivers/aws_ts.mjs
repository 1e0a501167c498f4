// Drives the AWS SDK for JavaScript v3, `@aws-sdk/client-bedrock-runtime`, over HTTP/1.
import { sdk, serve } from "./lines.mjs";

const aws = await sdk("@aws-sdk/client-bedrock-runtime");
const { NodeHttpHandler } = await sdk("@smithy/node-http-handler");

const clients = new Map();
const text = new TextDecoder();

function client(asked) {
  const key = JSON.stringify([asked.base_url, asked.max_retries, asked.headers, asked.api_key]);
  if (!clients.has(key)) {
    const api = new aws.BedrockRuntimeClient({
      endpoint: asked.base_url,
      region: "us-west-2",
      credentials: { accessKeyId: asked.api_key ?? "AKIDEXAMPLE", secretAccessKey: "dummy-secret" },
      maxAttempts: 1 + (asked.max_retries ?? 0),
      requestHandler: new NodeHttpHandler({ requestTimeout: 20000 }),
    });
    const add = (next) => (args) => {
      Object.assign(args.request.headers, asked.headers);
      return next(args);
    };
    api.middlewareStack.add(add, { step: "build" });
    clients.set(key, api);
  }
  return clients.get(key);
}

async function stream(events) {
  const seen = [];
  try {
    for await (const event of events) {
      seen.push(event.chunk ? JSON.parse(text.decode(event.chunk.bytes)) : event);
    }
  } catch (error) {
    throw Object.assign(error, { seen });
  }
  return { events: seen };
}

const COMMANDS = {
  bedrock: { create: aws.ConverseCommand, stream: aws.ConverseStreamCommand },
  invoke: { create: aws.InvokeModelCommand, stream: aws.InvokeModelWithResponseStreamCommand },
};

async function call(asked) {
  const params = { ...asked.params };
  if (params.body) {
    Object.assign(params, { body: JSON.stringify(params.body), contentType: "application/json" });
  }
  const Command = COMMANDS[asked.api][asked.call] ?? aws[asked.call];
  const answer = await client(asked).send(new Command(params));
  if (asked.call === "stream") return stream(answer.stream ?? answer.body);
  delete answer.$metadata;
  if (answer.body) return { message: JSON.parse(text.decode(answer.body)), headers: {} };
  return asked.call === "create" ? { message: answer, headers: {} } : { value: answer };
}

await serve(call, (error) => ({
  status: error?.$metadata?.httpStatusCode ?? null,
  code: error?.name ?? null,
  request_id: error?.$metadata?.requestId ?? null,
  headers: error?.$response?.headers ?? {},
}));
