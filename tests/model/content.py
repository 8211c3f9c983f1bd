"""The content of a file, with its lineage, and the constants that all parts of the model share."""

from typing import NamedTuple, Optional

ROOT = "root"

# Versions that no server gives. OTHER: both sides know each other's value, and the server's is
# another one, which counts as the newer. FORGOTTEN: the server had the entry in the past that is
# shared, and does not know it any more.
OTHER = -1
FORGOTTEN = -2

# A lineage names at most this many fingerprints.
LINEAGE_MAX = 16


class Content(NamedTuple):
    """A fingerprint, how many contents came before it, and which: those that were told to others or
    fetched from them. A lineage needs no server's count, so it means the same to a server that lost
    a week, and to another server."""

    fingerprint: Optional[str]
    generation: int
    lineage: tuple

    def followed_by(self, fingerprint):
        """The content with this fingerprint, made by somebody who saw the present one."""
        lineage = ((self.fingerprint,) + self.lineage)[:LINEAGE_MAX] if self.fingerprint else ()
        return Content(fingerprint, self.generation + 1, lineage)

    def grew_out_of(self, older):
        """Whether the author of this content had seen `older`."""
        return self.generation > older.generation and older.fingerprint in self.lineage


# The content of a folder.
EMPTY = Content(None, 0, ())


def new_content(fingerprint):
    """The content of a new file."""
    return EMPTY.followed_by(fingerprint)


class Place(tuple):
    """(folder's id, name). `step` is the step of a person that brought an entry here: the judge
    alone reads it, and two places are equal whatever their steps."""

    def __new__(cls, parent, name, step=None):
        place = super().__new__(cls, (parent, name))
        place.step = step
        return place

    def __getnewargs__(self):
        return (self[0], self[1], self.step)

    def at(self, parent, name):
        """The same step, where the server put it."""
        return Place(parent, name, self.step)


class Faults:
    """The fault that is put in on purpose, to see that the judge finds it; None in a sound model."""

    active = None

    @classmethod
    def has(cls, name):
        assert name in FAULTS, name
        return cls.active == name


# Each fault, and what it breaks.
FAULTS = {
    "last writer wins": "an edit replaces one that its author had not seen",
    "base taken late": "a removal names the versions of the moment of sending",
    "past not compared": "a server that went back in time is believed",
    "absence is removal": "what is missing from the disk is removed from the library",
    "sent anew": "a request whose answer was lost is planned again instead of repeated",
    "names in any order": "a request does not free the names that it takes",
    "history skipped": "what is replaced is not kept",
    "removal unchecked": "a removal holds against what its author had not seen",
    "aside while telling": "a file steps aside while its own move is being told",
}
