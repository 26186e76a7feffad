// A crowd of Colyseus clients in one process. Only a sample decodes its patches and times its inputs;
// for the others decoding is switched off, so that the server is what is measured.

// Node's own WebSocket, where there is one, counts no bytes and costs more than `ws`.
delete globalThis.WebSocket;
const { Client } = await import("@colyseus/sdk");
const { listen, tell, told } = await import("./worker.js");

const OPENING_MAX = 24;
const SLICE_MS = 4;
const endpoint = new Client(`ws://127.0.0.1:${told.port}`);
const members = [];
const seen = { on: false, latency: [], visible: 0, views: 0, inputs: 0, lost: 0, reasons: [] };

function complain(reason) {
  if (seen.reasons.length < 8 && !seen.reasons.includes(reason)) seen.reasons.push(reason);
}

async function join(sampled) {
  const room = await endpoint.joinOrCreate("crowd");
  const member = { room, sampled, value: 0, pending: new Map() };
  members.push(member);
  room.onLeave((code) => {
    seen.lost += 1;
    complain(`left with ${code}`);
  });
  room.onError((code, message) => complain(`error ${code}: ${message}`));
  await new Promise((resolve) => room.onStateChange.once(resolve));
  if (!sampled) {
    room.serializer.patch = () => {};
    return;
  }
  room.onStateChange((state) => {
    const now = performance.now();
    if (seen.on) {
      seen.visible += state.avatars.size;
      seen.views += 1;
    }
    const shown = state.avatars.get(room.sessionId)?.mark;
    if (!member.pending.has(shown)) return;
    // A mark overtaken by a later one in the same tick is seen with it.
    for (const [value, sent] of member.pending) {
      member.pending.delete(value);
      if (seen.on) seen.latency.push(now - sent);
      if (value === shown) break;
    }
  });
}

function send(member, n) {
  seen.inputs += 1;
  if (member.sampled && n % 5) {
    member.value = (member.value % 255) + 1;
    member.pending.set(member.value, performance.now());
    member.room.send("mark", member.value);
  } else {
    const angle = Math.random() * 2 * Math.PI;
    member.room.send("move", [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))]);
  }
}

const bytesRead = () => members.reduce((sum, { room }) => sum + room.connection.transport.ws._socket.bytesRead, 0);

let bytes, cpu, began;
listen((word) => {
  if (word === "start") {
    Object.assign(seen, { on: true, latency: [], visible: 0, views: 0, inputs: 0 });
    bytes = bytesRead();
    cpu = process.cpuUsage();
    began = performance.now();
  } else if (word === "stop") {
    seen.on = false;
    const elapsed_s = (performance.now() - began) / 1000;
    const used = process.cpuUsage(cpu);
    tell("result", {
      elapsed_s,
      bytes: bytesRead() - bytes,
      inputs: seen.inputs,
      sample_visible_mean: seen.views ? seen.visible / seen.views : 0,
      latency_ms: seen.latency,
      lost: seen.lost,
      reasons: seen.reasons,
      swarm_cpu: (used.user + used.system) / 1e6 / elapsed_s,
    });
  } else if (word === "end") {
    process.exit(0);
  }
});

try {
  let next = 0;
  const every = Math.max(1, Math.floor(told.clients / told.sample));
  const lane = async () => {
    while (next < told.clients) {
      const n = next++;
      await join(n % every === 0 && n / every < told.sample);
    }
  };
  await Promise.all(Array.from({ length: OPENING_MAX }, lane));
} catch (error) {
  tell("failed", { why: `${members.length} of ${told.clients} joined: ${error.message}` });
  process.exit(1);
}
let sent = 0;
const start = performance.now();
setInterval(() => {
  const due = ((performance.now() - start) / 1000) * told.inputs_per_s * members.length;
  for (; sent < due; sent++) send(members[sent % members.length], Math.floor(sent / members.length));
}, SLICE_MS);
tell("joined", { clients: members.length });
