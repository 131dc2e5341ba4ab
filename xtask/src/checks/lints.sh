for scope in --workspace --manifest-path=xtask/peers/Cargo.toml; do
    cargo clippy --locked "$scope" --all-targets -- -D warnings
done
# What runs the server within a test builds neither a command line nor what reads settings.
server="--locked --package=echo-server --no-default-features"
cargo clippy $server -- -D warnings
if cargo tree $server --edges=normal --prefix=none | grep -E '^(clap|toml)'; then
    echo "a test that runs the server within itself builds these" >&2
    exit 1
fi
