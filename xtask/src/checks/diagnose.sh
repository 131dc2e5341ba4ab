# One thing after the other is broken between two machines, and diagnosed. What waits most of the time
# runs side by side; a skip says what this machine does not grant.
cargo test --locked --workspace --test it -- paths:: unreached:: pairs:: --ignored --show-output --test-threads=4
