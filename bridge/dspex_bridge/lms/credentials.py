"""Which settings say on whose account a request goes, and which say where: never a program's business.

Providers name them in many ways, so names are compared without case and punctuation, and by
parts: `X-Api-Key`, `azure_openai_api_key` and `apiKey` are all keys. Rather is a harmless setting
refused than a key stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

_OF_ACCOUNTS: Final = re.compile(
    "apikey|secret|passw|credential|authoriz|privatekey|accesskey|subscriptionkey|bearer|cookie|header"
    "|connectionstring|clientid|tenantid|accountid|^auth$|^key$|(token|keyid|signature|sas)$"
    "|^(aws|azure|vertex|watsonx|databricks|sagemaker|bedrock|oci|gcp)"
)
_OF_ADDRESSES: Final = re.compile(
    "baseurl|apibase|endpoint|prox(y|ies)"
    "|^(organization|project|url|host|hostname|username|apiversion|apitype|modellist|customllmprovider"
    "|extrabody|extraquery|sslverify)$"
)
_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]")


def _plain(name: str) -> str:
    return _NOT_LETTERS.sub("", name.lower())


def names_account_or_address(name: str) -> bool:
    """Whether a setting of that name says on whose account requests go, or where to."""
    plain = _plain(name)
    return _OF_ACCOUNTS.search(plain) is not None or _OF_ADDRESSES.search(plain) is not None


def secrets_in(settings: object, *, is_secret: bool = False) -> Iterator[str]:
    """The texts among an LM's settings that no message may quote.

    Args:
        settings: A value of the wire, such as an LM's `options`.
        is_secret: All texts in it are, since it stands under a name that says so.
    """
    if isinstance(settings, str):
        yield from _secrets_in_text(settings, is_secret=is_secret)
    elif isinstance(settings, dict):
        for name, value in settings.items():
            secret = is_secret or _OF_ACCOUNTS.search(_plain(str(name))) is not None
            yield from secrets_in(value, is_secret=secret)
    elif isinstance(settings, list):
        for value in settings:
            yield from secrets_in(value, is_secret=is_secret)


def _secrets_in_text(text: str, *, is_secret: bool) -> Iterator[str]:
    if "://" in text:
        yield from _user_of(text)
    if not is_secret:
        return
    yield text
    _, _, rest = text.partition(" ")  # as in "Bearer …": a message may quote the rest alone
    if rest:
        yield rest
    if text.startswith("{"):  # a service account's key, as JSON
        try:
            yield from secrets_in(json.loads(text))
        except (ValueError, RecursionError):
            return


def _user_of(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
        yield from (part for part in (parts.username, parts.password) if part)
    except ValueError:
        return
