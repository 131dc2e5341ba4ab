# Sockets that are handed over, of port 7 and to a server without any capability, stay while it is started anew five
# times: of 400 and more connections that come meanwhile none is refused. Of a server that opens its own, some are.
# needs: root unshare systemd-socket-activate setpriv python3
own=$1 programs=$2
chmod 777 "$own"
unprivileged="setpriv --reuid=65532 --regid=65532 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
ip link set lo up
server=
trap 'kill $server 2>/dev/null || true' EXIT
cat > "$own/restarts" <<'END'
# Whoever has the sockets, if there are any, starts the server five times, and becomes the sixth.
for round in 1 2 3 4 5; do
    sh -c 'LISTEN_PID=$$ exec "$@"' sh "$@" > /dev/null &
    timeout 30 sh -c 'until test -e "$OVER.begun"; do sleep 0.05; done' || exit 1
    sleep 0.4
    kill $!
    wait $!
done
: > "$OVER"
LISTEN_PID=$$ exec "$@" > /dev/null
END
cat > "$own/connections" <<'END'
import os, socket, sys, time
port, over, end = int(sys.argv[1]), sys.argv[2], time.monotonic() + 120
echoed = refused = cut = 0
while echoed < 400 or not os.path.exists(over):
    if time.monotonic() > end:
        sys.exit(f"{echoed} connections in two minutes, and the restarts are not over")
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            stream.sendall(b"echo")
            if stream.recv(4) == b"echo": echoed += 1
            else: cut += 1
        open(over + ".begun", "w").close()
    except ConnectionRefusedError:
        refused += 1
    except ConnectionResetError:
        cut += 1
print(f"{echoed} connections over five restarts: {refused} refused, {cut} cut off")
sys.exit(refused + cut > 0)
END
OVER=$own/handed systemd-socket-activate --setenv=OVER -l 127.0.0.1:7 \
    $unprivileged sh "$own/restarts" "$programs/echo-server" -q --listen=systemd 2> "$own/told" &
server=$!
timeout 30 sh -c 'until grep -q Listening "$0"; do sleep 0.05; done' "$own/told"
python3 "$own/connections" 7 "$own/handed"
grep -q '^CapEff:.0*$' /proc/$server/status
kill $server
wait $server
OVER=$own/opened sh "$own/restarts" "$programs/echo-server" -q --listen=127.0.0.1:5347 &
server=$!
"$programs/echo-client" --wait 30s 127.0.0.1:5347
if python3 "$own/connections" 5347 "$own/opened"; then
    echo "a server that opens its own sockets refuses nobody: this check cannot fail"
    exit 1
fi
kill $server
wait $server
