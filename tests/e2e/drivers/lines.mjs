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
