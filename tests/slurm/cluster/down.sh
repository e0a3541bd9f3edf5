#!/usr/bin/env bash
# Cancel the jobs of the Slurm that up.sh started, and stop its daemons.
#
#   down.sh DIRECTORY
set -uo pipefail
directory="$(cd -- "$1" && pwd)" || exit
export SLURM_CONF="$directory/slurm.conf"

# Of a process whose parent does not reap it a zombie is left, which `kill -0` finds.
runs() {
    local state
    state="$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)" && [[ -n $state && $state != Z ]]
}

stop() {
    local file="$1" pid
    pid="$(cat "$file" 2>/dev/null)" && [[ -n $pid ]] || return 0
    kill -TERM "$pid" 2>/dev/null
    for _ in {1..50}; do
        runs "$pid" || break
        sleep 0.1
    done
    if runs "$pid"; then
        kill -KILL "$pid"
    fi
    rm -f "$file"
}

if [[ -s $directory/run/slurmctld.pid ]]; then
    timeout 10 scancel --quiet --user="$(id -un)"
    for _ in {1..50}; do
        [[ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ]] || break
        sleep 0.1
    done
fi
for file in "$directory"/run/slurmd.*.pid; do
    stop "$file" &
done
wait
stop "$directory/run/slurmctld.pid"
stop "$directory/run/munged.pid"
