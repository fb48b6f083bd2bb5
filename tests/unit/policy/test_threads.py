"""Policies are compiled in several threads at once when releases are built."""

from __future__ import annotations

import subprocess
import sys

_ASK_FROM_EIGHT_THREADS = """
import threading
from apx.policy.engine import engine

together, found = threading.Barrier(8), []

def ask():
    together.wait()
    found.append(engine())

threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len({id(one) for one in found}))
"""


def test_all_threads_of_a_new_process_get_the_same_engine() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _ASK_FROM_EIGHT_THREADS], capture_output=True, text=True, timeout=60, check=True
    )

    assert asked.stdout == "1\n"
