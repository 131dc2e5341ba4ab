"""Does the client read until it has all? The far end sends every answer in pieces of three bytes."""

import socket

from far_end import FarEnd


def naive(s):
    """What many a tutorial does: it believes that one read is one message."""
    return s.recv(1024)


def whole_line(s):
    """What is right: read until the message says that it is complete."""
    line = b""
    while not line.endswith(b"\n"):
        piece = s.recv(1024)
        if not piece:
            raise ConnectionError("ended within a line")
        line += piece
    return line


with FarEnd("split=3", framing="lines") as far_end:
    with socket.create_connection(far_end.address, timeout=10) as s:
        for _ in range(20):
            s.sendall(b"a line in pieces\n")
            assert whole_line(s) == b"a line in pieces\n"

    short = 0
    for _ in range(20):
        with socket.create_connection(far_end.address, timeout=10) as s:
            s.sendall(b"a line in pieces\n")
            short += naive(s) != b"a line in pieces\n"
    print(f"one read was not the whole message {short} times of 20")
    assert short > 0
assert [e["pieces"] for e in far_end.faults("split")] == [6] * 40
