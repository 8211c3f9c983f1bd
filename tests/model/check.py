#!/usr/bin/env python3
"""Checks the model: its random lives keep their promises, and each fault put in is found.

    check.py [LIVES]        how many lives of each kind (default 300)
"""

import sys

from content import FAULTS, Faults
from lives import life

# What lives are tried: devices, actions, whether the server comes back from older copies.
KINDS = [(1, 30, False), (2, 30, False), (3, 30, False), (4, 20, False), (2, 30, True)]

# A fault is to be found within this many lives.
FOUND_WITHIN = 2000


def lives_keep_their_promises(devices, actions, restores, count):
    for seed in range(1, count + 1):
        faults, log = life(seed, devices, actions, restores)
        if faults:
            print("\n".join(log))
            return f"seed {seed}: " + "; ".join(faults)
    return None


def fault_is_found(name):
    """Returns None, after printing which seed found it."""
    restores = name == "past not compared"
    devices = 4 if name == "aside while telling" else 3
    Faults.active = name
    try:
        for seed in range(1, FOUND_WITHIN + 1):
            try:
                found = life(seed, devices, 30, restores)[0]
            except Exception as error:  # a fault may break the model itself
                found = [repr(error)]
            if found:
                print(f"    found by seed {seed}: {found[0][:100]}")
                return None
    finally:
        Faults.active = None
    return f"not found by {FOUND_WITHIN} lives"


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    passed = failed = 0

    def report(name, broken):
        nonlocal passed, failed
        print(f"test {name} ... {'FAILED: ' + broken if broken else 'ok'}", flush=True)
        passed, failed = passed + (not broken), failed + bool(broken)

    for devices, actions, restores in KINDS:
        name = f"{count} lives of {devices} devices" + (", server restored" if restores else "")
        report(name, lives_keep_their_promises(devices, actions, restores, count))
    for name in FAULTS:
        report(f"the fault {name!r} is found", fault_is_found(name))
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {passed} passed; {failed} failed; 0 ignored;")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
