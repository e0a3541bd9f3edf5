#!/bin/bash

#SBATCH -J hpcflow-w7
#SBATCH -A abc123
#SBATCH -n 1
#SBATCH -t 02:30:01
#SBATCH --qos=regular
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --no-requeue
#SBATCH --gpus-per-node=4
#SBATCH --output=/gpfs/alpine/abc123/runs/replicas/logs/w7.log
#SBATCH --open-mode=append
#SBATCH --constraint=gpu
# Worker w7 of an elastic farm on perlmutter. Its driver submits this script.
export HPCFLOW_RUN=/gpfs/alpine/abc123/runs/replicas
export HPCFLOW_SLOTS=gpu:160
export HPCFLOW_ENDS_AT="$(($(date +%s) + 9001))"
export HPCFLOW_SCRATCH="/tmp"
exec /ccs/proj/abc123/venv/bin/python -m hpcflow worker --run "$HPCFLOW_RUN" --farm 0123abcd --name w7 --interface hsn0
