"""The store on etcd's HTTP gateway (3.4 and later), through etcd3gw.

A call goes to the member that answered last, and to the next one where that has no answer within 0.9 s; it never takes
longer than until `deadline`.  A txn that may have been sent is not sent again: done twice, it would seem to have failed.
Every failure is one line that names the members asked, and what to do about it; it is one of `ha.store`'s errors.
"""

import base64
import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

from ast3d.common.clock import boottime
from ha import etcd_errors as errors
from ha.store import Entry, StoreRefusedError, StoreUnreachableError

CALL_SECONDS = 0.9  # to connect; and for each silence of the answer
LEAST_SECONDS = 0.05  # with less left, nobody is asked any more
_API = "/v3/"  # since 3.4; the client would ask the member, at each start and without a time-out

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Members:
    """Where etcd is, and as whom it is spoken with."""

    endpoints: tuple[str, ...]
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None
    prefix: str = "ast3"

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Members":
        """From the agent's message: the keys are the fields."""
        return cls(**{**told, "endpoints": tuple(told["endpoints"])})


class _Member:
    """One endpoint and its connections."""

    def __init__(self, url: str, about: Members) -> None:
        parts = urlsplit(url)
        self.name = parts.netloc
        self.client = Etcd3Client(
            parts.hostname or "", parts.port or 2379, parts.scheme, ca_cert=about.ca, cert_cert=about.cert,
            cert_key=about.key, api_path=_API,
        )  # fmt: skip
        self.client.session.trust_env = False  # proxies, .netrc, and REQUESTS_CA_BUNDLE, which would replace our CA

    def post(self, path: str, payload: Json, seconds: float, token: str) -> Json:
        """The answer; what goes wrong is one of `errors.RAISED`."""
        self.client.timeout = seconds
        headers = {"Authorization": token} if token else {}
        answer: Json = self.client.post(self.client.get_url(path), json=payload, headers=headers)
        return answer


class EtcdStore:
    """A `Store` for one thread.  `deadline` (boottime) is when the calls that follow have an end, whatever happens."""

    def __init__(self, about: Members) -> None:
        self.about = about
        self.deadline = math.inf
        self.member = ""
        self._members = deque(_Member(url, about) for url in about.endpoints)
        self._token: str | None = None if about.user else ""  # None: log in first

    def grant(self, seconds: int) -> int:
        """A new lease."""
        return self._call("/lease/grant", {"TTL": seconds, "ID": 0}, lambda answer: int(answer["ID"]))

    def renew(self, lease: int) -> bool:
        """False where etcd answers with no time left, or none."""
        return self._call("/lease/keepalive", {"ID": lease}, lambda answer: int(answer["result"].get("TTL", 0)) > 0)

    def txn(self, expect: Mapping[str, int], put: Mapping[str, str], delete: Sequence[str] = (), lease: int = 0) -> bool:
        """The comparison is of mod_revisions, which a key that does not exist has as 0."""
        compare = [
            {"key": self._key(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
            for key, revision in expect.items()
        ]
        puts = [{"request_put": {"key": self._key(key), "value": _b64(value), "lease": lease}} for key, value in put.items()]
        deletes = [{"request_delete_range": {"key": self._key(key)}} for key in delete]
        payload = {"compare": compare, "success": puts + deletes, "failure": []}

        def succeeded(answer: Json) -> bool:
            return bool(answer["header"]["revision"]) and answer.get("succeeded") is True  # false is left out

        return self._call("/kv/txn", payload, succeeded, repeatable=False, lease=lease)

    def read(self) -> dict[str, Entry]:
        """Linearizable: by the quorum, not by what one member happens to have."""
        begin, end = f"/{self.about.prefix}/", f"/{self.about.prefix}0"  # '0' comes after '/'

        def entries(answer: Json) -> dict[str, Entry]:
            found = {}
            for pair in answer.get("kvs", []) if answer["header"]["revision"] else []:
                key = _text(pair["key"]).removeprefix(begin)
                found[key] = Entry(_text(pair.get("value", "")), int(pair["mod_revision"]), int(pair.get("lease", 0)))
            return found

        return self._call("/kv/range", {"key": _b64(begin), "range_end": _b64(end)}, entries)

    def _key(self, key: str) -> str:
        return _b64(f"/{self.about.prefix}/{key}")

    def _call(self, path: str, payload: Json, parse: Callable[[Json], T], *, repeatable: bool = True, lease: int = 0) -> T:
        """Ask one member after the other until one answers; the one that did is asked first the next time."""
        failures: list[errors.Failure] = []
        for _ in range(len(self._members)):
            member = self._members[0]
            try:
                result = self._ask(member, path, payload, parse, lease)
            except errors.Failure as failed:
                failures.append(failed)
                member.client.session.close()  # a new connection next time, with certificates as they are then
                self._members.rotate(-1)
                if failed.late or (failed.sent and not repeatable):
                    break
            else:
                self.member = member.name
                return result
        tried = [f"{failure.member} {failure}" for failure in failures]
        line = "etcd: " + "; ".join(tried)
        for failure in failures:
            if failure.refused:
                raise StoreRefusedError(line, failure.member)
        raise StoreUnreachableError(line, tried)

    def _ask(self, member: _Member, path: str, payload: Json, parse: Callable[[Json], T], lease: int) -> T:
        """One member's answer, logged in again where it asks for that."""
        try:
            return self._post(member, path, payload, parse, lease)
        except errors.TokenError:
            self._token = None
        try:
            return self._post(member, path, payload, parse, lease)
        except errors.TokenError as error:
            line = f"etcd: {member.name} does not take the login that it gave: {error}"
            raise StoreRefusedError(line, member.name) from error

    def _post(self, member: _Member, path: str, payload: Json, parse: Callable[[Json], T], lease: int) -> T:
        if self._token is None:
            self._token = self._login(member)
        try:
            answer = member.post(path, payload, self._patience(member), self._token)
            if "error" in answer:  # of a stream, such as that of renewals, it comes with status 200
                raise Etcd3Exception(json.dumps(answer["error"]))
            return parse(answer)
        except errors.RAISED as error:
            raise errors.explain(error, member.name, self.about, lease) from error

    def _login(self, member: _Member) -> str:
        """The token to send; empty where etcd has no users yet, and so asks nobody who he is."""
        user, file = self.about.user, self.about.password_file
        try:
            password = Path(file or "").read_text(encoding="utf-8").split("\n")[0]
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is no text"
            raise StoreRefusedError(f"the password of etcd's user {user} cannot be read: {file}: {reason}") from error
        try:
            payload = {"name": user, "password": password}
            return str(member.post("/auth/authenticate", payload, self._patience(member), "")["token"])
        except errors.RAISED as error:
            if errors.says(error, "authentication is not enabled"):
                return ""
            raise errors.explain(error, member.name, self.about, 0) from error

    def _patience(self, member: _Member) -> float:
        left = self.deadline - boottime()
        if left < LEAST_SECONDS:
            raise errors.Failure(member.name, "was not asked: no time was left", late=True)
        return min(CALL_SECONDS, left)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


def _text(data: str) -> str:
    """Of keys and values; what is no text, and so not ours, is readable all the same."""
    return base64.b64decode(data).decode("utf-8", "replace")
