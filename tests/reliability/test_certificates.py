"""Encrypted connections: clients with a valid certificate lose nothing, others are refused."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from cifar10net.config import Access
from tests.commands import run
from tests.reliability.callers import (
    Caller,
    Newcomer,
    PatientCaller,
    Status,
    ThreadCaller,
    all_go_on,
    at_work,
    until,
)
from tests.service.raw_client import Wire
from tests.service.security.authority import EXPIRED, Authority, Identity, replace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

BROKEN_OFF = "connection broken off"
REST_S = 0.01  # between a caller's calls, where all wait for a server to look at its files


@dataclass
class Files:
    """The files of a server and of its valid clients."""

    folder: Path
    authority: Authority

    def __post_init__(self) -> None:
        replace(self.folder / "ca.crt", self.authority.pem)
        replace(self.folder / "crl", self.authority.revoke())
        self.new_server()

    @property
    def tls(self) -> tuple[object, ...]:
        """Options of a server that lets everybody in who encrypts."""
        return "--tls-cert", self.folder / "server.crt", "--tls-key", self.folder / "server.key"

    @property
    def mutual_tls(self) -> tuple[object, ...]:
        """Options of one that wants its clients' certificates."""
        return *self.tls, "--tls-client-ca", self.folder / "ca.crt", "--tls-crl", self.folder / "crl"

    def new_server(self) -> Identity:
        """Write another certificate for the server."""
        identity = self.authority.server()
        identity.write(self.folder, "server")
        return identity

    def access(self, identity: Identity | None = None, name: str = "client") -> Access:
        """Trust the authority, and show a certificate."""
        if identity is None:
            return Access(ca=self.folder / "ca.crt")
        cert, key = identity.write(self.folder, name)
        return Access(ca=self.folder / "ca.crt", cert=cert, key=key)

    def context(self, access: Access | None = None) -> ssl.SSLContext:
        """Make the same for a raw connection."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        context.set_alpn_protocols(["h2"])
        if access is not None and access.cert is not None and access.key is not None:
            context.load_cert_chain(access.cert, access.key)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Files(folder, Authority())


def connect(server: Server, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect by TLS, and wait until the server has said its first word or ended it."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def serial_number(server: Server, files: Files) -> int:
    """Find out which certificate the server shows."""
    with connect(server, files.context()) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def reasons(server: Server) -> list[str]:
    """Read why connections were ended, as far as the log says so: the first of a kind within a second."""
    return [line["reason"] for line in server.events(BROKEN_OFF)]


@pytest.mark.parametrize("workers", [1, 2])
def test_all_clients_are_answered_over_mutual_tls(
    start: Start, files: Files, pictures: Pictures, account: Account, workers: int
) -> None:
    access = files.access(files.authority.client())
    server = start(*files.mutual_tls, "--workers", workers, access=access)

    async def main() -> None:
        callers = [
            Caller(server.address, pictures, account, images=n, access=access) for n in (1, 1, 64, 2_000)
        ]
        patient = PatientCaller(server.address, pictures, account, images=500, access=access)
        newcomers = [Newcomer(server.address, pictures, account, access) for _ in range(2)]
        threads = ThreadCaller(server.address, pictures, account, access)
        async with at_work(*callers, patient, *newcomers):
            over = asyncio.Event()
            asking = asyncio.create_task(asyncio.to_thread(threads.ask_until, over))
            await all_go_on(*callers, patient, *newcomers, threads, calls=5)
            over.set()
            await asking

    asyncio.run(main())

    options = ("--server", server.address, "--tls-ca", access.ca, "--tls-cert", access.cert)
    for command in ("health", "models"):
        done = run(command, *options, "--tls-key", access.key)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert not server.events(BROKEN_OFF)
    assert server.stop() == 0
    assert {line["connections"] for line in server.events("worker ended")} <= {0}


async def _cannot_connect(server: Server, pictures: Pictures, account: Account, access: Access) -> None:
    unavailable = {Status.UNAVAILABLE}
    async with Caller(server.address, pictures, account, may_see=unavailable, access=access) as caller:
        assert await caller.ask() is Status.UNAVAILABLE


async def _cannot_connect_until(
    reason: str, server: Server, pictures: Pictures, account: Account, access: Access
) -> None:
    """Try until the log says why not, at least once; of a kind, it says so once a second."""
    while True:
        await _cannot_connect(server, pictures, account, access)
        if any(reason in each for each in reasons(server)):
            return
        await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_clients_without_a_good_certificate_get_nowhere_and_leave_nothing(
    start: Start, files: Files, pictures: Pictures, account: Account, workers: int
) -> None:
    good = files.access(files.authority.client())
    revoked = files.authority.client()
    replace(files.folder / "crl", files.authority.revoke(revoked))
    bad = {
        "presented no certificate": files.access(),
        "certificate has expired": files.access(files.authority.client(lifetime=EXPIRED), "expired"),
        "certificate revoked": files.access(revoked, "revoked"),
        "unable to get local issuer certificate": files.access(Authority("other").client(), "stranger"),
        "unsuitable certificate purpose": files.access(files.authority.server(), "server-as-client"),
        "does not speak TLS": Access(),
        "hung up within the handshake": Access(ca=replace(files.folder / "other.crt", Authority("x").pem)),
    }
    limit = 6 * workers  # fewer than are turned away
    server = start(*files.mutual_tls, "--workers", workers, "--max-connections", limit, access=good)

    async def main() -> None:
        async with Caller(server.address, pictures, account, access=good) as caller:
            assert await caller.ask() is Status.OK
            for reason, access in bad.items():
                for _ in range(2 * workers):
                    await _cannot_connect_until(reason, server, pictures, account, access)
            assert await caller.ask() is Status.OK
        # All of them are counted out again: there is room for as many good ones as before.
        newcomers = [Newcomer(server.address, pictures, account, good) for _ in range(2)]
        async with at_work(*newcomers):
            await all_go_on(*newcomers)

    asyncio.run(main())

    assert server.stop() == 0
    assert {line["connections"] for line in server.events("worker ended")} <= {0}


def test_tls_on_a_plain_port_is_distinguished_from_damage(start: Start, files: Files) -> None:
    server = start()

    with pytest.raises(ssl.SSLError):
        connect(server, files.context())

    asyncio.run(until(lambda: reasons(server), "a line"))
    assert reasons(server) == ["it speaks TLS, and this port does not"]


def test_half_open_handshakes_are_bounded_and_their_places_freed(
    start: Start, files: Files, pictures: Pictures, account: Account
) -> None:
    server = start(*files.tls, "--max-connections", 3, access=files.access())
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of one

    async def main() -> None:
        access, unavailable = files.access(), {Status.UNAVAILABLE}
        with contextlib.ExitStack() as stack:
            seen = [Status.OK] * 3
            while (
                seen[-3:] != [Status.UNAVAILABLE] * 3
            ):  # at first, connections of the start are still closing
                half = socket.create_connection(("127.0.0.1", server.port))
                stack.enter_context(half)
                half.sendall(hello)
                async with Caller(
                    server.address, pictures, account, may_see=unavailable, access=access
                ) as caller:
                    seen.append(await caller.ask())
        async with Caller(server.address, pictures, account, may_see=unavailable, access=access) as caller:
            while await caller.ask() is not Status.OK:
                await asyncio.sleep(0.01)

    asyncio.run(main())

    assert server.events("connection turned away")[0]["status"] == "TOO_MANY"
    assert server.events(BROKEN_OFF)[0]["reason"].startswith("it hung up within the handshake")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_certificates_are_exchanged_under_load_and_nothing_is_lost(
    start: Start, files: Files, pictures: Pictures, account: Account, workers: int
) -> None:
    access = files.access(files.authority.client())
    server = start(*files.mutual_tls, "--workers", workers, access=access)
    shown = set()

    async def main() -> None:
        newcomers = [Newcomer(server.address, pictures, account, access) for _ in range(3)]
        callers = [Caller(server.address, pictures, account, images=8, access=access) for _ in range(3)]
        async with at_work(*newcomers, *callers, rest_s=REST_S):
            for _ in range(2):
                new = files.new_server().certificate.serial_number
                loads = len(server.events("new certificates in force"))
                await until(
                    lambda loads=loads: len(server.events("new certificates in force")) >= loads + workers,  # type: ignore[misc]
                    "new certificates in every worker",
                )
                shown.add(await asyncio.to_thread(_serial_of, server, files, access))
                assert new in shown
                await all_go_on(*newcomers, *callers)

    asyncio.run(main())

    assert len(shown) == 2


def _serial_of(server: Server, files: Files, access: Access) -> int:
    with connect(server, files.context(access)) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.slow
def test_a_broken_certificate_leaves_the_old_one_in_force_and_is_logged_once(
    start: Start, files: Files
) -> None:
    server = start(*files.tls, access=files.access())
    before = _serial_of(server, files, files.access())
    cert = files.folder / "server.crt"
    good = cert.read_bytes()

    async def main() -> None:
        replace(cert, files.authority.server().cert_pem)  # of another key
        await until(lambda: server.events("new certificates not taken, the old ones stay in force"), "a line")
        assert _serial_of(server, files, files.access()) == before
        replace(cert, good)
        await until(lambda: server.events("new certificates in force"), "the good one")

    asyncio.run(main())

    [line] = server.events("new certificates not taken, the old ones stay in force")
    assert line["reason"].startswith(f"the key in {files.folder / 'server.key'} does not match")
    assert _serial_of(server, files, files.access()) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_has_certificates_read_at_once(start: Start, files: Files, workers: int) -> None:
    server = start(*files.tls, "--workers", workers, access=files.access())

    server._running().send_signal(signal.SIGHUP)

    async def main() -> None:
        await until(lambda: len(server.events("new certificates in force")) == workers, "reading them")

    asyncio.run(main())
    assert server.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_whose_certificate_is_revoked_has_to_go_and_the_others_lose_nothing(
    start: Start, files: Files, pictures: Pictures, account: Account, workers: int
) -> None:
    good = files.access(files.authority.client("good"), "good")
    bad_identity = files.authority.client("bad")
    bad = files.access(bad_identity, "bad")
    server = start(*files.mutual_tls, "--workers", workers, access=good)

    async def main() -> None:
        callers = [Caller(server.address, pictures, account, access=good, repeats=True) for _ in range(4)]
        fallen = Caller(server.address, pictures, account, access=bad, may_see={Status.UNAVAILABLE})
        async with at_work(*callers, fallen, rest_s=REST_S):
            await all_go_on(*callers, fallen)
            replace(files.folder / "crl", files.authority.revoke(bad_identity))
            await until(lambda: fallen.seen[Status.UNAVAILABLE], "the end of the revoked one")
            answered = fallen.answers
            await all_go_on(*callers, calls=10)
            assert fallen.answers == answered

    asyncio.run(main())

    assert any("certificate revoked" in reason for reason in reasons(server))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda files: (files.folder / "server.key").unlink(), "server.key cannot be read: No such file"),
        (
            lambda files: replace(files.folder / "server.key", files.authority.client().key_pem),
            "does not match the certificate",
        ),
        (lambda files: replace(files.folder / "ca.crt", b"junk"), "cannot be read as PEM"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_files_do_not_fit_does_not_start_and_says_so_in_a_sentence(
    models: Path, files: Files, change: Any, problem: str, workers: int
) -> None:
    change(files)

    done = run("serve", "--port", 0, "--models", models, "--workers", workers, *files.mutual_tls)

    assert (done.returncode, done.stdout) == (1, "")
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert problem in error
    assert "Traceback" not in done.stderr


def test_options_of_tls_that_make_no_sense_are_refused(models: Path, files: Files) -> None:
    for options, problem in (
        (files.tls[:2], "TLS needs both --tls-cert and --tls-key"),
        (("--tls-client-ca", files.folder / "ca.crt"), "TLS needs both --tls-cert and --tls-key"),
        ((*files.tls, "--tls-crl", files.folder / "crl"), "needs the authorities that sign them"),
    ):
        done = run("serve", "--port", 0, "--models", models, *options)
        assert done.returncode == 2
        assert problem in done.stderr


def test_grpc_clients_learn_nothing_before_they_have_shown_themselves(start: Start, files: Files) -> None:
    access = files.access(files.authority.client())
    server = start(*files.mutual_tls, access=access)

    with Wire(server.address) as wire:
        assert wire.read_to_end() == []
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=0.5)
