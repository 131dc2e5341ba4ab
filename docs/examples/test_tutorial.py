"""The tutorial's two programs, each against the other half of this project."""

import pathlib
import socket
import subprocess
import sys

TUTORIAL = pathlib.Path(__file__).parent / "tutorial"


def source(name, port):
    """The program, on a port of this test's own."""
    return (TUTORIAL / name).read_text().replace("5346", str(port))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_the_tutorials_client_talks_to_echo_server():
    command = ["echo-server", "--listen", "tcp://127.0.0.1:0", "--once", "--exit-after", "30s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().rsplit(":", 1)[1].strip()
        client = [sys.executable, "-c", source("client.py", port)]
        done = subprocess.run(client, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout) == (0, "Received b'Hello world!'\n"), done
        assert server.wait(30) == 0


def test_echo_client_talks_to_the_tutorials_server():
    port = free_port()
    command = [sys.executable, "-c", source("server.py", port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        client = ["echo-client", "--wait", "30s", "-m", "hola", f"127.0.0.1:{port}"]
        done = subprocess.run(client, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, 'Received: "hola"\n'), done
        assert server.stdout.readline().startswith("Connected by ('127.0.0.1', ")
        assert server.wait(30) == 0
