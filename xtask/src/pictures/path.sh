# A machine, a router and a server in namespaces of their own. The last link is narrower than the others, and
# the router's firewall drops the message that would say so. What a diagnosis says of that path.
# needs: root unshare ip nft
bin=$2
mount -t tmpfs none /run
ip netns add router
ip netns add server
ip link add c0 type veth peer name rc netns router
ip -n router link add rs type veth peer name s0 netns server
# One packet is one packet: none passes that is really many.
ip link set c0 gso_max_segs 1 up
ip -n router link set rc gso_max_segs 1 up
ip -n router link set rs gso_max_segs 1 up
ip -n server link set s0 gso_max_segs 1 up
ip addr add 10.77.1.2/24 dev c0
ip -n router addr add 10.77.1.1/24 dev rc
ip -n router addr add 10.77.2.1/24 dev rs
ip -n server addr add 10.77.2.2/24 dev s0
ip route add default via 10.77.1.1
ip -n server route add default via 10.77.2.1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1
ip -n router route change 10.77.2.0/24 dev rs mtu 1400
ip netns exec router nft 'add table inet path'
ip netns exec router nft 'add chain inet path out { type filter hook output priority 0 ; }'
ip netns exec router nft 'add rule inet path out meta l4proto icmp drop'
ip netns exec server "$bin/echo-server" -q --listen 10.77.2.2:5346 >/dev/null &
trap 'kill $! 2>/dev/null || true' EXIT
"$bin/echo-client" --wait 10s 10.77.2.2:5346 >/dev/null
# Something is wrong, which its exit code says.
"$bin/echo-client" diagnose 10.77.2.2:5346 || [ "$?" = 1 ]
kill "$!"
wait "$!"
