"""Does the protocol deliver everything? The far end loses, doubles and reorders datagrams."""

import select
import socket
import time

from far_end import FarEnd


def deliver(address, messages, window=8, patience=0.1):
    """The code under test: numbered datagrams, sent again until their echo is there. Returns what
    came back, in order, and how many datagrams that took."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(address)
    arrived, sent_at, datagrams = {}, {}, 0
    with s:
        while len(arrived) < len(messages):
            waiting = [n for n in range(len(messages)) if n not in arrived][:window]
            for n in waiting:
                if time.monotonic() - sent_at.get(n, -patience) >= patience:
                    s.send(n.to_bytes(4, "big") + messages[n])
                    sent_at[n] = time.monotonic()
                    datagrams += 1
            while select.select([s], [], [], patience / 10)[0]:
                answer = s.recv(65536)
                arrived[int.from_bytes(answer[:4], "big")] = answer[4:]
    return [arrived[n] for n in sorted(arrived)], datagrams


messages = [b"message %d" % n for n in range(100)]
with FarEnd("drop=20%,udp", "duplicate=10%,udp", "reorder=10%") as far_end:
    received, datagrams = deliver(far_end.address, messages)
assert received == messages
lost = len(far_end.faults("drop"))
print(f"{datagrams} datagrams for {len(messages)} messages; {lost} were lost on purpose")
assert lost > 10 and datagrams >= len(messages) + lost
