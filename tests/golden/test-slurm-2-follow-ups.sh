#!/bin/bash
#SBATCH --job-name=replicas
#SBATCH --partition=batch
#SBATCH --nodes=2
#SBATCH --time=01:00:00
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --no-kill
#SBATCH --gpus-per-node=2
#SBATCH --output=/gpfs/alpine/abc123/runs/replicas/logs/batch-%j.log

# 2 nodes of test-slurm for 1h:
# 4 slots, 2 on each node
# (2 cores of the first are for scheduler and driver)
# `hpcflow submit` wrote this script. Edit it as you like, and submit it by hand with
#   sbatch /gpfs/alpine/abc123/runs/replicas/batch.sh

export PATH=/ccs/proj/abc123/venv/bin:"$PATH"
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:4
export HPCFLOW_JOB="$SLURM_JOB_ID"
export HPCFLOW_ENDS_AT="$(($(date +%s) + 3600))"
set -uo pipefail
cd -- /gpfs/alpine/abc123 || exit
# Up to 3 more batch jobs continue the run, each after the one
# before. They are not needed once a driver has ended by itself.
hpcflow follow-up --run "$HPCFLOW_RUN"
[[ $? -ne 1 ]] || exit 0

# Only you can read what the steps print.
(umask 077 && mkdir -p "$HPCFLOW_RUN/logs" && touch "$HPCFLOW_RUN"/logs/step-{scheduler,workers}.log &&
    true > "$HPCFLOW_RUN/logs/steps-ended.txt")

# The scheduler, on the first node.
rm -f "$HPCFLOW_RUN"/scheduler*.json # an earlier batch job may have left its own
declare -A steps=() # process ids of the steps that run, by name
srun --overlap --no-kill --nodes=1 --ntasks=1 --ntasks-per-node=1 --relative=0 --cpu-bind=none --mem=0 --gpus-per-node=0 \
    hpcflow scheduler --run "$HPCFLOW_RUN" --interface lo \
    >> "$HPCFLOW_RUN/logs/step-scheduler.log" 2>&1 &
steps[scheduler]="$!"
stopped='' # by a signal, as when the wall time is over: then a follow-up goes on
trap 'stopped=1; exit 143' INT TERM
end_steps() {
    local code=$?
    [[ -n "$stopped" ]] ||
        hpcflow follow-up --run "$HPCFLOW_RUN" --ended "$code" --lasted "$SECONDS"
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
srun --overlap --no-kill --nodes=2 --ntasks=2 --ntasks-per-node=1 --relative=0 --cpu-bind=none --mem=0 --gpus-per-node=2 \
    hpcflow worker --run "$HPCFLOW_RUN" --interface lo --worker-per node --reserve-cores 2 \
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
trap stopped=1 INT TERM # from here on the driver stops in order, and then this script does
python /gpfs/alpine/abc123/driver.py
