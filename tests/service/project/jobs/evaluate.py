"""Leaves scores and a picture."""
import zlib

from jobs.stage import leave, mark, store


def scores(value: float) -> dict[str, object]:
    one = {"accuracy": value, "balanced_accuracy": value - 0.01}
    return {"c": 1.0, "val": one, "test": one, "fixed_c": one}


def white_png() -> bytes:
    """One white pixel."""
    chunks = [(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), (b"IDAT", zlib.compress(b"\0\xff")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )


if __name__ == "__main__":
    mark("evaluate")
    store("pictures/confusion.png", white_png())
    leave("evaluate", {"scores": {"trained": scores(0.9), "random": scores(0.5)}, "protocol": {"dataset": "tiny"}})
