// The loop of a TypeScript SDK's driver: one JSON request per line in, one JSON answer per line
// out. The SDK is imported from the folder that DRIVER_DEPS names.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

export async function sdk(name) {
  const require = createRequire(pathToFileURL(`${process.env.DRIVER_DEPS}/`));
  const found = await import(pathToFileURL(require.resolve(name)));
  return found.default ?? found;
}

// What an SDK's exception tells its user.
function described(error) {
  const bases = [];
  for (let c = error?.constructor; c && c !== Function.prototype; c = Object.getPrototypeOf(c)) {
    bases.push(c.name);
  }
  return {
    class: error?.constructor?.name,
    bases,
    status: error?.status ?? null,
    message: error?.message ?? String(error),
    type: error?.type ?? null,
    code: error?.code ?? null,
    body: error?.error ?? null,
    request_id: error?.requestID ?? error?.request_id ?? null,
    headers: error?.headers?.entries ? Object.fromEntries(error.headers.entries()) : {},
    seen: error?.seen ?? null,
    text: error?.textSoFar ?? null,
  };
}

// Calls any method of an SDK by its name; `{file, base64}` stands for a file.
export async function method(api, asked) {
  const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  const names = asked.method.split(".").map(camel);
  const last = names.pop();
  const owner = names.reduce((found, name) => found[name], api);
  const params = {};
  for (const [name, value] of Object.entries(asked.params)) {
    const bytes = value?.base64 && Buffer.from(value.base64, "base64");
    params[name] = bytes ? new File([bytes], value.file) : value;
  }
  const given = Object.keys(params).length ? [params] : [];
  const value = await owner[last](...asked.args, ...given, { headers: asked.headers });
  return { value: await plain(value) };
}

// What an SDK gave back, as JSON: a model, the bytes of an answer, a page or a stream.
async function plain(value) {
  if (typeof value?.arrayBuffer === "function") {
    return { base64: Buffer.from(await value.arrayBuffer()).toString("base64") };
  }
  if (typeof value?.[Symbol.asyncIterator] === "function") {
    const items = [];
    for await (const item of value) items.push(item);
    return items;
  }
  return value ?? null;
}

// `more` says what only this SDK's exceptions tell.
export async function serve(call, more = () => ({})) {
  for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = await call(JSON.parse(line));
    } catch (error) {
      answer = { error: { ...described(error), ...more(error) } };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
