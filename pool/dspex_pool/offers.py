"""What a client offers when it greets the server: functions, language models, secrets, tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from dspex_protocol.limits import PROTOCOL, VERSION

from .client_functions import HostFunction


class Offer(TypedDict, total=False):
    """The keywords of `Client.start`, `Client.connect` and `Client.hello`; each may be left out, or be None.

    Attributes:
        functions: Host functions by name.
        lms: Language models by name, which go with this client; docs/protocol.md section 7.3.
        secrets: Values that they refer to.
        notes: Which NOTEs are wanted.
        tenant: On whose behalf calls are made that name nobody; by default the connection's own.
        tenants: Weights by tenant, 1 to 100.
    """

    functions: Mapping[str, HostFunction] | None
    lms: Mapping[str, object] | None
    secrets: Mapping[str, str] | None
    notes: Sequence[str] | None
    tenant: str | None
    tenants: Mapping[str, int] | None


def hello_payload(offer: Offer) -> dict[str, object]:
    """The payload of `system.hello`: of functions only their names go over the wire."""
    return {
        "protocol": PROTOCOL,
        "versions": [VERSION],
        "client": "dspex-python/1",
        "functions": sorted(offer.get("functions") or {}),
        "lms": dict(offer.get("lms") or {}),
        "secrets": dict(offer.get("secrets") or {}),
        "notes": list(offer.get("notes") or ()),
        "tenant": offer.get("tenant"),
        "tenants": dict(offer.get("tenants") or {}),
    }
