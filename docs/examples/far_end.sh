#!/bin/sh
# A test of a network client, with echo-server as its far end: `sh far_end.sh`.
set -eu
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT

# It writes the file whole once it is ready, serves one connection, and ends after 10 s at the latest.
echo-server --listen tcp://127.0.0.1:0 --once --exit-after 10s --ready-file "$dir/ready" --quiet >"$dir/out" &
server=$!
until [ -e "$dir/ready" ]; do kill -0 "$server"; done
address=$(sed -n 's/^listening tcp //p' "$dir/ready")

# The code under test.
reply=$(printf 'hello' | echo-client "$address" -m - --raw)

test "$reply" = hello
wait "$server" # 0: it has served its connection
echo "the greeting came back"
