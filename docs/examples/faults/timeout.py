"""Does the client give up in time? The far end never answers, never accepts, or answers too late."""

import socket
import time

from far_end import FarEnd


def ask(address, message, seconds):
    """The code under test: one deadline for all of it, not one for each call."""
    deadline = time.monotonic() + seconds
    with socket.create_connection(address, timeout=seconds) as s:
        s.sendall(message)
        answer = b""
        while len(answer) < len(message):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer is not complete")
            s.settimeout(left)
            piece = s.recv(1024)
            if not piece:
                raise ConnectionError("ended early")
            answer += piece
        return answer


# The last one is the mean one: every read returns in time, and the whole never ends.
for fault in ["stall", "delay=1h", "no-accept", "trickle=1/50ms"]:
    with FarEnd(fault) as far_end:
        start = time.monotonic()
        try:
            ask(far_end.address, b"x" * 1000, seconds=0.3)
            raise AssertionError(f"{fault}: an answer?")
        except TimeoutError:
            took = time.monotonic() - start
        assert 0.29 < took < 5, took
        print(f"{fault}: gave up after {took:.2f} s")

# A slow answer is still an answer.
with FarEnd("delay=100ms") as far_end:
    assert ask(far_end.address, b"hello", seconds=5) == b"hello"
