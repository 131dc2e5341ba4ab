#!/bin/sh
# A far end that breaks and heals during a test, without a new port: `sh heal.sh`.
set -eu
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
control="unix:$dir/control.sock"

echo-server --listen api=tcp://127.0.0.1:0 --control "$control" --exit-after 30s --ready-file "$dir/ready" --quiet >"$dir/out" &
server=$!
until [ -e "$dir/ready" ]; do kill -0 "$server"; done
address=$(sed -n 's/^listening tcp \(.*\) api$/\1/p' "$dir/ready")

# The code under test.
ask() { printf 'hello' | echo-client "$address" -m - --raw 2>"$dir/err"; }

test "$(ask)" = hello
echo-server control "$control" 'fault add refuse,on=api'
if ask; then
    echo "nobody can have answered" >&2
    exit 1
fi
echo-server control "$control" fault clear
test "$(ask)" = hello
echo-server control "$control" stop
wait "$server"
echo "it was healthy, broken, and healthy again"
