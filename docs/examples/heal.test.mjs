// A far end that breaks and heals during a test, without a new port: `node --test heal.test.mjs`.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";

// The code under test.
async function greet(port, host) {
  const socket = net.connect(port, host);
  socket.end("hello");
  return (await socket.toArray()).join("");
}

// Has the far end do something, and waits until it has.
async function command(path, text) {
  const socket = net.connect(path);
  socket.end(`${text}\n`);
  return JSON.parse((await socket.toArray()).join(""));
}

test("a greeting fails while the far end does", { timeout: 10_000 }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "echo-"));
  t.after(() => rm(dir, { recursive: true }));
  const control = join(dir, "control.sock");
  const options = ["--listen", "tcp://127.0.0.1:0", "--control", control, "--exit-on-stdin-eof", "--quiet"];
  const server = spawn("echo-server", options);
  const lines = createInterface({ input: server.stdout });
  const [line] = await once(lines, "line");
  const [, host, port] = line.match(/^listening tcp (.*):(\d+)$/);

  assert.equal(await greet(port, host), "hello");
  await command(control, "fault add reset-after=0");
  await assert.rejects(greet(port, host), { code: "ECONNRESET" });
  const { removed } = await command(control, "fault clear");
  assert.equal(removed[0].spec, "reset-after=0");
  assert.equal(await greet(port, host), "hello");

  await command(control, "stop");
  const [code] = await once(server, "exit");
  assert.equal(code, 0);
});
