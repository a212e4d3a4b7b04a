"""Ends a worker process whose parent has died: Ray 2.60's workers outlive a killed raylet and keep their device.

What the worker was doing is not waited for: everything that matters is written whole or not at all.
"""

import os
import threading
import time
from functools import cache

_SECONDS_BETWEEN_LOOKS = 2.0


@cache
def die_with_parent() -> None:
    """From now on this process ends soon after its parent; a second call does nothing."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="orphan", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)  # from a thread, sys.exit would end only that
