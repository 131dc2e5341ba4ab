# The packages for RPM are installed, used and removed in a root of their own, where nothing else is.
# needs: root rpm cargo-generate-rpm
root=$1/root
mkdir "$root"
rpm --root "$root" --nodeps --install "$2"/*.rpm
"$root/usr/bin/echo-client" --version
for file in etc/echo-server.toml lib/systemd/system/echo-server.service share/man/man1/echo-client-ping.1 \
    share/bash-completion/completions/echo-server share/zsh/site-functions/_echo-client; do
    test -s "$root/usr/$file" || test -s "$root/$file"
done
rpm --root "$root" --erase echo-server echo-client
test ! -e "$root/etc/echo-server.toml" && test ! -e "$root/usr/bin/echo-server"
