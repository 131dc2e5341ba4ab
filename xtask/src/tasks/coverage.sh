# Runs the tests with the compiler's own counters and prints a line a file: fuzz corpora and simulations are among
# them. Of these packages, or of all.
fail() {
    echo "$1" >&2
    exit 1
}
command -v cargo-llvm-cov > /dev/null || fail "there is no cargo-llvm-cov here; cargo install cargo-llvm-cov --locked"
for package; do
    shift
    set -- "$@" --package="$package"
done
[ $# -gt 0 ] || set -- --workspace --exclude=xtask
# The compiler's files are read by tools of its LLVM's version alone. Where rustup's are missing, Debian's do.
version=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
[ -n "$version" ] || fail "rustc -vV names no version of LLVM"
if command -v "llvm-cov-$version" > /dev/null; then export LLVM_COV="${LLVM_COV-llvm-cov-$version}"; fi
if command -v "llvm-profdata-$version" > /dev/null; then export LLVM_PROFDATA="${LLVM_PROFDATA-llvm-profdata-$version}"; fi
# The suite itself has targets that are no code of the product's. A server that has given up the file system cannot
# write its counters when it ends, and says so on standard error, where some tests then read it: they fail here alone.
cargo llvm-cov test --locked --ignore-run-fail --summary-only --ignore-filename-regex='(^|/)(tests|examples|xtask)/' "$@" ||
    fail "it does not build, as told above, or LLVM's own tools are missing: rustup component add llvm-tools, or apt-get install llvm-$version"
