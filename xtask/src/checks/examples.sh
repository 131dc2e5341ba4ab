# Every example, as its reader would run it, with the programs of $2. Nothing is left in the tree.
export PATH="$2:$PATH" PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS='-p no:cacheprovider'
# The first of these that is on the machine, and not only a shim that looks for one: that ends with 127.
runs() {
    for runner; do
        if "$runner" --version > /dev/null 2>&1 || [ $? != 127 ]; then return; fi
    done
    runner=
}
for file in docs/examples/* docs/examples/faults/*; do
    [ -f "$file" ] || continue
    name=${file##*/} flags=
    case $name in
        test_*.py) flags=-q && runs pytest pytest-3 ;;
        *.py) runs python3 ;;
        *.mjs) flags=--test && runs node ;;
        *.sh) runs sh ;;
        *) echo "nobody knows how to run $file" >&2 && exit 1 ;;
    esac
    if [ -z "$runner" ]; then
        echo "$name: skipped, its runner is not on this machine"
        continue
    fi
    # Starting Node on a busy machine takes longest.
    said=$(cd "${file%/*}" && timeout -k 5 60 "$runner" $flags "$name" 2>&1 < /dev/null) ||
        { echo "$name: exit code $?: $said" >&2 && exit 1; }
    echo "$name: passed"
done
