# Six machines in network namespaces that watch one another, a real Prometheus that watches them with the
# files of docs/deploy/prometheus, and what becomes of its figures when something happens on the way.
# needs: root ip nft prometheus promtool python3
own=$1 bin=$2
shipped=docs/deploy/prometheus
name=echo-mesh-$$
nodes="1 2 3 4 5 6"
pids= last= prometheus=

at() {
    node=$name-$1
    shift
    ip netns exec "$node" "$@"
}
end() {
    kill $pids $prometheus 2>/dev/null || true
    wait
    for node in hub $nodes; do ip netns del "$name-$node" 2>/dev/null || true; done
}
trap end EXIT
trap 'exit 130' INT TERM

# Waits until a question to Prometheus has an answer.
ask() { at hub promtool query instant --format=json http://127.0.0.1:9090 "$1" 2>&1 || true; }
until_there_is() {
    looks=120
    while answer=$(ask "$1") && ! expr "$answer" : '\[{' >/dev/null; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || { echo "$1: still $answer" >&2; exit 1; }
        sleep 0.5
    done
}
# Lists the first nodes, at once.
list() {
    python3 - "$1" > "$own/draft" <<'LIST'
import json, sys
print(json.dumps([{"targets": [f"10.77.0.{n}:5346"],
                   "labels": {"name": f"node-{n}", "zone": f"zone-{(n + 1) // 2}"}}
                  for n in range(1, int(sys.argv[1]) + 1)]))
LIST
    mv "$own/draft" "$own/peers.json"
}
# A file as it is shipped, but for its patience.
hasty() {
    file=$1
    cp "$shipped/$file" "$own/$file"
    shift
    for change; do
        grep -q -- "${change%%=*}" "$own/$file" || { echo "$file has no ${change%%=*} any more" >&2; exit 1; }
        sed -i "s/${change%%=*}/${change#*=}/" "$own/$file"
    done
}
ready() {
    looks=300
    until grep -qx ready "$1"; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || { echo "$1: it is not ready" >&2; exit 1; }
        sleep 0.1
    done
}

ip netns add "$name-hub"
ip -n "$name-hub" link add hub type bridge
ip -n "$name-hub" link set hub up
ip -n "$name-hub" link set lo up
ip -n "$name-hub" addr add 10.77.0.254/24 dev hub
list 6
for n in $nodes; do
    ip netns add "$name-$n"
    ip -n "$name-hub" link add "port$n" type veth peer name eth0 netns "$name-$n"
    ip -n "$name-hub" link set "port$n" master hub up
    ip -n "$name-$n" addr add "10.77.0.$n/24" dev eth0
    ip -n "$name-$n" link set eth0 up
    ip -n "$name-$n" link set lo up
    ip netns exec "$name-$n" "$bin/echo-server" -q --listen "10.77.0.$n:5346" --metrics "10.77.0.$n:9146" > "$own/server-$n" &
    last="$!"
    ip netns exec "$name-$n" "$bin/echo-client" mesh --targets "file:$own/peers.json" --metrics "10.77.0.$n:9145" \
        --interval=500ms --timeout=500ms --refresh=1s > "$own/agent-$n" &
    last="$last $!"
    pids="$pids $last"
    ready "$own/server-$n"
    ready "$own/agent-$n"
done
hasty rules.yml '\[5m\]=[10s]' 'for: 1m=for: 2s' 'for: 5m=for: 2s'
hasty prometheus.yml 'interval: 15s=interval: 1s'
(cd "$own" && exec ip netns exec "$name-hub" prometheus --web.listen-address=127.0.0.1:9090 \
    --config.file=prometheus.yml --storage.tsdb.path=data 2> prometheus.log) &
prometheus=$!
until_there_is 'sum(echo_mesh_peer_up) == 60'
until_there_is 'absent(ALERTS{alertstate="firing"})'
echo "6 agents, 60 paths up, no alert"

# Datagrams to one node are lost: that is seen there, and nowhere else.
at 5 nft 'add table inet mesh'
at 5 nft 'add chain inet mesh in { type filter hook input priority 0 ; }'
at 5 nft 'add rule inet mesh in udp dport 5346 numgen random mod 100 < 30 drop'
lost=peer:echo_mesh_lost:ratio_rate5m
there="$lost{peer=\"node-5\",transport=\"udp\"}"
zone='ALERTS{alertname="EchoZoneLossHigh",alertstate="firing",transport="udp"}'
until_there_is "$there > 0.2"
answer=$(ask "max($lost unless $there) < 0.1")
expr "$answer" : '\[{' >/dev/null || { echo "probes on other paths are lost, too: $(ask "$lost")" >&2; exit 1; }
until_there_is "$zone"
at 5 nft 'flush ruleset'
until_there_is "absent($zone)"
echo "30 % of the datagrams to node-5 are lost: seen there over UDP, and nowhere else"

# The link of one node goes down: the alert fires of it alone, and each figure of the dashboard is there.
ip -n "$name-hub" link set port3 down
began=$(date +%s)
unreachable='alertname="EchoPeerUnreachable",alertstate="firing"'
until_there_is "count(ALERTS{$unreachable}) == 2"
took=$(($(date +%s) - began))
until_there_is "absent(ALERTS{$unreachable,peer!=\"node-3\"})"
until_there_is 'ALERTS{alertname="EchoAgentDown",alertstate="firing",instance="node-3"}'
python3 - "$shipped/dashboard.json" > "$own/expressions" <<'EXPRESSIONS'
import json, sys
for panel in json.load(open(sys.argv[1]))["panels"]:
    for target in panel.get("targets", []):
        print(target["expr"].replace("$__rate_interval", "10s"))
EXPRESSIONS
count=$(wc -l < "$own/expressions")
[ "$count" -ge 15 ] || { echo "the dashboard has no expressions" >&2; exit 1; }
while read -r expression; do until_there_is "$expression"; done < "$own/expressions"
ip -n "$name-hub" link set port3 up
until_there_is 'absent(ALERTS{alertstate="firing"})'
echo "the link of node-3 is down: the alert fired $took s later, and ended with it; the $count expressions"
echo "of the dashboard have answers"

# One leaves: its programs stop as they should, and its series end.
stop() {
    for pid; do
        kill "$pid"
        wait "$pid"
    done
}
list 5
stop $last
pids=${pids%"$last"}
until_there_is 'absent({__name__=~"echo_mesh_.+",peer="node-6"})'
until_there_is 'sum(echo_mesh_peer_up) == 40'
echo "node-6 has left, and so have its series"
stop $pids
pids=
