"""`python3 -m xsisolate.migratevm` is the command."""
import sys

from xsisolate.migratevm.cli import main

if __name__ == '__main__':
    sys.exit(main())
