"""make audit: vulnerabilities, licences and bundled libraries of what is installed in a venv.

`audit.py PYTHON` looks into the environment of that interpreter. Exit code 0: none is known; 1:
there are some; 2: the data could not be reached, or not for any package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
_UNREACHED = (
    "Vulnerabilities were not checked: the vulnerability data of PyPI cannot be reached from here;"
    " run make audit where there is a network."
)


def main() -> int:
    """Print the three lists; the exit code."""
    python, tools = sys.argv[1], Path(sys.executable).parent
    site = Path(_output(python, "-c", _SITE).strip())
    print(_output(tools / "pip-licenses", f"--python={python}", "--format=markdown"))
    print("Libraries inside wheels:")
    for folder in sorted(site.glob("*.libs")):
        print(f"  {folder.stem}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
    lines, code = verdict(
        _output(tools / "pip-audit", f"--path={site}", "--format=json", "--progress-spinner=off")
    )
    print("\n" + "\n".join(lines))
    return code


def verdict(answer: str) -> tuple[list[str], int]:
    """Lines and the exit code for what pip-audit printed: JSON, or nothing where it failed."""
    try:
        found: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [_UNREACHED], 2
    audited = [one for one in found if "skip_reason" not in one]
    if not audited:
        return [_UNREACHED], 2
    known = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in"
        f" {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in audited
        for flaw in one["vulns"]
    ]
    skipped = [one["name"] for one in found if "skip_reason" in one]
    lines = [*known, f"{len(known)} known vulnerabilities in {len(audited)} packages."]
    if skipped:
        lines.append(f"Not checked, since PyPI has them not: {', '.join(skipped)}.")
    return lines, 1 if known else 0


def _output(program: str | Path, *words: str) -> str:
    """What a program prints, whatever its exit code."""
    command = [str(program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
