// Drives the `@anthropic-ai/sdk` TypeScript SDK.
import { method, sdk, serve } from "./lines.mjs";

const Anthropic = await sdk("@anthropic-ai/sdk");

async function stream(asked, api, options) {
  const events = api.messages.stream(asked.params, options);
  const seen = [];
  let text = "";
  events.on("text", (piece) => (text += piece));
  try {
    for await (const event of events) seen.push(event.type);
    const message = await events.finalMessage();
    return { message, headers: Object.fromEntries(events.response.headers.entries()), seen, text };
  } catch (error) {
    Object.assign(error, { seen, textSoFar: text });
    throw error;
  }
}

await serve(async (asked) => {
  const api = new Anthropic({
    baseURL: asked.base_url,
    apiKey: asked.api_key ?? "dummy-key",
    maxRetries: asked.max_retries ?? 0,
    timeout: (asked.timeout_s ?? 20) * 1000,
  });
  const options = { headers: asked.headers };
  switch (asked.call) {
    case "create": {
      const { data, response } = await api.messages.create(asked.params, options).withResponse();
      return { message: data, headers: Object.fromEntries(response.headers.entries()) };
    }
    case "stream":
      return stream(asked, api, options);
    case "count_tokens":
      return { value: await api.messages.countTokens(asked.params, options) };
    case "method":
      return method(api, asked);
    case "models": {
      const value = [];
      for await (const model of api.models.list({}, options)) value.push(model);
      return { value };
    }
    case "model":
      return { value: await api.models.retrieve(asked.params.id, {}, options) };
    default:
      throw new Error(asked.call);
  }
});
