# The programs are static here, and in a release they are not.
# needs: root unshare cargo-deb dpkg lintian
lintian --fail-on error --suppress-tags statically-linked-binary "$2"/*.deb
# Installed, used and purged in a copy of this system that is gone afterwards.
mount -t tmpfs none "$1"
mkdir "$1/changes" "$1/work" "$1/system"
mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" none "$1/system"
mount -t proc none "$1/system/proc"
mount --rbind /dev "$1/system/dev"
cp "$2"/*.deb "$1/system/"
ip link set lo up
chroot "$1/system" sh -euc '
    dpkg --install /echo-server_*.deb /echo-client_*.deb
    for file in bin/echo-server bin/echo-client share/man/man1/echo-server.1.gz \
        share/man/man1/echo-client-ping.1.gz share/bash-completion/completions/echo-server \
        share/zsh/vendor-completions/_echo-client share/fish/vendor_completions.d/echo-client.fish; do
        test -s "/usr/$file"
    done
    test -s /lib/systemd/system/echo-server.service && test -s /lib/systemd/system/echo-server.socket
    echo-server --config /etc/echo-server.toml --once &
    server=$!
    echo-client --wait 30s
    wait "$server"
    dpkg --purge echo-server echo-client
    test ! -e /etc/echo-server.toml && test ! -e /usr/bin/echo-server
'
