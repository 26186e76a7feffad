import { readFileSync } from "node:fs";

/** What make_fixtures.py wrote. */
export const fixtures = JSON.parse(readFileSync(new URL("../fixtures.json", import.meta.url), "utf8"));

/** @param {string} hex */
export function unhex(hex) {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
