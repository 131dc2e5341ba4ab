"""A test of a network client, with echo-server as its far end: `pytest test_far_end.py`."""

import json
import socket
import subprocess

import pytest


def greet(address):
    """The code under test: two writes, then the end."""
    with socket.create_connection(address, timeout=5) as s:
        s.sendall(b"hello ")
        s.recv(6, socket.MSG_WAITALL)
        s.sendall(b"world")
        s.shutdown(socket.SHUT_WR)
        return s.makefile("rb").read()


@pytest.fixture
def echo(tmp_path):
    record = tmp_path / "record"
    command = ["echo-server", "--listen", "tcp://127.0.0.1:0", "--once", "--exit-after", "1m"]
    command += ["--exit-on-stdin-eof", "--record", record]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        host, port = server.stdout.readline().split()[2].rsplit(":", 1)
        yield (host, int(port)), record, server
        server.stdin.close()


def test_a_greeting_is_written_in_two_parts(echo):
    address, record, server = echo
    assert greet(address) == b"world"
    assert server.wait(timeout=5) == 0
    chunks = [json.loads(line) for line in record.read_text().splitlines()]
    assert [bytes.fromhex(chunk["hex"]) for chunk in chunks] == [b"hello ", b"world"]
