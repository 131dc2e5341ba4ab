"""Does the client try again, and wait longer each time? The far end resets the first two connections."""

import socket
import time

from far_end import FarEnd


def ask(address, message, attempts, pause):
    """The code under test. Returns the answer, and the pauses it took to get it."""
    pauses = []
    while True:
        try:
            with socket.create_connection(address, timeout=5) as s:
                s.sendall(message)
                answer = s.recv(len(message), socket.MSG_WAITALL)
                if answer == message:
                    return answer, pauses
                raise ConnectionResetError("ended early")
        except ConnectionError:
            if len(pauses) + 1 == attempts:
                raise
            pauses.append(pause * 2 ** len(pauses))
            time.sleep(pauses[-1])


with FarEnd("refuse,conn=..2") as far_end:
    assert ask(far_end.address, b"hello", attempts=3, pause=0.01) == (b"hello", [0.01, 0.02])
assert len(far_end.faults("refuse")) == 2

# And it gives up in the end.
with FarEnd("refuse") as far_end:
    try:
        ask(far_end.address, b"hello", attempts=3, pause=0.01)
        raise AssertionError("nobody can have answered")
    except ConnectionRefusedError as error:
        print("gave up:", error)
