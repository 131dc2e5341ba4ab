# Makes a directory full or read-only, or has it vanish soon; then runs a program.
how=$1 dir=$2
shift 2
case $how in
full)
    mkdir -p "$dir-full" && mount -t tmpfs -o size=1m tmpfs "$dir-full" || exit 127
    cp -a "$dir/." "$dir-full"
    cat /dev/zero > "$dir-full/filler" 2>/dev/null
    mount --bind "$dir-full" "$dir" ;;
read-only)
    mount --bind "$dir" "$dir" && mount -o remount,bind,ro "$dir" ;;
vanishing)
    (sleep 0.05; rm -rf "$dir") & ;;
esac || exit 127
exec "$@"
