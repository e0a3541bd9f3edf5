#!/bin/bash
#SBATCH --job-name=replicas
#SBATCH --account=abc123
#SBATCH --partition=batch
#SBATCH --nodes=64
#SBATCH --time=36:00:00
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --no-kill
#SBATCH --output=/gpfs/alpine/abc123/runs/replicas/logs/batch-%j.log

# 64 nodes of andes for 36h:
# 2,016 slots, 32 on each node
# but the first, which has none
# (32 cores of the first are for scheduler and driver)
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   sbatch /gpfs/alpine/abc123/runs/replicas/batch.sh

export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=cpu:2016
export HPCFLOW_JOB="$SLURM_JOB_ID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 129600))"
export HPCFLOW_SCRATCH="/tmp"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
srun --overlap --no-kill --nodes=1 --ntasks=1 --ntasks-per-node=1 --relative=0 --cpu-bind=none --mem=0 \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface ib0 \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
end_steps() {
    [[ -z "${waiting-}" ]] || kill "$waiting" 2> /dev/null
    scancel --quiet --signal=TERM "$SLURM_JOB_ID"
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
srun --overlap --no-kill --nodes=63 --ntasks=63 --ntasks-per-node=1 --relative=1 --cpu-bind=none --mem=0 \
    hpcflow worker --run "$HPCFLOW_RUN" --interface ib0 --worker-per node \
    >> "$HPCFLOW_RUN/logs/step-workers.log" 2>&1 &
steps[workers]="$!"

# The driver: it starts when nearly all slots are ready; its exit code is the job's.
hpcflow wait --run "$HPCFLOW_RUN" --slots 2016 --steps workers:2016 --quorum 0.98 --limit 10m &
waiting="$!"
while kill -0 "$waiting" 2> /dev/null; do
    note_ends
    sleep 0.2
done
wait "$waiting" || exit 1
unset waiting
trap : INT TERM # from here on the driver stops in order, and then this script does
python /gpfs/alpine/abc123/driver.py
