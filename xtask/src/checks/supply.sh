# Every dependency comes from crates.io, once, under a licence that may be shipped, and with no known flaw:
# cargo-deny judges, by the rules in xtask/deny.toml.
deny() { cargo-deny --config=xtask/deny.toml "$@"; }
checks="licenses bans sources advisories"
if ! command -v cargo-deny >/dev/null; then
    echo "licences, duplicates, sources and advisories: skipped, there is no cargo-deny here"
    checks=
elif ! deny fetch db 2>/dev/null && ! ls -d "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/crates >/dev/null 2>&1; then
    echo "advisories: skipped, RustSec's database is not here and cannot be fetched"
    checks="licenses bans sources"
fi
for manifest in Cargo.toml crates/fuzz/Cargo.toml xtask/peers/Cargo.toml; do
    # Each fits its lock file, and what is to be fetched has been after this.
    cargo metadata --locked --format-version=1 --manifest-path "$manifest" >/dev/null
    echo "$manifest: it fits its lock file"
    [ -z "$checks" ] || deny --offline --locked --manifest-path "$manifest" check $checks
done
