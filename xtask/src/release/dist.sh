# The last commit, built twice in two folders; where both are the same to the last byte, they are put with their
# manuals, completions, packages, bill of materials and sums into $2.
own=$1 dist=$2
programs="echo-server echo-client"
packages="--package=echo-server --package=echo-client"
# What is committed meanwhile is no part of it.
commit=$(git rev-parse HEAD)
for build in "$own/one" "$own/another-folder"; do
    echo "building in $build"
    mkdir "$build"
    git archive "$commit" | tar -x -C "$build"
    # Neither this folder's path nor that of the dependencies' sources, which panics would tell, is left in it.
    flags=$(printf -- '--remap-path-prefix=%s=%s\037' "$build" /echo "${CARGO_HOME:-$HOME/.cargo}" /cargo)
    (
        cd "$build"
        export ECHO_BUILD_COMMIT="$commit" CARGO_TARGET_DIR="$build/target" CARGO_ENCODED_RUSTFLAGS="${flags%?}"
        cargo build --release --locked --quiet $packages --config 'profile.release.strip="symbols"'
    )
done
# What an earlier run left is no part of this one.
rm -rf "$dist"
mkdir -p "$dist/bin"
for program in $programs; do
    cmp "$own/one/target/release/$program" "$own/another-folder/target/release/$program"
    cp "$own/one/target/release/$program" "$dist/bin"
    echo "$program: the same to the last byte in both"
done
# The manifests ask for no older crates than the programs build with.
(
    cd "$own/another-folder"
    rm Cargo.lock
    RUSTC_BOOTSTRAP=1 cargo -Zdirect-minimal-versions generate-lockfile --quiet
    cargo check --quiet --locked --target-dir target/oldest $packages
)
echo "they build with the oldest crates that their manifests allow"
cargo run --quiet --locked --package echo-client --example pages -- "$dist"
sh -eu xtask/src/release/packages.sh "$own/one" "$dist/share" "$dist"
# What is linked into the programs, as CycloneDX has it.
cargo tree --locked --edges=normal --no-dedupe --prefix=none '--format={p}|{l}' $packages | sort -u > "$own/tree"
python3 - "$own/tree" > "$dist/echo.cdx.json" <<'BILL'
import json, sys
components = []
for line in filter(str.strip, open(sys.argv[1])):
    package, licence = line.strip().rsplit("|", 1)
    name, version = package.split(" ")[:2]
    version = version.removeprefix("v")
    component = {"type": "library", "name": name, "version": version,
                 "licenses": [{"expression": licence.replace("/", " OR ")}]}
    # Whoever has the names of these on crates.io has nothing to do with them.
    if "(/" not in package:
        component["purl"] = f"pkg:cargo/{name}@{version}"
    components.append(component)
print(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}, indent=2))
BILL
cd "$dist"
find . -type f -printf '%P\n' | sort > "$own/files"
xargs sha256sum < "$own/files" > SHA256SUMS
echo "$(wc -l < "$own/files") files in $dist, and their sums"
