"""Searching beside other libraries that change FAISS for the whole process."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import numpy as np
from sslkit.neighbours.corpus import CorpusIndex
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Structure, planned

vectors = np.random.default_rng(0).standard_normal((700, 16)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
half, every = vectors.astype(np.float16), np.arange(700)
kinds = [CorpusIndex.build(half, every, kind=kind) for kind in ("flat", "hnsw")]
flat = FlatIndex.build(vectors)
lists = Structure.train(planned("ivf_sq8", 700, 16), flat)
lists.add(flat, 0, 700)
few = {"effort": lists.efforts()[0], "allowed": np.arange(700) % 3 > 0}
before = [index.search(vectors[:5], 4) for index in (*kinds, flat)] + [lists.search(vectors[:5], 4, **few)]
import faiss.contrib.torch_utils
after = [index.search(vectors[:5], 4) for index in (*kinds, flat)] + [lists.search(vectors[:5], 4, **few)]
for one, other in zip(before, after, strict=True):
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
"""


def test_what_replaces_faiss_own_search_is_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
