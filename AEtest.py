"""The reference's second command: the loss of each image of train-data/valid under the newest run.

python AEtest.py [FOLDER] [flags of `vaeneer evaluate`]
"""

import sys
from pathlib import Path

from vaeneer.cli.app import run
from vaeneer.evaluation.plots import show_pictures
from vaeneer.training.run_folder import newest_run

if __name__ == "__main__":
    given = sys.argv[1:]
    folder = given.pop(0) if given and not given[0].startswith("-") else "train-data/valid"
    newest = newest_run(Path("runs")) or Path("runs")
    code = run(["evaluate", str(newest), folder, *given])
    if code == 0 and "--out" not in given:
        show_pictures(newest / f"evaluation-{Path(folder).resolve().name}")
    sys.exit(code)
