// Drives the AWS SDK for JavaScript as it comes: on an http:// endpoint it speaks HTTP/2 by prior
// knowledge. One scenario per process: node aws_http2.mjs ADDRESS SCENARIO MODEL.
import { sdk } from "./lines.mjs";

const aws = await sdk("@aws-sdk/client-bedrock-runtime");
const [endpoint, scenario, modelId] = process.argv.slice(2);

const api = new aws.BedrockRuntimeClient({
  endpoint,
  region: "us-west-2",
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "dummy-secret" },
  maxAttempts: 1,
});
// What the answer came in, as the SDK's transport has it.
const carriers = new Set();
api.middlewareStack.add(
  (next) => async (args) => {
    const result = await next(args);
    carriers.add(result.response.body?.constructor?.name ?? "none");
    return result;
  },
  { step: "deserialize", priority: "low" },
);

const asked = { modelId, messages: [{ role: "user", content: [{ text: "one two three" }] }] };

async function streamed(options, each = () => {}) {
  const answer = await api.send(new aws.ConverseStreamCommand(asked), options);
  let text = "";
  const kinds = [];
  for await (const event of answer.stream) {
    kinds.push(...Object.keys(event));
    text += event.contentBlockDelta?.delta?.text ?? "";
    each(text);
  }
  return { text, kinds };
}

const SCENARIOS = {
  async whole() {
    const answer = await api.send(new aws.ConverseCommand(asked));
    return { text: answer.output.message.content[0].text, stop: answer.stopReason };
  },
  stream: () => streamed(),
  async parallel() {
    const answers = await Promise.all(Array.from({ length: 60 }, () => streamed()));
    return { texts: answers.map((answer) => answer.text) };
  },
  async abort() {
    const leaving = new AbortController();
    let left = 0;
    const abort = (text) => {
      if (text && !left) {
        left = Date.now() / 1000;
        leaving.abort();
      }
    };
    // The SDK resets its stream; whether the iteration then ends or throws is its own affair.
    await streamed({ abortSignal: leaving.signal }, abort).catch(() => {});
    return { left };
  },
  async refused() {
    try {
      await api.send(new aws.ConverseCommand(asked));
    } catch (error) {
      return { error: error.name, status: error.$metadata.httpStatusCode, message: error.message };
    }
  },
};

const result = await SCENARIOS[scenario]();
process.stdout.write(JSON.stringify({ ...result, carriers: [...carriers] }));
api.destroy();
