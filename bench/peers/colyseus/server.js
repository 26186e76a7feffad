// The crowd as a Colyseus room: N avatars, every one moving every tick, a StateView of 5 by 5 cells per client.
//
// As favourable as its API allows: coordinates of 16 bits, views changed only for who crosses a
// cell, and the patch sent by the tick itself rather than by a timer of its own.

import { createServer } from "node:http";
import { Room, Server } from "@colyseus/core";
import { StateView, schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";
import { listen, tell, told } from "./worker.js";

const { world_units: EDGE, cell_units: CELL, near_cells: NEAR, scale: SCALE, speed_units_per_s: SPEED, hz: HZ } = told;
const PERIOD_MS = 1000 / HZ;
const ACROSS = Math.ceil(EDGE / CELL);

const Avatar = schema({ x: t.uint16(), y: t.uint16(), mark: t.uint8() }, "Avatar");
const Crowd = schema({ avatars: t.map(Avatar).view() }, "Crowd");

const log = { on: false, starts: [], lateness: [], took: [] };
let inputs = 0;

class CrowdRoom extends Room {
  autoDispose = false;
  patchRate = null;
  seatReservationTimeout = 120;
  state = new Crowd();
  // Session -> { avatar, client, x, y, dx, dy, column, row }.
  bodies = new Map();
  // Cell number -> bodies in it.
  cells = Array.from({ length: ACROSS * ACROSS }, () => new Set());

  onCreate() {
    this.onMessage("move", (client, [dx, dy]) => {
      inputs += 1;
      const length = Math.hypot(dx, dy);
      if (length > 1e-3) Object.assign(this.bodies.get(client.sessionId), { dx: dx / length, dy: dy / length });
    });
    this.onMessage("mark", (client, value) => {
      inputs += 1;
      this.bodies.get(client.sessionId).avatar.mark = value;
    });
    let due = performance.now() + PERIOD_MS;
    this.setTimestep(() => {
      const start = performance.now();
      this.step();
      this.broadcastPatch();
      if (log.on) {
        log.starts.push(start);
        log.lateness.push(Math.max(0, start - due));
        log.took.push(performance.now() - start);
      }
      // Node's interval does not catch up: what a tick is late, all that follow would be.
      due = Math.max(due, start) + PERIOD_MS;
    }, PERIOD_MS);
  }

  onJoin(client) {
    const angle = Math.random() * 2 * Math.PI;
    const body = { client, avatar: new Avatar(), x: Math.random() * EDGE, y: Math.random() * EDGE };
    Object.assign(body, { dx: Math.cos(angle), dy: Math.sin(angle), ...cellOf(body) });
    this.place(body);
    client.view = new StateView();
    this.state.avatars.set(client.sessionId, body.avatar);
    this.bodies.set(client.sessionId, body);
    this.cells[body.row * ACROSS + body.column].add(body);
    for (const other of this.around(body)) {
      client.view.add(other.avatar);
      if (other !== body) other.client.view.add(body.avatar);
    }
  }

  onLeave(client) {
    const body = this.bodies.get(client.sessionId);
    this.bodies.delete(client.sessionId);
    this.cells[body.row * ACROSS + body.column].delete(body);
    this.state.avatars.delete(client.sessionId);
  }

  step() {
    const step = SPEED / HZ;
    for (const body of this.bodies.values()) {
      body.x += body.dx * step;
      body.y += body.dy * step;
      if (body.x < 0 || body.x > EDGE) body.dx = -body.dx;
      if (body.y < 0 || body.y > EDGE) body.dy = -body.dy;
      body.x = Math.min(Math.max(body.x, 0), EDGE);
      body.y = Math.min(Math.max(body.y, 0), EDGE);
      this.place(body);
      const { column, row } = cellOf(body);
      if (column !== body.column || row !== body.row) this.cross(body, column, row);
    }
  }

  place(body) {
    body.avatar.x = Math.round(body.x / SCALE);
    body.avatar.y = Math.round(body.y / SCALE);
  }

  // Sees, and is seen by, whoever is within NEAR cells; both change alike.
  cross(body, column, row) {
    this.cells[body.row * ACROSS + body.column].delete(body);
    const before = new Set(this.around(body));
    Object.assign(body, { column, row });
    const after = new Set(this.around(body));
    this.cells[row * ACROSS + column].add(body);
    for (const other of before) {
      if (after.has(other)) continue;
      body.client.view.remove(other.avatar);
      other.client.view.remove(body.avatar);
    }
    for (const other of after) {
      if (before.has(other)) continue;
      body.client.view.add(other.avatar);
      other.client.view.add(body.avatar);
    }
  }

  *around({ column, row }) {
    for (let r = Math.max(0, row - NEAR); r <= Math.min(ACROSS - 1, row + NEAR); r++) {
      for (let c = Math.max(0, column - NEAR); c <= Math.min(ACROSS - 1, column + NEAR); c++) {
        yield* this.cells[r * ACROSS + c];
      }
    }
  }
}

function cellOf({ x, y }) {
  return { column: Math.min(Math.floor(x / CELL), ACROSS - 1), row: Math.min(Math.floor(y / CELL), ACROSS - 1) };
}

const http = createServer();
const server = new Server({
  greet: false,
  gracefullyShutdown: false,
  transport: new WebSocketTransport({ server: http, pingInterval: 0 }),
});
server.define("crowd", CrowdRoom);
await server.listen(0, "127.0.0.1");
tell("listening", { port: http.address().port });

listen((word) => {
  if (word === "start") {
    Object.assign(log, { on: true, starts: [], lateness: [], took: [] });
    inputs = 0;
  } else if (word === "stop") {
    log.on = false;
    const span = log.starts.at(-1) - log.starts[0];
    tell("ticks", {
      ticks: log.starts.length,
      hz: ((log.starts.length - 1) * 1000) / span,
      lateness_ms: log.lateness,
      took_ms: log.took,
      inputs,
    });
  } else if (word === "end") {
    process.exit(0);
  }
});
