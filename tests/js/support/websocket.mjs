/**
 * A WebSocket client over a plain TCP socket, for tests: Node 20 has none of its own without a flag.
 * Unfragmented frames only, which is what the server sends. RFC 6455.
 */

import { randomBytes } from "node:crypto";
import { connect } from "node:net";

export class TcpWebSocket {
  constructor(url) {
    const { hostname, port, pathname } = new URL(url);
    this.closing = { code: 1006, reason: "" };
    this.buffer = Buffer.alloc(0);
    this.open = false;
    this.readyState = 0;
    this.tcp = connect(Number(port), hostname, () => {
      this.tcp.setNoDelay(true);
      this.tcp.write(
        `GET ${pathname} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      );
    });
    this.tcp.on("data", (chunk) => this.#data(chunk));
    this.tcp.on("error", () => this.onerror?.({}));
    this.tcp.on("close", () => {
      this.readyState = 3;
      this.onclose?.(this.closing);
    });
  }

  send(bytes) {
    this.#frame(2, Buffer.from(bytes));
  }

  close() {
    if (this.open) this.#frame(8, Buffer.from([3, 232]));
    this.readyState = 2;
    this.tcp.end();
  }

  /** As a cable pulled out: no goodbye. */
  kill() {
    this.tcp.destroy();
  }

  #frame(opcode, payload) {
    if (this.tcp.destroyed) return;
    const mask = randomBytes(4);
    const long = payload.length > 125;
    const head = Buffer.alloc(long ? 8 : 6);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (long ? 126 : payload.length);
    if (long) head.writeUInt16BE(payload.length, 2);
    mask.copy(head, head.length - 4);
    this.tcp.write(Buffer.concat([head, payload.map((b, i) => b ^ mask[i & 3])]));
  }

  #data(chunk) {
    this.buffer = Buffer.concat([this.buffer, chunk]);
    if (!this.open) {
      const end = this.buffer.indexOf("\r\n\r\n");
      if (end < 0) return;
      const status = this.buffer.subarray(0, end).toString().split("\r\n")[0];
      if (!status.includes(" 101 ")) throw new Error(`no upgrade: ${status}`);
      this.buffer = this.buffer.subarray(end + 4);
      this.open = true;
      this.readyState = 1;
      this.onopen?.({});
    }
    while (this.#take());
  }

  #take() {
    const b = this.buffer;
    if (b.length < 2) return false;
    let size = b[1] & 127;
    let head = 2;
    if (size === 126) [size, head] = [b.length < 4 ? Infinity : b.readUInt16BE(2), 4];
    else if (size === 127) [size, head] = [b.length < 10 ? Infinity : Number(b.readBigUInt64BE(2)), 10];
    if (b.length < head + size) return false;
    const payload = b.subarray(head, head + size);
    this.buffer = b.subarray(head + size);
    const opcode = b[0] & 15;
    if (opcode === 2) this.onmessage?.({ data: new Uint8Array(payload).buffer });
    else if (opcode === 9) this.#frame(10, payload);
    else if (opcode === 8) {
      this.closing = { code: payload.length >= 2 ? payload.readUInt16BE(0) : 1005, reason: payload.subarray(2).toString() };
      this.close();
    }
    return true;
  }
}
