"""A process may open as many files as its connections need, within what the system allows."""

from __future__ import annotations

import resource

from service.system.rlimit import raise_open_files_limit


def test_room_is_made_for_connections_but_never_beyond_what_the_system_allows() -> None:
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
