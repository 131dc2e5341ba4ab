# The second lies outside the workspace.
cargo fmt --all --check
cargo fmt --manifest-path=xtask/peers/Cargo.toml --check
