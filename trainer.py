"""The reference's first command: train on train-data/; each run gets a folder of its own in runs/.

Flags are those of `vaeneer train`, whose --recipe is reference here where neither --recipe,
--init-from nor --config is given. With --resume the newest run goes on.
"""

import sys
from pathlib import Path

from vaeneer.cli.app import run
from vaeneer.training.run_folder import newest_run, next_run

if __name__ == "__main__":
    runs, flags = Path("runs"), sys.argv[1:]
    resumed = newest_run(runs) if "--resume" in flags else None
    names = {flag.partition("=")[0] for flag in flags}
    given = resumed is not None or names & {"--recipe", "--init-from", "--config"}
    recipe = [] if given else ["--recipe", "reference"]
    out = resumed or next_run(runs)
    sys.exit(run(["train", "train-data", "--out", str(out), *recipe, *flags]))
