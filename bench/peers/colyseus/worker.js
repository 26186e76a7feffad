// What server.js and swarm.js share: JSON lines to the parent, words from it. See bench/processes.py.

export const told = JSON.parse(process.argv[2]);

export function tell(event, facts = {}) {
  process.stdout.write(JSON.stringify({ event, ...facts }) + "\n");
}

export function listen(hear) {
  let rest = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (data) => {
    const words = (rest + data).split("\n");
    rest = words.pop();
    words.forEach(hear);
  });
  process.stdin.on("end", () => process.exit(0));
}
