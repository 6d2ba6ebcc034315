"""``python -m benchmark.check.micro THREADS [START ...]`` prints the numbers of all cases, or of some, as JSON.

For measurements with other environment variables and other versions of the libraries.
"""

import json
import sys

from benchmark.check.micro.cases import cases, computed
from benchmark.common import machine


def main() -> None:
    """Compute and print."""
    threads, starts = int(sys.argv[1]), tuple(sys.argv[2:]) or ("",)
    chosen = {name: case for name, case in cases().items() if name.startswith(starts)}
    values = {}
    for name, found, _ in computed(chosen, threads):
        if isinstance(found, Exception):
            raise found
        values[name] = found
    print(json.dumps({"versions": machine.versions(), "values": values}))


if __name__ == "__main__":
    main()
