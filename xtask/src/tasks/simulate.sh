# Plays so many minutes of schedules, from the one of a seed on: of the server's serving loop and of the client's
# engine, each half of the time, on a clock and sockets of their tests' own. What is played and checked lies with
# each. A schedule that breaks a promise is shown as short as it gets, with its seed.
export SIMULATE_SECONDS=$(($1 * 30)) SIMULATE_SEED="$2"
for simulation in echo-server:serve echo-client:engine; do
    cargo test --release --locked --quiet --package "${simulation%:*}" --lib -- \
        "${simulation#*:}::simulation::simulate" --exact --ignored --nocapture |
        awk '{ print } /every promise kept$/ { played = 1 } END { exit !played }' ||
        { echo "$simulation: no schedules were played to their end" >&2 && exit 1; }
done
