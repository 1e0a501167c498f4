// Drives the `openai` TypeScript SDK.
import { sdk, serve } from "./lines.mjs";

const OpenAI = await sdk("openai");

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

await serve(async (asked) => {
  const api = new OpenAI({
    baseURL: asked.base_url,
    apiKey: asked.api_key ?? "dummy-key",
    maxRetries: asked.max_retries ?? 0,
    timeout: (asked.timeout_s ?? 20) * 1000,
  });
  const options = { headers: asked.headers };
  switch (asked.call) {
    case "create": {
      const { data, response } = await api.chat.completions
        .create(asked.params, options)
        .withResponse();
      return { message: data, headers: Object.fromEntries(response.headers.entries()) };
    }
    case "stream":
      return stream(asked, api, options);
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
