import socket

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect(("127.0.0.1", 5346))
    s.sendall(b"Hello world!")
    data = s.recv(1024)

print("Received", repr(data))
