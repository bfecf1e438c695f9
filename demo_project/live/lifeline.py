"""In each process that the supervisor starts: it ends when its supervisor does, however that ends.

The standard input is a pipe of which the supervisor alone holds the other end, and never writes to.
The kernel closes that end with the supervisor, by SIGKILL too. What such a process starts itself,
as ``runserver`` does to reload, has the same standard input and ends likewise.
"""

import os
import signal
import threading
import time
from contextlib import suppress

VARIABLE = "LIVE_LIFELINE"
"""Set where the standard input is one."""
END_SECONDS = 12.0
"""How long a process may take to end; a relay finishes its batch within 10."""


def hold() -> None:
    """Watch the standard input in a thread; at its end, end this process."""
    threading.Thread(target=_hold, name="live-lifeline", daemon=True).start()


def _hold() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    # Who read the standard output is gone with it, and a last word must not fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # To the main thread: it waits, and a signal that another thread is given may not wake it.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
