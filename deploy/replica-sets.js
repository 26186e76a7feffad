// Run by mongosh: make the replica sets of deploy/compose.yaml, and wait until each has a primary.
for (const name of ["config", "west", "east"]) {
    const hosts = [1, 2, 3].map((i) => `${name}${i}:27017`);
    // Of the config servers the set is "cfg": mongos names it so.
    const set = name === "config" ? "cfg" : name;
    const member = new Mongo(`mongodb://${hosts[0]}/?directConnection=true`).getDB("admin");
    try {
        member.runCommand({
            replSetInitiate: {
                _id: set,
                ...(name === "config" ? { configsvr: true } : {}),
                members: hosts.map((host, _id) => ({ _id, host })),
            },
        });
    } catch (error) {
        if (error.codeName !== "AlreadyInitialized") throw error;
    }
    while (!member.hello().primary) sleep(200);
    print(`${set}: primary ${member.hello().primary}`);
}
