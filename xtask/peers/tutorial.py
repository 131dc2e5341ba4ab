"""The tutorial's echo server, with the thread per connection that serving several clients takes."""

import socket
import threading


def echo(connection):
    with connection:
        while data := connection.recv(1024):
            connection.sendall(data)


with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
    print("listening tcp %s:%d\nready" % server.getsockname(), flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()
