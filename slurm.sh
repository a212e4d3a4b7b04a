#!/usr/bin/env bash
# A study inside an allocation of Slurm: Ray is started on every node of it, drives from the first, and ends with it.
#   sbatch --nodes=4 --gpus-per-node=4 slurm.sh search_spaces/full_grid.py
# From the project's folder, on a file system that all nodes share. Once before:
#   uv sync && uv run ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token
# The same command goes on where an allocation ended. Two studies at once want two ports: RAY_PORT=6380 sbatch ...
#SBATCH --job-name=sweeper
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --open-mode=append
set -euo pipefail
: "${SWEEPER_STORAGE:?set it to a folder that all nodes share}" "${SWEEPER_DATA:?set it to a folder that all nodes share}"
export RAY_AUTH_MODE=token RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 PATH="$PWD/.venv/bin:$PATH"
# Images are decoded once a node, on its own disk, which Slurm empties at the end.
export SWEEPER_CACHE="${SWEEPER_CACHE:-${TMPDIR:-/tmp}/sweeper-cache-$USER}"
# Slurm runs this script on the first node; where that has several addresses, name the one that the others reach.
address="${RAY_HEAD:-$(hostname -I | cut -d " " -f 1)}:${RAY_PORT:-6379}"
# --exclusive gives all CPUs of a node; Ray sees them all, and the GPUs that Slurm shows.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --disable-usage-stats -- \
    env RAY_ADDRESS="$address" python -m sweeper.run "$@"
