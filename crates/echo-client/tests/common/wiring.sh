# This machine, a router and a server in a row, each in a namespace of its own. Names of namespaces lie below /run: these
# nobody else sees, and they need no clearing away. One packet is one packet (gso_max_segs): a rule sees none that is really
# many. An address of IPv6 is there at once: nobody asks for a second whether another has it (accept_dad).
mount -t tmpfs none /run
ip netns add router
ip netns add server
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip netns exec router sysctl -qw net.ipv6.conf.default.accept_dad=0
ip netns exec server sysctl -qw net.ipv6.conf.default.accept_dad=0
ip link add c0 type veth peer name rc netns router
ip -n router link add rs type veth peer name s0 netns server
ip link set c0 gso_max_segs 1 up
ip -n router link set rc gso_max_segs 1 up
ip -n router link set rs gso_max_segs 1 up
ip -n server link set s0 gso_max_segs 1 up
ip -n server link set lo up
ip addr add 198.51.100.2/24 dev c0
ip addr add 2001:db8:1::2/64 dev c0 nodad
ip -n router addr add 198.51.100.1/24 dev rc
ip -n router addr add 2001:db8:1::1/64 dev rc nodad
ip -n router addr add 203.0.113.1/24 dev rs
ip -n router addr add 2001:db8:2::1/64 dev rs nodad
ip -n server addr add 203.0.113.2/24 dev s0
ip -n server addr add 2001:db8:2::2/64 dev s0 nodad
ip route add default via 198.51.100.1
ip -6 route add default via 2001:db8:1::1
ip -n server route add default via 203.0.113.1
ip -n server -6 route add default via 2001:db8:2::1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
