"""The second witness: one node asks another, past etcd, whether it is able to work.

A question and its answer are a line each, signed with a key that all nodes share.  What is signed says who speaks to whom
and repeats the question's nonce, so that none of these is taken for an answer: one with any byte changed, another node's,
an earlier one, the question itself, anything by who has not the key.  Whatever comes, the functions raise `WitnessError` at
most, one line for people.

    {"mac": "<HMAC-SHA256, hexadecimal>", "said": "{...}"}      the signature is of the kind of line and the text of `said`
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MAX_LINE_BYTES = 4096
LEAST_KEY_BYTES = 32
MOST_KEY_BYTES = 4096
MOST_REASON_CHARACTERS = 200
MOST_NAME_CHARACTERS = 64
NONCE_BYTES = 16

Kind = Literal["question", "answer"]


class WitnessError(Exception):
    """The line is not what it should be."""


class KeyFileError(Exception):
    """The key cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Standing:
    """What a node says of itself: whether it is able to work, else why not; the telescopes that it works for now."""

    able: bool
    reason: str = ""
    works: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """As its asker keeps it, to judge the answer by."""

    asker: str
    asked: str
    nonce: str
    line: bytes


def read_key(path: Path) -> bytes:
    """What all nodes know and nobody else: the file's bytes, as they are."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"the nodes' key cannot be read: {path}: {error.strerror}; see ha.key_file") from error
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise KeyFileError(f"the nodes' key is not a regular file: {path}; see ha.key_file")
        if about.st_mode & stat.S_IRWXO:
            raise KeyFileError(f"others may open the nodes' key: chmod o= {path}, and make a new key")
        key = os.read(fd, MOST_KEY_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"the nodes' key cannot be read: {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        size = f"{len(key)} bytes" if len(key) <= MOST_KEY_BYTES else "more"
        raise KeyFileError(
            f"the nodes' key must have {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes, {path} has {size}:"
            f" `openssl rand -hex 32` makes one"
        )
    return key


def ask(key: bytes, asker: str, asked: str, nonce: Callable[[int], str] = secrets.token_hex) -> Question:
    """A new question."""
    drawn = nonce(NONCE_BYTES)
    return Question(asker, asked, drawn, _seal(key, "question", {"from": asker, "to": asked, "nonce": drawn}))


def understand(key: bytes, me: str, line: bytes) -> Question:
    """The question in a line that came to `me`."""
    said = _open(key, "question", line)
    asker, asked, nonce = said.get("from"), said.get("to"), said.get("nonce")
    if not (isinstance(asker, str) and len(asker) <= MOST_NAME_CHARACTERS
            and isinstance(nonce, str) and len(nonce) == 2 * NONCE_BYTES):  # fmt: skip
        raise WitnessError("a question without who asks, or without its nonce: another version of ast3")
    if asked != me:
        raise WitnessError(f"a question to {_shown(asked)}, and this is {me}: see the addresses in nodes")
    if asker == me:
        raise WitnessError(f"a question from {me}, which is this node: two nodes have one name (ha.node), or it came back")
    return Question(asker, me, nonce, line)


def answer(key: bytes, question: Question, standing: Standing) -> bytes:
    """The line that answers; of a long reason, or hundreds of telescopes, as much as a line holds."""
    reason = " ".join(standing.reason.split())[:MOST_REASON_CHARACTERS]
    works = list(standing.works)
    while True:
        said = {"from": question.asked, "to": question.asker, "nonce": question.nonce,
                "able": standing.able, "reason": reason, "works": works}  # fmt: skip
        line = _seal(key, "answer", said)
        if len(line) <= MAX_LINE_BYTES:
            return line
        if reason:
            reason = reason[: len(reason) // 2]
        else:
            works = works[: len(works) * 3 // 4]


def judge(key: bytes, question: Question, line: bytes) -> Standing:
    """What the node that was asked says in answer to this very question."""
    said = _open(key, "answer", line)
    if (said.get("from"), said.get("to")) != (question.asked, question.asker):
        raise WitnessError(
            f"an answer from {_shown(said.get('from'))} to {_shown(said.get('to'))}: see the addresses in nodes"
        )
    if not hmac.compare_digest(str(said.get("nonce")).encode(), question.nonce.encode()):
        raise WitnessError("an answer to another question")
    able, reason, works = said.get("able"), said.get("reason"), said.get("works")
    if not (isinstance(able, bool) and isinstance(reason, str) and isinstance(works, list)):
        raise WitnessError("an answer that does not say whether the node is able: another version of ast3")
    return Standing(able, reason, tuple(name for name in works if isinstance(name, str)))


def _seal(key: bytes, kind: Kind, said: dict[str, Any]) -> bytes:
    return _line(key, kind, json.dumps(said, separators=(",", ":")))


def _line(key: bytes, kind: Kind, text: str) -> bytes:
    signed = f"ast3 witness 1 {kind}\n{text}".encode("utf-8", "surrogatepass")
    mac = hmac.new(key, signed, hashlib.sha256).hexdigest()
    return json.dumps({"mac": mac, "said": text}, separators=(",", ":")).encode("ascii") + b"\n"


def _open(key: bytes, kind: Kind, line: bytes) -> dict[str, Any]:
    """What is said in a line that is, byte for byte, the one that who has the key would have made of it."""
    if len(line) > MAX_LINE_BYTES:
        raise WitnessError(f"more than {MAX_LINE_BYTES} bytes")
    text = ""
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
        text = json.loads(line)["said"]
    if not isinstance(text, str) or not hmac.compare_digest(_line(key, kind, text), line):
        raise WitnessError(
            f"not signed with this node's key as {'an' if kind == 'answer' else 'a'} {kind}: see ha.key_file on both nodes"
        )
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise WitnessError("signed, and not understood: another version of ast3")
    return said


def _shown(name: object) -> str:
    return f"{name!s:.40}".encode("ascii", "backslashreplace").decode("ascii")
