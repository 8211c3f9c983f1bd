"""The server's library: entries, versions, requests that are transactions, and history."""

import copy
import hashlib

from content import EMPTY, OTHER, ROOT, Faults, Place

GROUPS = ("place", "content")


class Server:
    """One library. An entry is a dict: kind, place (parent, name), place_v, content, content_v, live,
    and `was`: the version that its place had in a past which was lost. Versions are one count for
    the whole library, and every version has a digest of all changes up to it."""

    def __init__(self):
        self.entries = {
            ROOT: dict(
                kind="dir", place=Place(None, ""), place_v=0, content=EMPTY, content_v=0, live=True
            )
        }
        self.version = 0
        self.digests = ["0"]
        # (version, entry): the change feed.
        self.log = []
        # (version, entry, the values that were replaced).
        self.history = []
        # request id -> its outcome: a repeated request is not applied again.
        self.answers = {}
        # Below this version, removed entries are forgotten.
        self.floor = 0
        # For the judge alone: (what was removed, the removal); steps that were not to be.
        self.removals, self.refused_steps, self.replaced = [], set(), []
        # Entries that were one and became two, or two and became one: a person's steps on them
        # cannot be told apart.
        self.split = set()

    # Copies of the data directory.

    def saved(self):
        return copy.deepcopy(vars(self))

    def restore_copy(self, old):
        vars(self).update(copy.deepcopy(old))

    # Pasts.

    def now(self):
        return (self.version, self.digests[-1])

    def shares(self, cursor):
        """Whether this past contains the cursor: its version, with its digest."""
        version, digest = cursor
        return version <= self.version and self.digests[version] == digest

    def expire(self, keep):
        """Forgets removed entries older than `keep` versions. A cursor below the floor cannot go on."""
        below = self.version - keep
        while True:
            old = [
                i
                for i, entry in self.entries.items()
                if not entry["live"]
                and newest_version(entry) <= below
                and not any(other["place"][0] == i for other in self.entries.values())
            ]
            if not old:
                break
            for i in old:
                self.floor = max(self.floor, newest_version(self.entries[i]))
                del self.entries[i]
        self.log = [(version, i) for version, i in self.log if i in self.entries]

    # Writing.

    def touch(self, i, **new):
        """Gives an entry new values, at the next version; the old ones go to history."""
        self.version += 1
        if i in self.entries:
            old = {key: self.entries[i].get(key) for key in new}
            self.replaced += [(i, key, old[key]) for key in GROUPS if key in old]
            if not Faults.has("history skipped"):
                self.history.append((self.version, i, old))
        entry = self.entries.setdefault(i, {})
        entry.update(new)
        for group in GROUPS:
            if group in new:
                entry[group + "_v"] = self.version
        if "live" in new:
            entry["place_v"] = self.version
        self.log.append((self.version, i))
        change = f"{self.digests[-1]} {i} {sorted(entry.items(), key=str)}"
        self.digests.append(hashlib.sha256(change.encode()).hexdigest()[:16])

    # Places.

    def children(self, parent):
        return [
            i for i, entry in self.entries.items() if entry["live"] and entry["place"][0] == parent
        ]

    def ancestors(self, i):
        """The entry, its folder, and so on up to the root."""
        while i is not None:
            yield i
            i = self.entries[i]["place"][0]

    def free_name(self, parent, name, who, but=()):
        """The name, or one beside it if another entry than `but` has it."""
        used = {self.entries[i]["place"][1] for i in self.children(parent) if i not in but}
        count, free = 0, name
        while free in used:
            count += 1
            free = f"{name} ({who} {count})"
        return free

    def living_folder(self, parent, who, but=()):
        """The folder, re-made with those above it if it was removed meanwhile."""
        if parent not in self.entries:
            return ROOT
        if not self.entries[parent]["live"]:
            self.revive(parent, who, but)
        return parent

    def revive(self, i, who, but=()):
        parent, name = self.entries[i]["place"]
        parent = self.living_folder(parent, who, but)
        if i in self.ancestors(parent):
            parent = ROOT
        free = self.free_name(parent, name, who, {i, *but})
        self.touch(i, live=True, place=self.entries[i]["place"].at(parent, free))

    # Requests.

    def apply(self, who, request, now):
        """Applies a request exactly once. Returns its outcomes, the rows they touch and the present
        `now`; None if the sender knows another past, or one that is forgotten, and nothing was done.
        This is looked at in the transaction itself: the server may be restored before it begins."""
        is_repeated = request["request"] in self.answers
        if not self.shares(now) or (request["cursor"] < self.floor and not is_repeated):
            return None
        if not is_repeated:
            self.answers[request["request"]] = Transaction(self, who, request["changes"]).run()
        outcomes = self.answers[request["request"]]
        rows = {i for i in outcomes if i in self.entries}
        for outcome in outcomes.values():
            rows |= {outcome[k] for k in ("kept_as", "is") if outcome.get(k) in self.entries}
        return dict(outcomes=outcomes, now=self.now(), rows=rows)


