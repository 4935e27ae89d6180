"""The command `pcam`, and pcam run as a module: python -m pcam_features extract …"""

from __future__ import annotations

import os
import signal
import threading

STOPPED = b"\nstopped; run the same command again\n"


def main() -> None:
    """Run the command line. Ctrl-C ends it at once while its modules are still being imported."""

    def stop(number: int, frame: object) -> None:
        os.write(2, STOPPED)
        os._exit(128 + number)

    in_charge = threading.current_thread() is threading.main_thread()
    if in_charge:
        signal.signal(signal.SIGINT, stop)  # `cli.failures` has its own while a command runs
    from .cli.main import main as run

    try:
        run()
    finally:
        if in_charge:  # Python takes a moment to end, and what is done cannot be stopped
            signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
