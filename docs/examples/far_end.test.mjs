// A test of a network client, with echo-server as its far end: `node --test far_end.test.mjs`.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import test from "node:test";

// The code under test.
async function greet(port, host) {
  const socket = net.connect(port, host);
  socket.end("hello");
  return (await socket.toArray()).join("");
}

test("the greeting comes back", { timeout: 10_000 }, async () => {
  const options = ["--listen", "tcp://127.0.0.1:0", "--once", "--exit-on-stdin-eof", "--log", "json"];
  const server = spawn("echo-server", options);
  const events = createInterface({ input: server.stderr });
  const told = events[Symbol.asyncIterator]();
  const next = async (name) => {
    for (let line; (line = await told.next()), !line.done; ) {
      const event = JSON.parse(line.value);
      if (event.event === name) return event;
    }
  };

  const [host, port] = (await next("listening")).local.split(":");
  assert.equal(await greet(port, host), "hello");
  assert.equal((await next("closed")).received_bytes, 5);
  assert.equal((await next("stopped")).reason, "served");
  const [code] = await once(server, "exit");
  assert.equal(code, 0);
});
