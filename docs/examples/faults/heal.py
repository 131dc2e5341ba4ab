"""Does a pool notice that its connection broke, and does it recover? The far end is healthy, breaks, and heals again."""

import json
import os
import socket
import tempfile

from far_end import FarEnd


class Pool:
    """The code under test: one connection that is kept, and opened anew once it has failed."""

    def __init__(self, address):
        self.address, self.stream = address, None

    def ask(self, message):
        try:
            self.stream = self.stream or socket.create_connection(self.address, timeout=5)
            self.stream.sendall(message)
            answer = self.stream.recv(len(message), socket.MSG_WAITALL)
            if answer != message:
                raise ConnectionResetError("ended early")
            return answer
        except OSError:
            self.stream = None
            raise


def command(path, text):
    """Has the far end do something, and waits until it has."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(text.encode() + b"\n")
        answer = json.loads(s.makefile().readline())
    assert "error" not in answer, answer
    return answer


with tempfile.TemporaryDirectory() as directory:
    control = os.path.join(directory, "control.sock")
    with FarEnd(control=control) as far_end:
        pool = Pool(far_end.address)
        assert pool.ask(b"healthy") == b"healthy"

        command(control, "fault add reset-after=0")
        command(control, "fault add refuse")
        for error in (ConnectionResetError, ConnectionRefusedError):
            try:
                pool.ask(b"broken")
                raise AssertionError("nobody can have answered")
            except error as told:
                print("told:", told)

        command(control, "fault clear")
        assert pool.ask(b"healed") == b"healed"
assert [e["spec"] for e in far_end.events if e["event"] == "fault-added"] == ["reset-after=0", "refuse"]
