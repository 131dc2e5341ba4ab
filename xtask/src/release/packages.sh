# Packages for Debian and for RPM, as the metadata in the manifests says, of the programs that are built in the
# sources in $1, with the manuals and completions in $2; into $3. Where a tool is missing, that is said.
sources=$1 share=$2 out=$3
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
date=$(git log -1 --format=%cD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CARGO_TARGET_DIR="$sources/target"
mkdir -p "$sources/target/dist"
cp -r "$share" "$sources/target/dist"
# The tools may be older than these words, none of which matters to them.
sed -i 's/resolver = "3"/resolver = "2"/; s/edition = "2024"/edition = "2021"/; s/debug = "line-tables-only"/debug = 1/' \
    "$sources/Cargo.toml"
cd "$sources"
for program in echo-server echo-client; do
    printf '%s (%s-1) unstable; urgency=medium\n\n  * See docs/CHANGELOG.md.\n\n -- %s  %s\n' \
        "$program" "$version" "The echo authors <echo@example.net>" "$date" > "target/dist/changelog.$program"
    for tool in deb generate-rpm; do
        case $tool in
        deb) set -- "-p$program" --no-build --no-strip ;;
        generate-rpm) set -- "-pcrates/$program" --target-dir=target ;;
        esac
        if command -v "cargo-$tool" >/dev/null; then
            "cargo-$tool" "$tool" "$@" -o "$out/"
        else
            echo "cargo-$tool: skipped, it is not here"
        fi
    done
done
