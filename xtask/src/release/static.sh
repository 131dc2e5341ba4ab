# Both programs, linked statically, and the packages that have them, into $1/bin.
own=$1 target=$2
triple=$(uname -m)-unknown-linux-gnu
# As small as they are released.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --target "$triple" \
    --package=echo-server --package=echo-client --config 'profile.dev.strip="symbols"'
mkdir "$own/sources"
git archive HEAD | tar -x -C "$own/sources"
mkdir -p "$own/sources/target/release"
cp "$target/$triple/debug/echo-server" "$target/$triple/debug/echo-client" "$own/sources/target/release"
cargo run --quiet --locked --package echo-client --example pages -- "$own/pages"
sh -eu xtask/src/release/packages.sh "$own/sources" "$own/pages/share" "$own/sources/target/release"
ln -s sources/target/release "$own/bin"
