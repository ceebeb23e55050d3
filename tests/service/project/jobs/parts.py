"""Leaves its mark, and three seconds later ends."""
import time

from jobs.stage import mark

if __name__ == "__main__":
    mark("parts")
    time.sleep(3)
