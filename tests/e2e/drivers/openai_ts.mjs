// Drives the `openai` TypeScript SDK.
import { method, sdk, serve } from "./lines.mjs";

const OpenAI = await sdk("openai");
const { AzureOpenAI } = OpenAI;

// By the accumulating helper, which is the strictest reader of chunks.
async function stream(asked, api, options) {
  const params = { stream_options: { include_usage: true }, ...asked.params };
  const events = api.chat.completions.stream(params, options);
  const seen = [];
  let text = "";
  events.on("content", (piece) => (text += piece));
  try {
    for await (const chunk of events) seen.push(chunk.object);
    return { message: await events.finalChatCompletion(), headers: {}, seen, text };
  } catch (error) {
    Object.assign(error, { seen, textSoFar: text });
    throw error;
  }
}

async function responsesStream(asked, api, options) {
  const events = api.responses.stream(asked.params, options);
  const seen = [];
  let text = "";
  try {
    for await (const event of events) {
      seen.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
      // the helper gives it back as a final response
      if (event.type === "response.failed") throw new Error(event.response.error.message);
    }
    return { message: await events.finalResponse(), seen, text };
  } catch (error) {
    Object.assign(error, { seen, textSoFar: text });
    throw error;
  }
}

// The calls of the Responses API.
async function responses(asked, api, options) {
  switch (asked.call) {
    case "create": {
      const { data, response } = await api.responses.create(asked.params, options).withResponse();
      const headers = Object.fromEntries(response.headers.entries());
      return { message: data, headers, text: data.output_text };
    }
    case "stream":
      return responsesStream(asked, api, options);
    case "parse":
      return { value: (await api.responses.parse(asked.params, options)).output_parsed };
    case "count_tokens":
      return { value: await api.responses.inputTokens.count(asked.params, options) };
    default:
      throw new Error(asked.call);
  }
}

function client(asked) {
  const common = {
    apiKey: asked.api_key ?? "dummy-key",
    maxRetries: asked.max_retries ?? 0,
    timeout: (asked.timeout_s ?? 20) * 1000,
  };
  if (asked.api !== "azure") return new OpenAI({ baseURL: asked.base_url, ...common });
  return new AzureOpenAI({ endpoint: asked.base_url, apiVersion: "2024-10-21", ...common });
}

await serve(async (asked) => {
  const api = client(asked);
  const options = { headers: asked.headers };
  if (asked.api === "responses" && !asked.call.startsWith("model")) {
    return responses(asked, api, options);
  }
  switch (asked.call) {
    case "create": {
      const { data, response } = await api.chat.completions
        .create(asked.params, options)
        .withResponse();
      return { message: data, headers: Object.fromEntries(response.headers.entries()) };
    }
    case "stream":
      return stream(asked, api, options);
    case "method":
      return method(api, asked);
    case "models": {
      const value = [];
      for await (const model of api.models.list(options)) value.push(model);
      return { value };
    }
    case "model":
      return { value: await api.models.retrieve(asked.params.id, options) };
    default:
      throw new Error(asked.call);
  }
});
