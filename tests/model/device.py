"""A device: its disk, its three trees, the planner, and how it talks to the server."""

from content import EMPTY, FORGOTTEN, OTHER, ROOT, Content, Faults, Place

# The pattern of a hidden name: what is moved aside carries its entry's id in its name, because
# nothing else outlives a crash, a lost journal and another past.
ASIDE = ".moving."

SYNCED_KEYS = ("place", "place_v", "content", "content_v")


class Device:
    """`disk` is inode -> {parent inode, name, kind, content, id, told}. The id is chosen and written
    down before anybody is told of a file; `told` is the last fingerprint that others can have seen.

    The trees hold observations, never intentions. `remote`: the server's entries as of the cursor.
    `synced`: what both sides last agreed on, the merge base. The disk is the third. `unlinked` is
    evidence: removals that the mount saw, with the content that was seen."""

    def __init__(self, name, server, rng, say):
        self.name, self.server, self.rng, self.say = name, server, rng, say
        self.disk = {0: dict(parent=None, name="", kind="dir", content=EMPTY, id=ROOT)}
        self.synced = {ROOT: dict(place=Place(None, ""), place_v=0, content=EMPTY, content_v=0)}
        self.remote = {ROOT: dict(server.entries[ROOT])}
        self.unlinked = {}
        self.inflight = None
        self.cursor = 0
        # Every `now` that an answer named and a later one may still share, oldest first.
        self.known = [(0, "0")]
        self.count = 0
        # Entries to tell anew because a past that knew them was lost.
        self.again = set()
        # Entry -> the version its place had in a past that was lost.
        self.was = {}
        # Moves of people here that were not to be, because another place was given first.
        self.superseded = []
        # For the judge alone: entry -> the step and the content that its remover saw.
        self.saw, self.lost_ids = {}, set()

    # The disk.

    def new_id(self):
        self.count += 1
        return f"{self.name}.{self.count}"

    def kids(self, inode):
        return [i for i, file in self.disk.items() if file["parent"] == inode]

    def at(self, parent, name):
        return next((i for i in self.kids(parent) if self.disk[i]["name"] == name), None)

    def node(self, id):
        return next((i for i, file in self.disk.items() if file["id"] == id), None)

    def is_under(self, inode, top):
        while inode is not None and inode != top:
            inode = self.disk[inode]["parent"]
        return inode == top

    def make(self, parent, name, kind, content=EMPTY, id=None):
        inode = max(self.disk) + 1 + self.count
        self.count += 1
        self.disk[inode] = dict(
            parent=parent, name=name, kind=kind, content=content, id=id or self.new_id()
        )
        return inode

    def place(self, inode):
        file = self.disk[inode]
        if file["parent"] is None:
            return Place(None, "")
        return Place(self.disk[file["parent"]]["id"], file["name"], file.get("step"))

    def is_aside(self, inode):
        return ASIDE in self.disk[inode]["name"]

    def shown_place(self, inode):
        """The place that is told: of what is aside, the one it had."""
        place = self.place(inode)
        return place.at(place[0], place[1].split(ASIDE)[0])

    def is_moved(self, inode, synced):
        """By a person or a program, not by us."""
        return not self.is_aside(inode) and self.place(inode) != synced["place"]

    def is_edited(self, inode, synced):
        return self.disk[inode]["content"].fingerprint != synced["content"].fingerprint

    def edited(self, file, fingerprint):
        """The content after an edit. Its lineage grows by what was told or fetched; what nobody
        else can have seen is replaced."""
        content = file["content"]
        if file.get("told") == content.fingerprint:
            return content.followed_by(fingerprint)
        return Content(fingerprint, content.generation, content.lineage)

    def path(self, inode):
        if inode == 0:
            return ""
        file = self.disk[inode]
        return (self.path(file["parent"]) + "/" + file["name"]).lstrip("/")

    def unlink(self, inode):
        """An unlink that the mount sees."""
        self.saw[self.disk[inode]["id"]] = (self.place(inode).step, self.disk[inode]["content"])
        file = self.disk.pop(inode)
        self.unlinked[file["id"]] = file["content"]

    # Pasts.

    def is_past_shared(self):
        """Whether the server's past is the one this device knows. If it is not, finds where the two
        parted and compares everything anew. What the server changed of places before that point was
        agreed on or gone beyond: ours is the next step. What it changed after, it changed without
        us."""
        if self.server.shares(self.known[-1]) or Faults.has("past not compared"):
            return True
        while not self.server.shares(self.known[-1]):
            self.known.pop()
        fork = self.known[-1][0]
        self.say(self.name, "another past since", fork)
        self.inflight = None
        self.fetch_tree()
        self.known.append(self.server.now())
        for i, synced in list(self.synced.items()):
            row = self.remote.get(i)
            if synced["place_v"] > fork:
                # What is not told yet is later still.
                is_moved = self.node(i) and self.is_moved(self.node(i), synced)
                self.was[i] = synced["place_v"] + (0.5 if is_moved else 0)
            if row is None or (not row["live"] and row["place_v"] <= fork):
                # Told anew, under its own id.
                del self.synced[i]
                self.again.add(i)
            else:
                self.compare(i, synced, row, fork)
        self.take_rows((), self.server.now())
        return False

    def fetch_tree(self):
        self.remote = {i: dict(entry) for i, entry in self.server.entries.items()}
        self.cursor = self.server.version

    def compare(self, i, synced, row, fork):
        """Makes a new base of what is believed and what the server has."""
        is_ours_later = row.get("was") is not None and self.was.get(i, OTHER) > row["was"]
        if row["place_v"] <= fork or row["place"] == synced["place"] or is_ours_later:
            synced["place"], synced["place_v"] = row["place"], row["place_v"]
        else:
            synced["place_v"] = OTHER
        ours, theirs = synced["content"], row["content"]
        if theirs.fingerprint == ours.fingerprint or ours.grew_out_of(theirs):
            synced["content"], synced["content_v"] = theirs, row["content_v"]
        else:
            synced["content"] = ours if theirs.grew_out_of(ours) else EMPTY
            synced["content_v"] = OTHER

    def lose_trees(self, with_ids):
        """The journal is lost: what is on the disk is found. Without ids, a file is known by its
        place and content once the whole remote tree is here."""
        self.synced = {ROOT: dict(self.synced[ROOT])}
        self.unlinked, self.inflight, self.again, self.was = {}, None, set(), {}
        self.known = [(0, "0"), self.server.now()]
        self.fetch_tree()
        for inode, file in self.disk.items():
            fingerprint = file["content"].fingerprint
            file["content"] = Content(fingerprint, 1, ()) if fingerprint else EMPTY
            if with_ids and inode:
                file["id"] = self.new_id()

        def adopt(parent):
            for kid in self.kids(parent):
                file = self.disk[kid]
                at = [
                    i
                    for i, row in self.remote.items()
                    if row["place"] == self.shown_place(kid)
                    and row["kind"] == file["kind"]
                    and self.node(i) is None
                    and (
                        file["kind"] == "dir"
                        or file["content"].fingerprint
                        in (row["content"].fingerprint, *row["content"].lineage)
                    )
                ]
                if at and with_ids:
                    rank = lambda i: (self.remote[i]["live"], self.remote[i]["place_v"])
                    file["id"] = max(at, key=rank)
                adopt(kid)

        adopt(0)
        self.reconcile()

    # What the server says.

    def bury(self, ids):
        """Entries that the server had in the shared past and does not know any more."""
        for i in ids:
            if i not in self.remote:
                synced = self.synced.get(i, dict(place=Place(ROOT, ""), content=EMPTY))
                self.remote[i] = dict(
                    synced, place_v=FORGOTTEN, content_v=FORGOTTEN, live=False, kind="dir"
                )

    def take_rows(self, ids, now):
        def age(row):
            return max(row["place_v"], row["content_v"])

        # In one order, so that a seed is one life in every process.
        for i in sorted(ids):
            row = self.server.entries[i]
            # Answers overtake each other: an older row is dropped.
            if i not in self.remote or age(row) >= age(self.remote[i]):
                self.remote[i] = dict(row)
        self.reconcile()
        for inode, file in self.disk.items():
            row = self.remote.get(file["id"])
            if row and row["place"] == self.place(inode):
                # For the judge alone: two who want one place took one step.
                file["step"] = row["place"].step
        # Rows may be newer than the end of a page, so a cursor alone would not do.
        if now[0] > self.known[-1][0]:
            self.known.append(now)

    def busy_ids(self):
        return {change["id"] for change in (self.inflight or {}).get("changes", ())}

    def reconcile(self):
        busy = self.busy_ids()
        # Removed here while the server had lost the entry, which another device then told again.
        for i in sorted(set(self.unlinked) - set(self.synced) - busy):
            row, seen = self.remote.get(i), self.unlinked[i]
            if not row:
                continue
            is_seen = row["live"] and (
                seen.fingerprint == row["content"].fingerprint or seen.grew_out_of(row["content"])
            )
            if is_seen:
                self.synced[i] = {key: row[key] for key in SYNCED_KEYS}
            else:
                del self.unlinked[i]
        # Placed beside by the server, and moved or removed here before the disk followed: that is
        # the next step after our own.
        for i, synced in self.synced.items():
            row, inode = self.remote[i], self.node(i)
            if synced.get("ours") == row["place_v"] and self.has_left(inode, synced["place"]):
                synced.update(place=row["place"], place_v=synced.pop("ours"))
        # On the disk and at the server, but not in Synced (a crash between disk and journal, a lost
        # journal): found, not made.
        for inode, file in self.disk.items():
            i = file["id"]
            row = self.remote.get(i)
            if i in self.synced or row is None or i in busy or i in self.again:
                continue
            synced = dict(
                place=self.shown_place(inode),
                place_v=OTHER,
                content=file["content"],
                content_v=OTHER,
            )
            self.synced[i] = synced
            self.compare(i, synced, row, -1)

    def has_left(self, inode, place):
        """Whether a person has removed a file or moved it from the place."""
        return inode is None or not self.is_aside(inode) and self.place(inode) != place

    def feed(self, most):
        """Reads a page of the change feed."""
        if not self.is_past_shared():
            return
        if self.cursor < self.server.floor:
            # Away for longer than history is kept: the whole tree. What was agreed on in this past
            # and the server does not know was removed.
            self.fetch_tree()
            self.bury(self.synced)
            self.take_rows((), self.server.now())
            return
        page = [change for change in self.server.log if change[0] > self.cursor][:most]
        if page:
            self.cursor = page[-1][0]
            self.take_rows({i for _, i in page}, self.server.now())

    # The planner: what this device has to tell, and what it has to do, from three trees alone.

    def to_tell(self):
        if self.inflight and not Faults.has("sent anew"):
            return {}
        tell = {}
        for inode, file in self.disk.items():
            if inode != 0:
                change = self.change_of(inode, file)
                if change:
                    tell[file["id"]] = change
        gone = self.unlinked
        if Faults.has("absence is removal"):
            gone = {i for i in self.synced if self.node(i) is None}
        for i in gone:
            is_known = i in self.synced and self.remote[i]["place_v"] != FORGOTTEN
            if is_known and self.node(i) is None:
                base = self.remote[i] if Faults.has("base taken late") else self.synced[i]
                tell[i] = dict(
                    id=i,
                    remove=True,
                    place_base=base["place_v"],
                    content_base=base["content_v"],
                    saw=self.saw.get(i),
                )
        return tell

    def change_of(self, inode, file):
        """What the server has to be told of a file."""
        i = file["id"]
        synced, row = self.synced.get(i), self.remote.get(i)
        # What revives an entry is told whole.
        is_new = synced is None or not row["live"] and (
            self.is_moved(inode, synced)
            or self.is_edited(inode, synced)
            or row["place_v"] == FORGOTTEN
            and self.kids(inode)
        )
        change = {}
        if is_new:
            change.update(
                create=True,
                kind=file["kind"],
                place=self.shown_place(inode),
                content=file["content"],
            )
        elif row["live"]:
            if self.is_moved(inode, synced) and row["place_v"] == synced["place_v"]:
                change.update(place=self.place(inode), place_base=row["place_v"])
            if self.is_edited(inode, synced):
                change.update(content=file["content"], content_base=synced["content_v"])
                change["author_place"] = self.place(inode)
        if not change:
            return None
        if "place" in change and i in self.was:
            change["was"] = self.was[i]
        return dict(id=i, **change)

    def request(self, tell):
        """A part of what is to be told that makes sense alone: with the parents it needs, what
        leaves a name that it takes, and what is gone from a folder that goes."""
        holder = {row["place"]: i for i, row in self.remote.items() if row["live"]}
        want, todo = {}, [self.rng.choice(sorted(tell))]
        for _ in range(self.rng.choice([0, 0, 2, 9])):
            todo.append(self.rng.choice(sorted(tell)))
        while todo:
            i = todo.pop()
            if i in want or i not in tell:
                continue
            change = want[i] = dict(tell[i])
            if "create" in change and holder.get(change["place"]) in self.synced:
                # That one is known here, and this is another.
                change["known"] = holder[change["place"]]
            if "content" in change:
                # Chosen here, so that this device knows it when the feed brings it before the
                # answer.
                change["beside"] = self.new_id()
            if "place" in change:
                inode = self.node(i)
                while inode:
                    inode = self.disk[inode]["parent"]
                    todo.append(self.disk[inode]["id"])
                if not Faults.has("names in any order"):
                    todo.append(holder.get(change["place"]))
            if "remove" in change:
                todo += [
                    k for k, row in self.remote.items() if row["live"] and row["place"][0] == i
                ]
        return list(want.values())

    def operations(self):
        """What is to be done on the disk, in any order."""
        operations = []
        changes = (self.inflight or {}).get("changes", ())
        away = {change["beside"] for change in changes if "beside" in change} | self.busy_ids()
        for i, row in self.remote.items():
            inode, synced = self.node(i), self.synced.get(i)
            if i in away or inode == 0:
                continue
            if inode is None:
                if row["live"] and i not in self.unlinked:
                    operations.append(("make", i))
            elif synced is None:
                pass
            elif not row["live"]:
                is_untouched = not self.is_edited(inode, synced) and not self.is_moved(inode, synced)
                if is_untouched and not self.kids(inode):
                    operations.append(("remove", i))
            else:
                if row["place_v"] != synced["place_v"] or self.is_aside(inode):
                    operations.append(("place", i))
                if row["content_v"] != synced["content_v"] and not self.is_edited(inode, synced):
                    operations.append(("content", i))
        return operations

    def step(self, lossy=False):
        """One step of the executor. Returns whether there was anything to do."""
        self.reconcile()
        tell = self.to_tell()
        operations = [("send", None)] if self.inflight or tell else []
        operations += self.operations()
        self.rng.shuffle(operations)
        return any(self.do(operation, i, tell, lossy) for operation, i in operations)

    # The executor: compare and set.

    def do(self, operation, i, tell, lossy):
        if operation == "send":
            self.send(tell, lossy)
            return True
        inode, row = self.node(i), self.remote[i]
        if operation == "remove":
            self.say(self.name, operation, self.path(inode))
            del self.disk[inode]
            del self.synced[i]
            return True
        if operation == "content":
            content = row["content"]
            self.say(self.name, operation, self.path(inode), content.fingerprint)
            self.disk[inode].update(content=content, told=content.fingerprint)
            self.synced[i].update(content=content, content_v=row["content_v"])
            return True
        return self.do_place(operation, i, inode, row)

    def do_place(self, operation, i, inode, row):
        parent, name = self.node(row["place"][0]), row["place"][1]
        if parent is None or (inode is not None and self.is_under(parent, inode)):
            return False
        file = self.disk.get(inode)
        if file is None or (file["parent"], file["name"]) != (parent, name):
            other = self.at(parent, name)
            if other is not None and not self.step_aside(other):
                return False
            self.say(self.name, operation, i, row["place"])
            self.note_superseded(i, inode)
            if file is None:
                made = self.make(parent, name, row["kind"], row["content"], i)
                self.disk[made].update(told=row["content"].fingerprint, step=row["place"].step)
                self.synced[i] = {key: row[key] for key in SYNCED_KEYS}
            else:
                file.update(parent=parent, name=name, step=row["place"].step)
        self.synced[i].update(place=row["place"], place_v=row["place_v"])
        self.synced[i].pop("ours", None)
        return True

    def note_superseded(self, i, inode):
        """Another place was given first: the person who moved it here is told, and it is in history."""
        if inode is not None and self.is_moved(inode, self.synced[i]):
            self.superseded.append((i, self.place(inode)))
            self.server.refused_steps.add(self.place(inode).step)

    def step_aside(self, inode):
        """What is in the way of another may be moved aside if the server has it elsewhere by now, or
        removed: its own operation will see to it."""
        i = self.disk[inode]["id"]
        synced, row = self.synced.get(i), self.remote.get(i)
        # What is being told may be a step of our own that the server's row already shows, and a
        # person may have gone on from it: that waits for the answer.
        is_telling = i in self.busy_ids() and not Faults.has("aside while telling")
        if synced is None or is_telling:
            return False
        if row["live"]:
            is_ours_to_move = row["place_v"] != synced["place_v"]
        else:
            is_ours_to_move = not self.is_moved(inode, synced) and not self.is_edited(inode, synced)
        if is_ours_to_move:
            self.disk[inode]["name"] += ASIDE + i
        return is_ours_to_move

    # Requests.

    def send(self, tell, lossy):
        """One request at a time, written down before it is sent and until its answer is written
        down; what is repeated is word for word what was sent."""
        if not self.is_past_shared():
            return
        if (self.inflight is None or Faults.has("sent anew")) and tell:
            self.inflight = dict(
                request=self.new_id(), cursor=self.cursor, changes=self.request(tell)
            )
        request = self.inflight
        self.say(self.name, "send", request["changes"])
        for change in request["changes"]:
            inode = self.node(change["id"])
            if "content" in change and inode:
                fingerprint = change["content"].fingerprint
                if self.disk[inode]["content"].fingerprint == fingerprint:
                    self.disk[inode]["told"] = fingerprint
        if lossy and self.rng.random() < 0.15:
            return
        answer = self.server.apply(self.name, request, self.known[-1])
        if answer is None:
            self.inflight = None
            return
        if lossy and self.rng.random() < 0.15:
            return
        self.inflight = None
        self.take_answer(request["changes"], answer)

    def take_answer(self, changes, answer):
        outcomes = answer["outcomes"]
        self.take_rows(answer["rows"], answer["now"])
        self.again -= set(outcomes)
        for i in outcomes:
            self.was.pop(i, None)
        same = {i: outcome["is"] for i, outcome in outcomes.items() if "is" in outcome}
        others = {o[key] for o in outcomes.values() for key in ("kept_as", "is") if key in o}
        self.bury({i for i in outcomes if i not in same} | others)
        for i, other in same.items():
            self.become(i, other)
        for change in changes:
            if change["id"] not in same:
                self.take_outcome(change, outcomes[change["id"]], same)

    def become(self, i, other):
        """What was made here turned out to be an entry that the server has."""
        inode = self.node(i)
        self.unlinked.pop(i, None)
        if inode is None:
            return
        if self.node(other) is None:
            self.disk[inode]["id"] = other
            self.unlinked.pop(other, None)
            self.synced[other] = {key: self.remote[other][key] for key in SYNCED_KEYS}
        else:
            self.disk[inode]["id"] = self.new_id()

    def take_outcome(self, change, outcome, same):
        i = change["id"]
        if "place" in change and change["place"][0] in same:
            place = change["place"]
            change = dict(change, place=place.at(same[place[0]], place[1]))
        if "remove" in change:
            self.unlinked.pop(i, None)
            self.synced.pop(i, None)
            return
        if "kept_as" in outcome:
            self.take_kept_beside(change, outcome)
            return
        for group in ("place", "content"):
            if group in change:
                self.settle(i, group, change[group], outcome.get(group))
        row, inode = self.remote[i], self.node(i)
        is_beside = (
            outcome.get("place")
            and row["place_v"] == outcome["place"]
            and row["place"] != change["place"]
        )
        if is_beside:
            # Our own step. Moved or removed here since? Then that is the next one.
            if self.has_left(inode, change["place"]):
                self.settle(i, "place", row["place"], row["place_v"])
            else:
                self.synced[i].update(place_v=OTHER, ours=row["place_v"])

    def take_kept_beside(self, change, outcome):
        i, beside = change["id"], outcome["kept_as"]
        inode = self.node(i)
        if inode is not None:
            self.disk[inode]["id"] = beside
        elif i in self.unlinked:
            self.unlinked[beside] = self.unlinked.pop(i)
            self.saw[beside] = self.saw.get(i)
        self.settle(beside, "content", change["content"], outcome["content"])
        row = self.remote[beside]
        is_gone = inode is None or i in self.synced and self.is_moved(inode, self.synced[i])
        if is_gone:
            # Moved here since: the next step.
            self.settle(beside, "place", row["place"], row["place_v"])
        else:
            self.settle(beside, "place", self.place(inode), None)
            self.synced[beside]["ours"] = row["place_v"]

    def settle(self, i, group, sent, at):
        """Notes what both sides agree on: what was sent, at the version at which it holds."""
        unknown = dict(place=None, place_v=OTHER, content=EMPTY, content_v=OTHER)
        synced = self.synced.setdefault(i, unknown)
        synced[group], synced[group + "_v"] = sent, OTHER if at is None else at
