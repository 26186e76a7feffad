/** A real server in a process of its own, on a free port, with a directory of its own. */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const OWN = join(ROOT, ".venv/bin/python");
const PYTHON = process.env.EVERSTEP_PYTHON ?? (existsSync(OWN) ? OWN : "python3");

/** Resolves once it says where it is. `stop()` ends it and its files. `settings`: as environment variables. */
export async function startServer(game = "games.frontier", settings = {}) {
  const data = mkdtempSync(join(tmpdir(), "everstep-js-"));
  const args = ["-m", "server", "run", "--game", game, "--port", "0", "--data", data, "--log-level", "warning"];
  const child = spawn(PYTHON, args, {
    cwd: ROOT,
    env: { ...process.env, ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      output += chunk;
      const found = /https?:\/\/[\w.:[\]-]+/.exec(output);
      if (found) resolve(found[0]);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${PYTHON} -m server ended with ${code}:\n${output}`)));
  });
  return {
    url: `${url.replace("http", "ws")}/ws`,
    http: url,
    async stop() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      rmSync(data, { recursive: true, force: true });
    },
  };
}
