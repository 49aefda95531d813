"""Runs stages by name, as dvc.yaml does: python -m tasks features. Distributed: torchrun -m tasks finetune."""

import sys

from tasks.runner.fork_client import STAGE_SERVER, run_in_fork

if __name__ == "__main__":
    arguments = sys.argv[1:]
    run_in_fork(STAGE_SERVER, " ".join(arguments), arguments)  # returns if no server runs them
    from tasks.runner.stages import run_here

    run_here(arguments)
