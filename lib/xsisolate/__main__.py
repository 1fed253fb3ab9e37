"""`python3 -m xsisolate`: the command, from a checkout."""
import sys

from xsisolate.cli import main

sys.exit(main())
