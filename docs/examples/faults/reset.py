"""Does the client resume? The far end resets the first connection in the middle of the answer."""

import socket

from far_end import FarEnd


def fetch(address, data):
    """The code under test: has `data` echoed, a connection after the other if need be. Returns what
    came back, and how many connections that took."""
    received, connections = b"", 0
    while len(received) < len(data):
        connections += 1
        try:
            with socket.create_connection(address, timeout=10) as s:
                s.sendall(data[len(received) :])
                while len(received) < len(data):
                    piece = s.recv(4096)
                    if not piece:
                        break
                    received += piece
        except ConnectionResetError as error:
            print(f"{error} after {len(received)} bytes: again from there")
    return received, connections


data = bytes(range(256)) * 16
with FarEnd("reset-after=1000,conn=1") as far_end:
    assert fetch(far_end.address, data) == (data, 2)
(reset,) = far_end.faults("reset-after")
assert reset["connection"] == 1
