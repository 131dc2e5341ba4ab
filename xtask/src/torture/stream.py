# Replaces a standard stream by one that is closed, full, or does not block; then runs a program.
import os, sys
how, fd = sys.argv[1], int(sys.argv[2])
if how == 'closed':
    os.close(fd)
elif how == 'nospace':
    os.dup2(os.open('/dev/full', os.O_RDWR), fd)
elif how == 'nonblocking':
    os.set_blocking(fd, False)
else:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True: os.write(write, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    os.set_inheritable(read, True)
    os.dup2(read if fd == 0 else write, fd)
os.execvp(sys.argv[3], sys.argv[3:])
