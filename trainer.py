"""The seed's first command: train on train-data/; each run gets a folder of its own below runs/.

Flags are those of `vaeneer train`. With --resume the newest run goes on.
"""

import sys
from pathlib import Path

from vaeneer.cli.app import run
from vaeneer.training.run_folder import newest_run, next_run

if __name__ == "__main__":
    runs, flags = Path("runs"), sys.argv[1:]
    out = (newest_run(runs) if "--resume" in flags else None) or next_run(runs)
    sys.exit(run(["train", "train-data", "--out", str(out), *flags]))
