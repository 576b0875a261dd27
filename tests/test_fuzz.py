"""A few inputs of each reader of the fuzz suite; `scripts/fuzz.py` tries thousands."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fuzz_readers import READERS
from warm import program

# those like another one, and one that asks a server a dozen times for each input
LONG = {"tar.bz2", "tar.xz", "published tar", "messages of sites", "http answers"}
SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.mark.parametrize("reader", sorted({*READERS} - LONG))
def test_damaged_files_end_in_errors_of_ours_and_crash_nothing(reader):
    if reader in ("7z", "rar") and not shutil.which("bsdtar"):
        pytest.skip("bsdtar is not installed")
    command = [program("python"), SCRIPTS / "fuzz.py", "--reader", reader, "--count", "12"]
    done = subprocess.run(
        [*command, "--seed", "1000"], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
