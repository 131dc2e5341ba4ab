"""An echo-server that goes wrong as it is told to, for the examples beside this file."""

import json
import subprocess


class FarEnd:
    """A server on a port that the system chose; it ends with the `with` block, or with this program.

    Events are there after the block: `[e["fault"] for e in far_end.events if e["event"] == "fault"]`.
    """

    def __init__(self, *faults, framing="raw", control=""):
        command = ["echo-server", "--listen", "127.0.0.1:0", "--framing", framing, "--seed", "7"]
        command += ["--log", "json", "--exit-on-stdin-eof", "--drain", "0s", "--control", control]
        for fault in faults:
            command += ["--fault", fault]
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        host, port = self.server.stdout.readline().split()[2].rsplit(":", 1)
        self.address = host, int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _, events = self.server.communicate(timeout=10)
        self.events = [json.loads(line) for line in events.splitlines()]

    def faults(self, name):
        return [e for e in self.events if e["event"] == "fault" and e["fault"] == name]


if __name__ == "__main__":
    with FarEnd("drop=20%") as far_end:
        print("listening on", far_end.address)
    assert far_end.events[-1]["event"] == "stopped"
