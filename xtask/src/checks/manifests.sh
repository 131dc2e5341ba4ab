# needs: kubectl kubernetes-validate
for set in base hostnetwork monitoring bench; do
    kubectl kustomize "docs/deploy/kubernetes/$set" > "$1/$set.yaml"
    kubernetes-validate --strict --quiet "$1/$set.yaml"
done
