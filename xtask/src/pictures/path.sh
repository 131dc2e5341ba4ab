# The last link is narrower than the others, and the router's firewall drops the message that would say so. What a
# diagnosis says of that path.
# needs: root unshare ip nft
ip -n router route change 203.0.113.0/24 dev rs mtu 1400
ip netns exec router nft 'add table inet path'
ip netns exec router nft 'add chain inet path out { type filter hook output priority 0 ; }'
ip netns exec router nft 'add rule inet path out meta l4proto icmp drop'
ip netns exec server "$2/echo-server" -q --listen 203.0.113.2:5346 >/dev/null &
trap 'kill $! 2>/dev/null || true' EXIT
"$2/echo-client" --wait 10s 203.0.113.2:5346 >/dev/null
# Something is wrong, which its exit code says.
"$2/echo-client" diagnose 203.0.113.2:5346 || [ "$?" = 1 ]
kill "$!"
wait "$!"
