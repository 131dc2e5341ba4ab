# It finds the program where it looks for programs.
# needs: systemd-analyze
cp docs/deploy/systemd/echo-server.service docs/deploy/systemd/echo-server.socket "$1"
sed -i "s#ExecStart=#ExecStart=$2/#" "$1/echo-server.service"
systemd-analyze verify "$1/echo-server.service" "$1/echo-server.socket"
