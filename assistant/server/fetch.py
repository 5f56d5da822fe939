"""Fetches images from addresses, of the hosts that the operator named alone, and never from inside a network.

Every address that a name resolves to must be public, and the connection goes to the address that was checked: a name
that resolves otherwise a moment later changes nothing. Redirects are checked the same. It decodes nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from assistant.server.asked import Unsupported

NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")
"""The one part of IPv6 that is given out for hosts on the internet; forms that hold an IPv4 address lie elsewhere."""
REDIRECTS = (301, 302, 303, 307, 308)
Resolve = Callable[[str, int], Sequence[str]]


def addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name; raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Fetcher:
    """Fetches from the named hosts; ".example.org" names example.org and all under it."""

    hosts: tuple[str, ...] = ()
    most_bytes: int = 64 * 2**20
    seconds: float = 20.0
    """Of one image, its redirects included."""
    redirects: int = 3
    resolve: Resolve = addresses
    transport: httpx.BaseTransport | None = None
    """How bytes are sent; None: over the network."""

    def fetch(self, url: str) -> bytes:
        """Return what stands at an https address; raises Unsupported."""
        until = time.monotonic() + self.seconds
        # No proxy and no credentials of the environment: neither would the check of the address hold.
        with httpx.Client(transport=self.transport, trust_env=False, follow_redirects=False) as client:
            for _ in range(self.redirects + 1):
                try:
                    address = self._checked(url)
                    body, onward = self._get(client, url, address, until)
                    if onward is None:
                        return body
                    url = urljoin(url, onward)
                except Unsupported:
                    raise
                except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as fault:
                    raise _refused(url, f"cannot be fetched ({type(fault).__name__})") from fault
        raise _refused(url, f"is reached over more than {self.redirects} redirects")

    def _checked(self, url: str) -> str:
        """Return the one address to connect to."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        if parts.scheme != "https" or parts.username is not None:
            raise _refused(url, "is no plain https address")
        if not any(host == name or (name.startswith(".") and (host.endswith(name) or host == name[1:]))
                   for name in map(str.lower, self.hosts)):
            raise _refused(url, f"is of a host that is not allowed (allowed: {', '.join(self.hosts) or 'none'})")
        try:
            found = list(self.resolve(host, parts.port or 443))
        except (OSError, ValueError) as fault:
            raise _refused(url, "is of a host that is not found") from fault
        if not found or not all(map(_public, found)):
            raise _refused(url, "is of a host inside a network")
        return found[0]

    def _get(self, client: httpx.Client, url: str, address: str, until: float) -> tuple[bytes, str | None]:
        """Return the body, or where it is to be had instead."""
        parts = urlsplit(url)
        # The name goes into SNI, the certificate's check and the Host header; the connection to the address.
        target = httpx.URL(url).copy_with(host=address)
        request = client.build_request("GET", target, headers={"Host": parts.netloc, "Accept": "image/*, */*"},
                                       extensions={"sni_hostname": parts.hostname},
                                       timeout=max(0.1, until - time.monotonic()))
        reply = client.send(request, stream=True)
        try:
            if reply.status_code in REDIRECTS:
                return b"", reply.headers.get("location", "")
            if reply.status_code != 200:
                raise _refused(url, f"was answered with status {reply.status_code}")
            body = b""
            for part in reply.iter_bytes():
                body += part
                if len(body) > self.most_bytes or time.monotonic() > until:
                    raise _refused(url, f"is larger than {self.most_bytes} bytes or slower than {self.seconds} s")
            return body, None
        finally:
            reply.close()


def _public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    every: list[ipaddress.IPv4Address | ipaddress.IPv6Address | None] = [found]
    if isinstance(found, ipaddress.IPv6Address):  # an address of the other kind may stand in it
        if found not in UNICAST and found not in NAT64:
            return False
        every += [found.sixtofour, *(found.teredo or ())]
        every += [ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)] if found in NAT64 else []
    return all(ip.is_global and not ip.is_multicast for ip in every if ip is not None)


def _refused(url: str, why: str) -> Unsupported:
    shown = "that address"
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        shown = f"{parts.scheme[:12]}://{(parts.hostname or '')[:80]}/..."  # a query may hold a secret
    return Unsupported("messages", f"The image at {shown} {why}. Send it as a data URL, or ask who runs the server.")