def newest_version(entry):
    return max(entry["place_v"], entry["content_v"])


class Transaction:
    """The changes of one request, decided together. Outcomes: entry -> {group: the version at which
    what was sent holds, or None where another value stands}, and `kept_as`: the entry that keeps a
    content beside, `is`: the entry that this one turned out to be."""

    def __init__(self, server, who, changes):
        self.server, self.who, self.changes = server, who, changes
        self.outcomes = {change["id"]: {} for change in changes}
        # Entries whose name is free for others of this request; changes that bring a place.
        self.leaving, self.arriving = set(), []
        self.removing = {}
        # Entries that turned out to be others.
        self.same = {}

    def run(self):
        self.admit()
        self.refuse_circles()
        self.remove()
        self.place()
        self.replace_contents()
        return self.outcomes

    def admit(self):
        """Which changes of place and which removals are possible at all."""
        for change in self.changes:
            i, entry = change["id"], self.server.entries.get(change["id"])
            if "create" in change:
                self.admit_creation(change, entry)
            elif "place" in change:
                if entry["live"] and entry["place"] == change["place"]:
                    self.outcomes[i]["place"] = entry["place_v"]
                elif (
                    entry["live"]
                    and entry["place_v"] != change["place_base"]
                    and not is_later(change, entry)
                ):
                    self.refuse_place(change)
                else:
                    # Against a removal that had not seen it, a change of place holds.
                    self.arriving.append(change)
                    self.leaving.add(i)
            if "remove" in change and entry:
                self.removing[i] = change

    def admit_creation(self, change, entry):
        i = change["id"]
        if entry is None or not entry["live"]:
            self.arriving.append(change)
        elif entry["place"] != change["place"] and is_later(change, entry):
            self.arriving.append(dict(id=i, place=change["place"], was=change["was"]))
            self.leaving.add(i)
        else:
            self.outcomes[i]["place"] = entry["place_v"]
            if entry["place"] != change["place"]:
                self.refuse_place(change)

    def refuse_place(self, change):
        """Another place stands: it was given first, and the author had not seen it."""
        self.outcomes[change["id"]]["place"] = None
        self.server.refused_steps.add(change["place"].step)

    def refuse_circles(self):
        """Moves that would put a folder into itself stay where they were."""
        while True:
            to = {change["id"]: change["place"][0] for change in self.arriving}

            def is_circle(i):
                start, seen = i, set()
                while i is not None and i not in seen:
                    seen.add(i)
                    if i in to:
                        i = to[i]
                    else:
                        i = self.server.entries[i]["place"][0] if i in self.server.entries else None
                return i == start

            moves = (change for change in self.arriving if "create" not in change)
            bad = next((change for change in moves if is_circle(change["id"])), None)
            if bad is None:
                return
            self.arriving.remove(bad)
            self.leaving.discard(bad["id"])
            self.refuse_place(bad)

    def remove(self):
        """A removal covers what its author saw: anything newer, or anything else inside, and the
        entry stays."""
        server = self.server

        def is_as_seen(i, change):
            entry = server.entries[i]
            if Faults.has("removal unchecked"):
                return entry["live"] and not server.children(i)
            return (
                entry["live"]
                and entry["place_v"] == change["place_base"]
                and entry["content_v"] == change["content_base"]
                and all(k in self.removing or k in self.leaving for k in server.children(i))
            )

        while True:
            bad = [i for i, change in self.removing.items() if not is_as_seen(i, change)]
            if not bad:
                break
            for i in bad:
                del self.removing[i]
        for i, change in self.removing.items():
            server.removals.append((dict(server.entries[i]), change))
            server.touch(i, live=False)

    def place(self):
        """Gives the arriving their names: parents first, and names are free that others leave."""
        server = self.server
        while self.arriving:
            ids = {change["id"] for change in self.arriving}

            def is_ready(change):
                parent = change["place"][0]
                is_inside = parent in server.entries and any(
                    above in ids for above in server.ancestors(parent)
                )
                return parent not in ids and not is_inside

            change = next(change for change in self.arriving if is_ready(change))
            self.arriving.remove(change)
            i, name = change["id"], change["place"][1]
            parent = self.same.get(change["place"][0], change["place"][0])
            parent = server.living_folder(parent, self.who, ids)
            twin = self.twin(change, parent, ids)
            if twin is not None:
                self.same[i] = twin
                server.split |= {i, twin}
                self.outcomes[i]["is"] = twin
                continue
            place = change["place"].at(parent, server.free_name(parent, name, self.who, ids))
            if "create" in change:
                content = change["content"]
                if i in server.entries and server.entries[i]["content"].grew_out_of(content):
                    content = server.entries[i]["content"]
                server.touch(
                    i,
                    kind=change["kind"],
                    place=place,
                    content=content,
                    live=True,
                    was=change.get("was"),
                )
            else:
                server.touch(i, place=place, live=True, was=change.get("was"))
            # If the name was taken, the row has another one at this version: placed beside.
            self.outcomes[i]["place"] = server.version

    def twin(self, change, parent, ids):
        """The entry that a creation turns out to be: a folder of that name, or the very same file,
        made by two."""
        i, entries = change["id"], self.server.entries
        at = (
            k
            for k in self.server.children(parent)
            if k not in ids and k not in self.outcomes and entries[k]["place"][1] == change["place"][1]
        )
        k = next(at, None)
        is_new = "create" in change and i not in entries and k is not None
        is_same = (
            is_new
            and k != change.get("known")
            and entries[k]["kind"] == change["kind"]
            and entries[k]["content"].fingerprint == change["content"].fingerprint
        )
        return k if is_same else None

    def replace_contents(self):
        """A content that follows the present one replaces it; one that knows nothing of it is kept
        beside, as an entry of its own."""
        server = self.server
        for change in self.changes:
            i = change["id"]
            if "content" not in change or i in self.same:
                continue
            entry, content = server.entries[i], change["content"]
            self.outcomes[i]["content"] = None
            if entry["content"].fingerprint == content.fingerprint:
                self.outcomes[i]["content"] = entry["content_v"]
            elif (
                content.grew_out_of(entry["content"])
                or change.get("content_base") == entry["content_v"]
                or Faults.has("last writer wins")
            ):
                server.touch(i, content=content)
                self.outcomes[i]["content"] = server.version
            elif not entry["content"].grew_out_of(content):
                if self.keep_beside(change, entry):
                    continue
            if not entry["live"]:
                server.revive(i, self.who)

    def keep_beside(self, change, entry):
        """Returns whether another device had kept the very same content beside."""
        server, beside, content = self.server, change["beside"], change["content"]
        parent = server.living_folder(entry["place"][0], self.who)
        kept = (server.entries[k]["content"].fingerprint for k in server.children(parent))
        if content.fingerprint in kept:
            return True
        name = server.free_name(parent, entry["place"][1], self.who)
        place = change.get("author_place", entry["place"]).at(parent, name)
        server.touch(beside, kind="file", place=place, content=content, live=True)
        server.split |= {change["id"], beside}
        self.outcomes[change["id"]] = dict(kept_as=beside, content=server.version)
        return False


def is_later(change, entry):
    """Both were told again after a past was lost: whether the change had the later place there."""
    return (
        entry["live"]
        and entry.get("was") is not None
        and change.get("was", OTHER) > entry["was"]
    )
