"""A process that starts a Ray cluster for two workers, says where it is, and ends it when its input ends."""

from __future__ import annotations

import sys

from service.batch.ray.pool import Pool, PoolConfig


def main() -> None:
    with Pool(PoolConfig(workers=2)) as pool:
        print(pool.address, pool.folder, flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
