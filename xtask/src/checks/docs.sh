export RUSTDOCFLAGS="-D warnings"
cargo doc --locked --workspace --no-deps --document-private-items
