"""People and programs at devices: they see what the disk shows, and change it."""

from content import new_content
from device import ASIDE

# What people do, and how often in proportion.
ACTIONS = {
    "write": 8,
    "save": 3,
    "edit": 6,
    "move": 6,
    "onto": 3,
    "mkdir": 3,
    "mvdir": 4,
    "rm": 3,
    "rm -r": 2,
    "swap": 2,
    "disk loses": 1,
}


class People:
    """`written`: fingerprint -> the device it was written at. `gone`: contents that somebody who saw
    them replaced or removed. `edits`: fingerprint -> the one that its author saw and replaced.
    `steps`: step -> (the entry, the step that its author saw and went on from, the new place). `touched`: entry ->
    the devices whose people did anything to it. `lost`: contents and steps that a disk lost before
    anybody else could see them."""

    def __init__(self, rng, say, can_lose):
        self.rng, self.say, self.can_lose = rng, say, can_lose
        self.count, self.written, self.gone = 0, {}, set()
        self.edits, self.steps, self.touched, self.lost = {}, {}, {}, set()

    def new(self, device):
        self.count += 1
        fingerprint = f"f{self.count}"
        self.written[fingerprint] = device.name
        return fingerprint

    def sees_go(self, file):
        if file["content"].fingerprint:
            self.gone.add(file["content"].fingerprint)

    def act(self, device):
        """One action of somebody at the device, and what it was, for the judge."""
        before = shown(device)
        self.do(device)
        after = shown(device)
        for i in {**before, **after}:
            if before.get(i) == after.get(i):
                continue
            self.touched.setdefault(i, set()).add(device.name)
            if i in after:
                self.note(device, i, before.get(i), after[i])

    def note(self, device, i, before, after):
        place, content = after
        if before is None or place != before[0]:
            self.steps[len(self.steps) + 1] = (i, before and before[0].step, place)
            device.disk[device.node(i)]["step"] = len(self.steps)
        if before is not None and content != before[1]:
            self.edits[content.fingerprint] = before[1].fingerprint

    def do(self, device):
        rng, disk = self.rng, device.disk
        weights = [
            0 if action == "disk loses" and not self.can_lose else weight
            for action, weight in ACTIONS.items()
        ]
        # Nobody touches what is being moved aside, which lasts a moment.
        visible = {i: file for i, file in disk.items() if ASIDE not in device.path(i)}
        files = [i for i, file in visible.items() if file["kind"] == "file"]
        folders = [i for i, file in visible.items() if file["kind"] == "dir"]
        action = rng.choices(list(ACTIONS), weights)[0]
        parent, name = rng.choice(folders), rng.choice("abcd")

        def say(*words):
            self.say(device.name, "PERSON", action, *words)

        if action in ("write", "save"):
            self.write(device, parent, name, action, say)
        elif action == "edit" and files:
            self.edit(device, rng.choice(files), say)
        elif action in ("move", "mvdir"):
            moved = rng.choice(files if action == "move" and files else folders)
            is_free = device.at(parent, name) is None
            if moved and is_free and not device.is_under(parent, moved):
                say(device.path(moved), "->", device.path(parent), name)
                disk[moved].update(parent=parent, name=name)
        elif action == "onto" and len(files) > 1:
            self.move_onto(device, *rng.sample(files, 2), say)
        elif action == "mkdir" and device.at(parent, name) is None:
            device.make(parent, name, "dir")
            say(device.path(parent), name)
        elif action == "rm" and files:
            inode = rng.choice(files)
            say(device.path(inode))
            self.remove(device, inode)
        elif action == "rm -r":
            top = rng.choice(folders)
            if top:
                say(device.path(top))
                self.remove(device, top)
        elif action == "disk loses" and files:
            self.lose(device, rng.choice(files), say)
        elif action == "swap" and len(files) > 1:
            one, other = (disk[i] for i in rng.sample(files, 2))
            say(one["name"], other["name"])
            one["parent"], other["parent"] = other["parent"], one["parent"]
            one["name"], other["name"] = other["name"], one["name"]

    def write(self, device, parent, name, action, say):
        disk, there = device.disk, device.at(parent, name)
        if there is None:
            fingerprint = self.new(device)
            device.make(parent, name, "file", new_content(fingerprint))
            say(device.path(parent), name, fingerprint)
        elif disk[there]["kind"] == "file":
            fingerprint = self.new(device)
            say(device.path(there), fingerprint)
            old = disk[there]
            self.sees_go(old)
            content = device.edited(old, fingerprint)
            if action == "write":
                old["content"] = content
            else:
                # Written beside and renamed over: new content of the same entry, at a new inode.
                del disk[there]
                made = device.make(parent, name, "file", content, old["id"])
                disk[made].update(told=old.get("told"), step=old.get("step"))

    def edit(self, device, inode, say):
        file = device.disk[inode]
        fingerprint = self.new(device)
        say(device.path(inode), fingerprint)
        self.sees_go(file)
        file["content"] = device.edited(file, fingerprint)

    def move_onto(self, device, source, target, say):
        disk = device.disk
        say(device.path(source), "->", device.path(target))
        to = dict(parent=disk[target]["parent"], name=disk[target]["name"])
        if disk[source]["content"].fingerprint != disk[target]["content"].fingerprint:
            self.sees_go(disk[target])
        self.unlink(device, target)
        disk[source].update(to)

    def remove(self, device, inode):
        for kid in device.kids(inode):
            self.remove(device, kid)
        self.sees_go(device.disk[inode])
        self.unlink(device, inode)

    def forget_untold(self, device, inode):
        """What was done to a file since the two sides last agreed on it goes with it, untold."""
        file = device.disk[inode]
        synced = device.synced.get(file["id"])
        fingerprint, step = file["content"].fingerprint, file.get("step")
        while fingerprint and not (synced and fingerprint == synced["content"].fingerprint):
            self.lost.add(fingerprint)
            fingerprint = self.edits.get(fingerprint)
        while step and not (synced and step == synced["place"].step):
            self.lost.add(step)
            step = self.steps[step][1]

    def unlink(self, device, inode):
        """An unlink that the mount sees."""
        self.forget_untold(device, inode)
        device.unlink(inode)

    def lose(self, device, inode, say):
        """Unseen by anybody: what no other place has is lost with it, and nothing else."""
        say(device.path(inode))
        file = device.disk[inode]
        synced = device.synced.get(file["id"])
        if synced is None or synced["content"].fingerprint != file["content"].fingerprint:
            self.gone.add(file["content"].fingerprint)
        self.forget_untold(device, inode)
        device.lost_ids.add(file["id"])
        del device.disk[inode]


def shown(device):
    """Entry -> (place, content), as a person at the device sees it."""
    return {
        file["id"]: (device.shown_place(i), file["content"])
        for i, file in device.disk.items()
        if i
    }
