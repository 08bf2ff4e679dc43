"""A thread that counts, started in init.

Between invocations the environment is frozen: the thread stands still, and goes on at the next.
The event's `ticks` is for how many counts the handler waits.
"""

import threading
import time

count = 0


def work():
    global count
    while True:
        count += 1
        time.sleep(0.001)


threading.Thread(target=work, daemon=True).start()


def handler(event, context):
    began = count
    while count < began + event.get("ticks", 10):
        time.sleep(0.001)
    return {"began": began, "ended": count}
