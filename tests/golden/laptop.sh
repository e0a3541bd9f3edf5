#!/bin/bash

# 1 node of laptop for 1h:
# 4 slots, 4 on each node
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bash /gpfs/alpine/abc123/runs/replicas/batch.sh

export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=cpu:4
export HPCFLOW_ENDS_AT="$(($(date +%s) + 3600))"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers}.log)

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
steps=()
hpcflow scheduler --run "$HPCFLOW_RUN" --interface lo \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps+=("$!")
end_steps() {
    kill "${steps[@]}" 2> /dev/null
    for _ in {1..100}; do # 20 s to end in order
        [[ -n "$(jobs -pr)" ]] || break
        sleep 0.2
    done
    kill -KILL "${steps[@]}" 2> /dev/null
    wait
}
trap end_steps EXIT

# One worker for each node.
hpcflow worker --run "$HPCFLOW_RUN" --interface lo --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps+=("$!")

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
hpcflow wait --run "$HPCFLOW_RUN" --slots 4 --quorum 0.98 --limit 10m || exit
trap : INT TERM # from here on the driver stops in order, and then this script does
python /gpfs/alpine/abc123/driver.py
