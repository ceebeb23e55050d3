"""Prints one line, as the worker of a Ray job would."""
from jobs.stage import CONFIG, mark

if __name__ == "__main__":
    mark("prepare")
    print("(Worker pid=12, ip=10.0.0.1) prepare: 10/10 shapes, 5 shapes/s, 0 s left", flush=True)
    if CONFIG["name"] == "broken":
        raise ValueError("data.source: /nowhere holds no classes; name the folder that holds one folder a class")
