"""The judge: what must hold when a life has come to rest."""

from device import ASIDE


def tree(device):
    return sorted(
        (device.path(i), file["kind"], file["content"].fingerprint)
        for i, file in device.disk.items()
    )


def judge(server, devices, people, left, has_past):
    """The broken promises, one sentence each. `left`: what each device showed before all became
    quiet. `has_past`: the server never lost a day, so that who saw what is known."""
    faults = list(same_everywhere(server, devices))
    faults += nothing_lost(devices, people)
    faults += names_sound(server)
    if has_past:
        faults += newest_holds(server, people)
        faults += removed_as_seen(server, people)
        faults += alone_as_left(server, devices, people, left)
    faults += history_whole(server)
    return faults


def live_entries(server):
    return {i: entry for i, entry in server.entries.items() if entry["live"] and i != "root"}


def same_everywhere(server, devices):
    """Nothing waits, and all devices show what the server has."""
    trees = [tree(device) for device in devices]
    ids = {i for i, entry in server.entries.items() if entry["live"]}
    for device, shown in zip(devices, trees):
        if device.to_tell() or device.inflight:
            yield f"{device.name} waits for ever: {list(device.to_tell().values())[:3]}"
        if shown != trees[0]:
            yield f"{device.name} differs: {sorted(set(shown) ^ set(trees[0]), key=str)}"
        if {file["id"] for file in device.disk.values()} != ids:
            yield f"{device.name} is not what the server has"


def nothing_lost(devices, people):
    """Every content is there that nobody who saw it replaced or removed."""
    have = {fingerprint for _, _, fingerprint in tree(devices[0])}
    for fingerprint, who in people.written.items():
        if fingerprint not in people.gone and fingerprint not in have:
            yield f"{fingerprint} of {who} is gone and nobody removed it"


def names_sound(server):
    places = [entry["place"] for entry in live_entries(server).values()]
    if len(places) != len(set(places)):
        yield "two entries at one place"
    if any(ASIDE in name for _, name in places):
        yield "a hidden name was told"


def newest_holds(server, people):
    """Each group of each entry has a value that a causally newest change wrote: nobody who saw it
    went on from it. What a disk lost before it was told, and a place that was given to another
    first, went nowhere. What revives an entry after its removal is told whole, with its place. Nothing
    is said of entries that were split or joined."""
    ineffective = server.refused_steps | people.lost
    followed = {(i, base) for s, (i, base, _) in people.steps.items() if s not in ineffective}
    newest = {(i, place) for s, (i, _, place) in people.steps.items() if (i, s) not in followed}

    def is_newest(i, place):
        without_suffix = (place[0], place[1].split(" (")[0])
        return (
            (i, place.step) not in followed or (i, place) in newest or (i, without_suffix) in newest
        )

    revived = {change["id"] for _, change in server.removals}
    unclear = revived | server.split
    replaced = {old for new, old in people.edits.items() if new not in people.lost}
    for i, entry in live_entries(server).items():
        if i in unclear:
            continue
        if not is_newest(i, entry["place"]):
            yield f"{i} is at {entry['place']}, from which somebody moved it"
        if entry["content"].fingerprint in replaced:
            yield f"{i} has {entry['content'].fingerprint}, which somebody replaced"


def removed_as_seen(server, people):
    """An entry goes only if its remover saw all that was in it, or went beyond it."""

    def seen(step_or_content, bases):
        while step_or_content is not None:
            yield step_or_content
            step_or_content = bases.get(step_or_content)

    steps = {step: base for step, (_, base, _) in people.steps.items()}
    for entry, change in server.removals:
        if change["id"] in server.split:
            continue
        if change.get("saw") is None:
            yield f"{change['id']} was removed, and nobody at a device did it"
            continue
        step, content = change["saw"]
        is_same_place = step and people.steps[step][2] == entry["place"]
        if entry["place"].step not in seen(step, steps) and not is_same_place:
            yield f"{change['id']} was removed by somebody who had not seen it at {entry['place']}"
        fingerprint = entry["content"].fingerprint
        if fingerprint and fingerprint not in seen(content.fingerprint, people.edits):
            yield f"{change['id']} was removed by somebody who had not seen {fingerprint}"


def alone_as_left(server, devices, people, left):
    """What one device alone did to an entry holds everywhere, as it left it."""
    wanted = {}
    for i, _, place in people.steps.values():
        wanted.setdefault(place, set()).add(i)
    for i, who in people.touched.items():
        if len(who) != 1 or i in server.split:
            continue
        device = next(device for device in devices if device.name in who)
        before, entry = left[device.name].get(i), server.entries.get(i)
        if before is None:
            is_kept_for_others = bool(server.children(i)) or any(
                place[0] == i and device.name not in people.touched[other]
                or place[0] == i and len(people.touched[other]) > 1
                for other, _, place in people.steps.values()
            )
            if entry and entry["live"] and not is_kept_for_others and i not in device.lost_ids:
                yield f"{i} was removed by {device.name} alone, and is back at {entry['place']}"
            continue
        if entry is None or i not in device.remote:
            # Made by two, and one entry.
            continue
        place, content = before
        if not entry["live"]:
            yield f"{i} of {device.name} alone vanished"
            continue
        is_taken = place in (other["place"] for other in live_entries(server).values())
        is_wanted = is_taken or len(wanted.get(place, ())) > 1 or device.lost_ids
        is_beside = is_wanted and entry["place"][1].startswith(place[1] + " (")
        has_folder = server.entries.get(place[0], {}).get("live")
        if entry["place"] != place and has_folder and not is_beside:
            yield f"{i} was left at {place} by {device.name} alone, and is at {entry['place']}"
        if entry["content"].fingerprint != content.fingerprint:
            yield f"{i} was left with {content.fingerprint} by {device.name} alone"


def history_whole(server):
    """Every value that was replaced is in history."""
    kept = {}
    for _, i, values in server.history:
        kept.setdefault(i, []).append(values)
    for i, group, value in server.replaced:
        if not any(values.get(group) == value for values in kept.get(i, ())):
            yield f"the {group} {value} of {i} is in no history"
