"""What went wrong between this node and a member of etcd, in words, and what to do about it."""

import contextlib
import json
import ssl
from collections.abc import Iterator
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from etcd3gw.exceptions import ConnectionTimeoutError, Etcd3Exception

from ast3d.common.clock import utc_now
from ha.store import LeaseGoneError, StoreError, StoreFullError, StoreRefusedError

if TYPE_CHECKING:
    from ha.etcd import Members

_UNLIKE_ETCD = (KeyError, TypeError, AttributeError)  # where its answer is taken apart
RAISED = (Etcd3Exception, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError, *_UNLIKE_ETCD)

_UNAUTHENTICATED, _PERMISSION, _INVALID = 16, 7, 3  # gRPC's numbers
_NEVER_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError, ssl.SSLCertVerificationError)


class Failure(Exception):  # noqa: N818  it is not raised to anybody outside
    """One member did not do it; another may."""

    def __init__(self, member: str, reason: str, *, sent: bool = False, refused: bool = False, late: bool = False) -> None:
        super().__init__(reason)
        self.member = member
        self.sent = sent  # it may have been done all the same
        self.refused = refused  # and somebody must put that right
        self.late = late  # there is no time to ask others


class TokenError(Exception):
    """The login has expired, or is not one any more."""


def says(error: BaseException, what: str) -> bool:
    """Whether etcd's answer contains these words."""
    return what in str(_said(error).get("message", ""))


def explain(error: BaseException, member: str, about: "Members", lease: int) -> StoreError | Failure | TokenError:
    """What to raise for what a call raised."""
    said = _said(error)
    if said:
        return _of_etcd(said, member, about, lease)
    chain = list(_chain(error))
    sent = not any(isinstance(link, _NEVER_SENT) for link in chain)
    for link in chain:
        if isinstance(link, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return Failure(member, _of_closing(about), sent=sent, refused=True)
        if isinstance(link, ssl.SSLError):
            return Failure(member, _of_tls(link, about), sent=sent, refused=True)
    plain = f"http://{member}" in about.endpoints
    if any(isinstance(link, ConnectionResetError | BrokenPipeError | RemoteDisconnected) for link in chain):
        return Failure(member, "closed the connection; does it speak TLS?" if plain else _of_closing(about), sent=sent)
    return Failure(member, _of_network(error, chain), sent=sent)


def _of_etcd(said: dict[str, Any], member: str, about: "Members", lease: int) -> StoreError | Failure | TokenError:
    """Of what etcd itself answered."""
    code, message = said.get("code"), " ".join(str(said["message"]).split())
    where = f"etcd: {member} refuses: "
    if "space exceeded" in message or "NOSPACE" in message:
        return StoreFullError(member)
    if "requested lease not found" in message:
        return LeaseGoneError(lease)
    empty = "user name is empty" in message
    if code == _UNAUTHENTICATED or "auth store is old" in message or "revision in header is old" in message:
        return TokenError(message)
    if empty and about.user:
        return TokenError(message)
    if empty:
        return StoreRefusedError(f"{where}it asks for a user; set ha.etcd_user and ha.etcd_password_file", member)
    if "authentication failed" in message:
        return StoreRefusedError(f"{where}user {about.user} or the password in {about.password_file} is wrong", member)
    if code == _PERMISSION:
        reason = f"user {about.user} may not read and write below /{about.prefix}/; grant its role readwrite there"
        return StoreRefusedError(where + reason, member)
    if "CommonName" in message:
        return StoreRefusedError(f"{where}{about.cert} has a CN, which its gateway does not take; make one without", member)
    return Failure(member, f"answers: {message}", sent=True, refused=code == _INVALID)


def _of_tls(error: ssl.SSLError, about: "Members") -> str:
    """Who does not believe whom, and why."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = str(getattr(error, "verify_message", error))
        if "expired" in reason or "not yet valid" in reason:
            return f"has a certificate that is not valid now ({reason}): renew it, or set this node's clock"
        return f"has a certificate that {about.ca or 'this system'} does not vouch for ({reason}): see ha.etcd_ca"
    reason = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
    if "alert" in reason and about.cert:
        return f"does not take this node's certificate: {_expired(about.cert) or f'{about.cert} ({reason})'}"
    if "alert" in reason:
        return f"asks for a certificate ({reason}): set ha.etcd_cert and ha.etcd_key"
    if "wrong version" in reason or "http request" in reason:
        return "does not speak TLS: its URL begins with http://"
    return f"cannot be spoken with: {reason}"


def _of_closing(about: "Members") -> str:
    """Of TLS that ended without a word: what it was closed for is often lost on the way."""
    if about.cert is None:
        return "closed the connection; is it https, and does it ask for a certificate (ha.etcd_cert, ha.etcd_key)?"
    ours = _expired(about.cert) or about.cert
    return f"closed the connection; is it https, and does it take this node's certificate? {ours}"


def _of_network(error: BaseException, chain: list[BaseException]) -> str:
    last = chain[-1]
    if isinstance(error, ConnectionTimeoutError) or any(isinstance(link, TimeoutError) for link in chain):
        return "has no answer within 0.9 s"
    if isinstance(last, ConnectionRefusedError):
        return "refuses the connection: no etcd listens there"
    if isinstance(last, OSError) and last.strerror:
        return f"cannot be reached: {last.strerror}"
    if isinstance(error, OSError) and "TLS" in str(error):  # requests, of a file that is not there
        return f"cannot be spoken with: {error}; see ha.etcd_ca, ha.etcd_cert and ha.etcd_key"
    about_it = (error.detail_text if isinstance(error, Etcd3Exception) else "") or str(error) or type(error).__name__
    return f"answers as no etcd does: {' '.join(about_it.split())[:200]}"


def _said(error: BaseException) -> dict[str, Any]:
    """Etcd's own words, where it is etcd that failed: {"code", "message"}."""
    if not isinstance(error, Etcd3Exception):
        return {}
    if "CommonName" in (error.detail_text or ""):  # that one is plain text
        return {"message": error.detail_text}
    try:
        said = json.loads(error.detail_text or "")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    message = said.get("message") or said.get("error")
    return {"code": said.get("code", said.get("grpc_code")), "message": message} if message else {}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised of, down to the first cause; urllib3 hides some among its arguments."""
    yield error
    for cause in dict.fromkeys((error.__cause__ or error.__context__, *error.args[:1])):
        if isinstance(cause, BaseException):
            yield from _chain(cause)


def _expired(cert: str) -> str:
    """A line, where this node's certificate is past its end."""
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)  # Python has no other
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if decode is not None and ssl.cert_time_to_seconds(decode(cert)["notAfter"]) < utc_now().timestamp():
            return f"{cert} expired on {decode(cert)['notAfter']}; make a new one"
    return ""
