"""A published archive that was made to harm: refused, the process lives, memory is bounded."""

import json
import shutil
import struct
import subprocess
import sys

import pytest
from published_archive import simple_sets, tar_of, vectors_of, write_database, write_dataset

POINTER = struct.pack("<Q", 0x4141414141414141)
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8I0\nI1\ntR(I3\nX\x01\x00\x00\x00|NNNI-1\nI-1\nI0\ntb"
SCALAR = (
    b"\x80\x03cnumpy.core.multiarray\nscalar\n(" + DTYPE + b"B\x08\x00\x00\x00" + POINTER + b"tR."
)
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntB\x01\x00\x00\x00btR"
ARRAY = b"\x80\x03" + EMPTY + b"(I1\n(I1\nt" + DTYPE + b"\x89B\x08\x00\x00\x00" + POINTER + b"tb."
HUGE = b"\x80\x02Nr" + struct.pack("<I", 0x0FFFFFFF) + b"."
PICKLES = {
    "a pointer": SCALAR, "a pointer in an array": ARRAY, "a huge memo": HUGE,
    "a huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 6 << 30) + b".",
    "code": b"cos\nsystem\n(S'touch pwned'\ntR.", "a deep list": b"]" * 200_000 + b"a" * 199_999
    + b".", "doubled lists": b"\x80\x02]q\0" + b"".join(
        b"]q" + bytes([k + 1]) + b"(h" + bytes([k]) + b"h" + bytes([k]) + b"e" for k in range(60))
    + b".",
    "keys that collide": b"\x80\x04\x8f(" + b"".join(
        b"\x8a\x0a" + (k * ((1 << 61) - 1)).to_bytes(10, "little") for k in range(1, 5_000))
    + b"\x90.",
}  # fmt: skip
MEMORY = 700 << 20  # bytes of the process and its children


PROGRAM = """
import json, re, resource, sys
from pathlib import Path
from autods.core import limited
from autods.core.root import DataRoot
from autods.interop.published import import_published
outcome = import_published(Path(sys.argv[1]), DataRoot.open(Path(sys.argv[2])), extractor="clip")
limited._end_all()
# a process inherits the resource usage of the one that started it, but not its high-water mark
(own,) = re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
peaks = [int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
refused = [str(error) for error in outcome.refused.values()]
print(json.dumps({"refused": refused, "peak": sum(peaks) << 10}))
"""


def harmed(folder, place, data):
    """Put a hostile pickle into an archive, as metadata or as a value of the database."""
    write_dataset(folder, "boat", simple_sets())
    if place == "metadata":
        (folder / "boat" / "metadata.pickle").write_bytes(data)
        return
    split = folder / "boat" / "feats" / "clip" / "train"
    shutil.rmtree(split)
    paths = [path for path, _ in simple_sets()["none"]["train"]]
    if place == "vectors":
        write_database(split, vectors_of(paths, 8), dumps=lambda value: data)
    else:
        write_database(split, vectors_of(paths, 8), file_names=data)


@pytest.mark.parametrize("place", ["metadata", "vectors", "file_names"])
@pytest.mark.parametrize("kind", PICKLES)
def test_a_hostile_pickle_is_refused_and_memory_is_bounded(tmp_path, kind, place):
    harmed(tmp_path / "in", place, PICKLES[kind])
    source = tar_of(tmp_path / "in", tmp_path / "in.tar")
    command = [sys.executable, "-c", PROGRAM, source, tmp_path / "root"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["refused"]) == 1 and "boat" in told["refused"][0]
    assert told["peak"] < MEMORY, told
    assert not (tmp_path / "pwned").exists()
    assert not [*(tmp_path / "root").rglob("*.h5")]
