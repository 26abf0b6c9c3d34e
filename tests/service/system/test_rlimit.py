"""The limit of open files is raised to what the connections need, within the hard limit."""

from __future__ import annotations

import resource

from service.system.rlimit import raise_open_files_limit


def test_the_limit_is_raised_for_connections_but_never_beyond_the_hard_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))

        raise_open_files_limit(200)

        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200 + 256
        raise_open_files_limit(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200 + 256
        raise_open_files_limit(1 << 40)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
