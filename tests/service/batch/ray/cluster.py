"""Start a Ray cluster for two workers, print its address and folder, and stop it when standard input ends."""

from __future__ import annotations

import sys

from service.batch.ray.pool import Pool, PoolConfig


def main() -> None:
    with Pool(PoolConfig(workers=2)) as pool:
        print(pool.address, pool.folder, flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
