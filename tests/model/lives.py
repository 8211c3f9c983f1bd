#!/usr/bin/env python3
"""Random lives of the model: people change their disks, messages come late, answers are lost, the
server may come back from an older copy. At quiet, the judge looks at what became of it.

    lives.py [FIRST:LAST] [--devices N] [--actions N] [--restores] [--fault NAME] [-v]
"""

import argparse
import random
import sys

from content import FAULTS, Faults
from device import Device
from invariants import judge, tree
from people import People, shown
from server import Server

# Rounds after which a life that is not quiet counts as never quiet.
ROUNDS_MAX = 600


def life(seed, devices, actions, restores=False):
    """Lives one life. Returns the broken promises and the history."""
    rng, log, saved = random.Random(seed), [], None

    def say(*words):
        log.append(" ".join(map(str, words)))

    server = Server()
    devices = [Device(f"d{k}", server, rng, say) for k in range(devices)]
    people = People(rng, say, can_lose=not restores)
    for _ in range(actions):
        people.act(rng.choice(devices))
        if restores and rng.random() < 0.1:
            if saved is None:
                saved = server.saved()
                say("server saved at", server.version)
            else:
                say("server RESTORED from", server.version, "to", saved["version"])
                server.restore_copy(saved)
                saved = None
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            device = rng.choice(devices)
            if rng.random() < 0.5:
                device.feed(rng.randint(1, 4))
            else:
                device.step(lossy=True)
    left = {device.name: shown(device) for device in devices}
    say("--- quiet ---")
    is_busy = settle(devices)
    faults = judge(server, devices, people, left, has_past=not restores)
    if is_busy:
        faults.insert(0, "never quiet")
    return faults, log


def settle(devices):
    """Lets everything run until nothing changes; returns whether it still does."""
    for _ in range(ROUNDS_MAX):
        is_busy = False
        for device in devices:
            device.feed(10**6)
            is_busy |= device.step()
        if not is_busy:
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description="Random lives of the library's model.")
    parser.add_argument("seeds", nargs="?", default="1:2000", metavar="FIRST:LAST")
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--actions", type=int, default=30)
    parser.add_argument("--restores", action="store_true", help="restore older copies of the server")
    parser.add_argument("--fault", choices=FAULTS, help="put a fault in, to see that it is found")
    parser.add_argument("-v", action="store_true", help="print the history of failing lives")
    options = parser.parse_args()
    Faults.active = options.fault
    first, last = map(int, options.seeds.split(":"))
    broken = []
    for seed in range(first, last):
        try:
            faults, log = life(seed, options.devices, options.actions, options.restores)
        except Exception as error:  # a fault may break the model itself
            if not options.fault:
                raise
            faults, log = [f"{type(error).__name__} {error}"], []
        if faults:
            broken.append(seed)
            if len(broken) <= 3 and not options.fault:
                print(f"seed {seed}: " + "; ".join(faults)[:500])
                if options.v:
                    print("\n".join("   " + line for line in log))
    count = f"{len(broken)} of {last - first} lives broke a promise"
    print(count + (f", the first is seed {broken[0]}" if broken else ""))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
