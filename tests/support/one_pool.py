"""A pool in a process of its own, so that it has a processor to itself: prints what is needed.

    one_pool.py NAME NUMBER [SIZE USED]

With a size it has a VM with one disk. It ends with its standard input.
"""
import json
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, 'programs')]

from sandbox.barepool import BarePool  # noqa: E402


def main() -> None:
    """Be a pool."""
    name, number, *disk = sys.argv[1:]
    with BarePool(name, int(number)) as pool:
        if disk:
            pool.add_vm('big', (int(disk[0]),), used=int(disk[1]))
        print(json.dumps({'address': pool.address, 'fingerprint': pool.fingerprint(),
                          'session': pool.db.open_session('pool-admin'), 'sr': pool.sr,
                          'vm': next(iter(pool.db.objects['VM']), '')}), flush=True)
        for _ in sys.stdin:         # each line asks what has arrived
            print(json.dumps([[len(content.sums) for content in pool.contents(ref)]
                              for ref in pool.db.objects['VM']]), flush=True)


if __name__ == '__main__':
    main()
