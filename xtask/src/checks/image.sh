# Images and containers of this step alone, with what a container in a container is granted.
# needs: root unshare podman runc
own=$1
export CONTAINERS_CONF="$own/containers.conf"
printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n' > "$CONTAINERS_CONF"
podman() {
    command podman --root "$own/images" --runroot "$own/run" --storage-driver vfs --runtime runc \
        --cgroup-manager cgroupfs --events-backend file "$@"
}
end() {
    podman pod rm --all --force >/dev/null 2>&1 || true
    podman rm --all --force >/dev/null 2>&1 || true
    podman rmi --all --force >/dev/null 2>&1 || true
}
trap end EXIT
ends_well() {
    for container; do
        test "$(podman inspect --format '{{.State.ExitCode}}' "$container")" = 0
    done
}
ip link set lo up
mkdir "$own/context" && cp "$2/echo-server" "$2/echo-client" "$own/context"
podman build --quiet --isolation chroot --file docs/deploy/Dockerfile --tag localhost/echo:0.1.0 "$own/context"

restricted="--network host --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges"
podman run --detach --name server $restricted localhost/echo:0.1.0
podman run --rm --name client $restricted --entrypoint echo-client localhost/echo:0.1.0 --wait 30s localhost:5346
status=/proc/$(podman inspect --format '{{.State.Pid}}' server)/status
grep -q '^Uid:.65532.65532' "$status"
grep -q '^CapEff:.0*$' "$status"
podman stop --time 10 server
ends_well server
podman rm server

# The pod of the base. It needs a container that holds it together, which podman builds of catatonit.
command -v kubectl >/dev/null && command -v catatonit >/dev/null || { echo "pod: skipped, there is no kubectl or no catatonit here"; exit 0; }
kubectl kustomize docs/deploy/kubernetes/base | awk 'BEGIN { RS = "---\n" } /kind: DaemonSet/' > "$own/pod.yaml"
# What podman takes for a pod that is to be everywhere; ports are not mapped in this network.
sed -i 's/kind: DaemonSet/kind: Deployment/; /^ *ports:$/,/^ *readinessProbe:$/ { /readinessProbe/!d }' "$own/pod.yaml"
podman kube play --quiet --network host "$own/pod.yaml"
podman run --rm --name client $restricted --entrypoint echo-client localhost/echo:0.1.0 --wait 30s localhost:5346
podman pod stop --all
ends_well echo-pod-0-server echo-pod-0-mesh
