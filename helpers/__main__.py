"""The command line: `python -m helpers report`, `python -m helpers sweep`."""

import sys

from helpers.sweeps.plan import main

if __name__ == "__main__":
    sys.exit(main())
