"""The processes that prepare batches and clips."""

import signal


def stay(_worker: int) -> None:
    """End with the process that asked for the data, not before it.

    A cluster or a terminal signals the whole group of processes. What is under way is then
    finished or given up by the one that asked, which needs its data for the first.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
