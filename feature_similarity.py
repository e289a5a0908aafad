"""The reference's third command: crops of one image against crops of two, under the newest run.

python feature_similarity.py [FOLDER] [flags of `vaeneer similarity`]
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
    code = run(["similarity", str(newest), folder, *given])
    if code == 0 and "--out" not in given:
        show_pictures(newest / f"similarity-{Path(folder).resolve().name}")
    sys.exit(code)
