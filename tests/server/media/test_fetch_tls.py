"""Media is fetched over TLS, and a host that breaks it is an error of the URL."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import FetchError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.fetch import Fetcher
from llava_interleave_serve.server.media.requester import Requester

pytestmark = pytest.mark.anyio
DAMAGED_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)  # application data that no key decrypts
Serve = Callable[[ssl.SSLSocket], None]


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of 127.0.0.1 with its key, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    own = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        own.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return file


@contextlib.contextmanager
def _serving(context: ssl.SSLContext, serve: Serve) -> Iterator[int]:
    """The port of a host that takes one connection."""

    def run() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as accepted:
            accepted.settimeout(10)
            with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as connection:
                try:
                    connection.do_handshake()
                except ssl.SSLError:  # the alert is sent
                    _send_and_wait(connection)
                else:
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    return context


async def _fetch(port: int) -> bytes:
    limits = Limits()
    fetcher = Fetcher(limits, Access(allowed_hosts=frozenset({"127.0.0.1"})), Admission(limits))
    try:
        async with fetcher.fetch(f"https://127.0.0.1:{port}/a.png", Requester()) as data:
            return data
    finally:
        await fetcher.aclose()


def _respond(connection: ssl.SSLSocket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")


def _damage_headers(connection: ssl.SSLSocket) -> None:
    connection.recv(4096)
    _send_and_wait(connection, DAMAGED_RECORD)


def _damage_body(connection: ssl.SSLSocket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
    _send_and_wait(connection, DAMAGED_RECORD)


def _send_and_wait(connection: ssl.SSLSocket, data: bytes = b"") -> None:
    """Sends data below TLS, and waits until the other side has read everything and left; a reset would come first."""
    with socket.socket(fileno=connection.detach()) as plain:
        plain.settimeout(10)
        plain.sendall(data)
        while plain.recv(4096):
            pass


async def test_a_file_is_fetched_over_tls(certificate: Path) -> None:
    with _serving(_server_context(certificate), _respond) as port:
        assert await _fetch(port) == b"abc"


async def test_a_host_that_wants_a_certificate_of_its_clients_is_an_error_of_the_url(certificate: Path) -> None:
    context = _server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    with _serving(context, _respond) as port, pytest.raises(FetchError, match="cannot be reached") as refusal:
        await _fetch(port)
    assert refusal.value.param == "url"


@pytest.mark.parametrize("serve", [_damage_headers, _damage_body])
async def test_a_damaged_record_of_tls_is_an_error_of_the_url(certificate: Path, serve: Serve) -> None:
    with (
        _serving(_server_context(certificate), serve) as port,
        pytest.raises(FetchError, match="cannot be reached") as refusal,
    ):
        await _fetch(port)
    assert refusal.value.param == "url"
