"""A Kubernetes of one node with Dapr for development and tests: `python tools/cluster.py --help`, docs/cluster.md."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # so that `tools.cluster` is the package beside this file

from tools.cluster.main import main  # noqa: E402 - after the path is right

if __name__ == "__main__":
    sys.exit(main())
