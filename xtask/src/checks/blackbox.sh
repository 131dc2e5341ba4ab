# The modules say of a server that it answers, and of one that is gone that it does not.
# needs: root unshare prometheus-blackbox-exporter curl
ip link set lo up
"$2/echo-server" -q --listen 127.0.0.1:5346 --metrics 127.0.0.1:9146 > /dev/null &
server=$!
prometheus-blackbox-exporter --log.level=error --web.listen-address=127.0.0.1:9115 \
    --config.file=docs/deploy/prometheus/blackbox.yml &
exporter=$!
trap 'kill $server $exporter 2>/dev/null || true' EXIT
probe() {
    curl --silent --fail "http://127.0.0.1:9115/probe?module=$1&target=$2" | grep -qx "probe_success $3"
}
"$2/echo-client" --wait 30s 127.0.0.1:5346
curl --silent --fail --retry 50 --retry-connrefused --retry-delay 1 http://127.0.0.1:9115/-/healthy > /dev/null
probe echo_tcp 127.0.0.1:5346 1
probe echo_metrics http://127.0.0.1:9146/readyz 1
kill $server
wait $server
probe echo_tcp 127.0.0.1:5346 0
probe echo_metrics http://127.0.0.1:9146/readyz 0
