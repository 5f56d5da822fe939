"""Cases that a user adds and removes: what is removed stays away, also where nothing else is left."""

from __future__ import annotations

import numpy as np

from specialists.core import own_cases
from specialists.core.index import CaseIndex, IndexCard, Row

VECTORS = np.eye(3, dtype=np.float32)


def test_removed_cases_do_not_come_back_where_none_is_left(tmp_path):
    base = CaseIndex.build([Row(name, "a") for name in "xyz"], VECTORS, IndexCard("ward", ("s",)))
    own_cases.write_added(tmp_path, base.card, [Row("own", "a")], VECTORS[:1], {"s": "old"})
    own_cases.write_removed(tmp_path, "ward", {"x", "y", "z"})
    assert [row.id for row in own_cases.merged(base, tmp_path, {"s": "old"}).rows] == ["own"]
    empty = own_cases.merged(base, tmp_path, {"s": "new"})
    assert empty.rows == ()
    assert empty.search(VECTORS[0], dhash=bytes(32)) == []
