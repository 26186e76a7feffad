/** The README's example, run as it stands against the real server. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { startServer } from "./support/server.mjs";

const LIMIT = { timeout: 30_000 };
const CLIENTS = new URL("../../clients/js/", import.meta.url);
let server;

before(async () => {
  server = await startServer();
}, LIMIT);
after(() => server.stop(), LIMIT);

test("the README's example joins, speaks and hears itself", LIMIT, async () => {
  const readme = readFileSync(new URL("README.md", CLIENTS), "utf8");
  const code = /```js\n([\s\S]*?)```/.exec(readme)[1]
    .replace("./everstep.js", new URL("everstep.js", CLIENTS).href)
    .replace("ws://127.0.0.1:8080/ws", server.url);
  const flags = typeof WebSocket === "undefined" ? ["--experimental-websocket"] : [];
  const child = spawn(process.execPath, [...flags, "--input-type=module", "--eval", code], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      output += chunk;
      if (output.includes("Ada: hello")) resolve();
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("exit", (code_) => reject(new Error(`ended with ${code_}:\n${output}`)));
  });
  child.removeAllListeners("exit");
  child.kill();
  assert.match(output, /connecting[\s\S]*joining[\s\S]*live[\s\S]*Ada: hello/);
});
