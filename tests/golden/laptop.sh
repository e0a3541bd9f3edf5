#!/bin/bash

# 1 node of laptop for 1h:
# 4 slots, 4 on each node
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   bash /gpfs/alpine/abc123/runs/replicas/batch.sh

export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=cpu:4
export HPCFLOW_JOB="${1-}"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 3600))"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
hpcflow scheduler --run "$HPCFLOW_RUN" --interface lo \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
end_steps() {
    [[ -z "${waiting-}" ]] || kill "$waiting" 2> /dev/null
    kill "${steps[@]}" 2> /dev/null
    for _ in {1..100}; do # 20 s to end in order
        [[ -n "$(jobs -pr)" ]] || break
        sleep 0.2
    done
    kill -KILL "${steps[@]}" 2> /dev/null
    wait
}
trap end_steps EXIT
note_ends() { # of steps, and their exit codes: `hpcflow wait` heeds them
    local name
    for name in "${!steps[@]}"; do
        if ! kill -0 "${steps[$name]}" 2> /dev/null; then
            wait "${steps[$name]}"
            echo "$name $?" >> "$HPCFLOW_RUN/logs/steps-ended.txt"
            unset "steps[$name]"
        fi
    done
}

# One worker for each node.
hpcflow worker --run "$HPCFLOW_RUN" --interface lo --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps[workers]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
hpcflow wait --run "$HPCFLOW_RUN" --slots 4 --steps workers:4 --quorum 0.98 --limit 10m &
waiting="$!"
while kill -0 "$waiting" 2> /dev/null; do
    note_ends
    sleep 0.2
done
wait "$waiting" || exit 1
unset waiting
trap : INT TERM # from here on the driver stops in order, and then this script does
python /gpfs/alpine/abc123/driver.py
