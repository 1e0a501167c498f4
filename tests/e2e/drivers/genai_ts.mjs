// Drives the `@google/genai` TypeScript SDK.
import { sdk, serve } from "./lines.mjs";

const { GoogleGenAI } = await sdk("@google/genai");

async function stream(chunks) {
  const seen = [];
  try {
    for await (const chunk of await chunks) seen.push(JSON.parse(JSON.stringify(chunk)));
  } catch (error) {
    throw Object.assign(error, { seen });
  }
  return { events: seen };
}

// Each of `says` in one chat.
async function chat({ says, ...params }, api) {
  const talk = api.chats.create(params);
  const text = [];
  for (const message of says) text.push((await talk.sendMessage({ message })).text);
  return { text, value: talk.getHistory() };
}

await serve(
  async (asked) => {
    const api = new GoogleGenAI({
      apiKey: asked.api_key ?? "dummy-key",
      vertexai: false,
      httpOptions: { baseUrl: asked.base_url, headers: asked.headers, timeout: 20000 },
    });
    const { params } = asked;
    switch (asked.call) {
      case "create": {
        const message = await api.models.generateContent(params);
        return { message, headers: message.sdkHttpResponse?.headers ?? {} };
      }
      case "stream":
        return stream(api.models.generateContentStream(params));
      case "count_tokens":
        return { value: await api.models.countTokens(params) };
      case "chat":
        return chat(params, api);
      case "models": {
        const value = [];
        for await (const model of await api.models.list()) value.push(model);
        return { value };
      }
      case "model":
        return { value: await api.models.get({ model: params.id }) };
      default:
        throw new Error(asked.call);
    }
  },
  // its message is the body's JSON text
  (error) => {
    try {
      const body = JSON.parse(error.message);
      return { body, message: body.error.message, code: body.error.status };
    } catch {
      return {};
    }
  },
);
