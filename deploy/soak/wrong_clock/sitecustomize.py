"""Read by Python itself before anything else where this folder stands on PYTHONPATH: a process whose clock is wrong by
LOTSE_SOAK_CLOCK seconds, everywhere Python tells the time.

libfaketime would move librdkafka's clock, too, but not what it waits with (C11's cnd_timedwait): +2 h became a wait of two
hours, which no real clock causes."""

import os
from datetime import UTC, datetime, timedelta

import time_machine

time_machine.travel(datetime.now(UTC) + timedelta(seconds=float(os.environ["LOTSE_SOAK_CLOCK"])), tick=True).start()
