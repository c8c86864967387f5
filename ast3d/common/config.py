"""The configuration: one strict YAML file, or the built-in defaults.

`load` accepts a file only if every key is known and every value allowed; otherwise `ConfigError`, one line
with file, line, key, what was found and what is allowed.  `load_lenient` is for the start: it always gives a
usable configuration, and says in words what it had to ignore.
"""

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

from ast3d.common.cluster_schema import ClusterNode
from ast3d.common.rules import NAME, Rule, found
from ast3d.common.schema import Config, Telescope, settings_of
from ast3d.common.strict_yaml import MAX_BYTES, ConfigError, Mapping, Node, Scalar, parse

__all__ = ["Config", "ConfigError", "load", "load_lenient"]

GroupT = TypeVar("GroupT")

MAX_TELESCOPES = 64
MAX_NODES = 16
MAX_COMPLAINTS = 20


def load(path: Path) -> Config:
    """The configuration in `path`; `ConfigError` unless all of it is known and allowed."""
    complaints: list[str] = []
    config = _read(path, complaints)
    if complaints:
        raise ConfigError(complaints[0])
    return config


def load_lenient(path: Path) -> tuple[Config, list[str]]:
    """What can be used of `path`, and what is wrong with it, one line each.

    A key that nobody knows is ignored; a file that is wrong in any other way gives the built-in defaults.
    """
    complaints: list[str] = []
    try:
        return _read(path, complaints), complaints
    except ConfigError as error:
        return Config(), [f"{error}; the built-in defaults are in force"]


def _read(path: Path, complaints: list[str]) -> Config:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(MAX_BYTES + 1) or b""  # without waiting, should the name mean a FIFO
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        unknown: list[str] = []
        config = _config(parse(data), unknown)
    except ConfigError as error:
        raise ConfigError(f"{path}:{error}") from error
    complaints += [f"{path}:{line}" for line in unknown[:MAX_COMPLAINTS]]
    if len(unknown) > MAX_COMPLAINTS:
        complaints.append(f"{path}: {len(unknown) - MAX_COMPLAINTS} more unknown keys")
    return config


def _config(root: Node, unknown: list[str]) -> Config:
    groups = {f.name: f for f in fields(Config)}
    values: dict[str, Any] = {}
    file = _mapping(root, "the file")
    for key, node in file.items.items():
        if key not in groups:
            unknown.append(_unknown(file.lines[key], key, groups))
        elif key == "telescopes":
            values[key] = _named(Telescope, node, key, unknown, 1, MAX_TELESCOPES)
        elif key == "nodes":
            values[key] = _named(ClusterNode, node, key, unknown, 0, MAX_NODES)
        else:
            values[key] = _group(groups[key].default_factory, node, key, unknown)  # type: ignore[arg-type]
    config = Config(**values)
    _check_together(config, root)
    return config


def _mapping(node: Node, key: str) -> Mapping:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{node.line}: {key}: found {found(node)}, allowed: keys and values")
    return node


def _unknown(line: int, key: str, known: Iterable[str]) -> str:
    *parents, name = key.split(".")
    near = difflib.get_close_matches(name, known, 1)
    allowed = f"{'.'.join([*parents, near[0]])}?" if near else "allowed: " + " ".join(known)
    return f"{line}: {ascii(key)[1:-1]}: not a known key; {allowed}"


def _named(
    kind: Callable[..., GroupT], node: Node, key: str, unknown: list[str], least: int, most: int
) -> dict[str, GroupT]:
    """A group for each of some names, in the order of the file."""
    pairs = _mapping(node, key).items
    if not least <= len(pairs) <= most:
        raise ConfigError(f"{node.line}: {key}: found {len(pairs)}, allowed: {least} to {most}")
    groups = {}
    for name, item in pairs.items():
        _take(NAME, Scalar(name, item.line), key)
        groups[name] = _group(kind, item, f"{key}.{name}", unknown)
    return groups


def _group(kind: Callable[..., GroupT], node: Node, key: str, unknown: list[str]) -> GroupT:
    settings = settings_of(kind)
    values: dict[str, Any] = {}
    mapping = _mapping(node, key)
    for name, item in mapping.items.items():
        if name not in settings:
            unknown.append(_unknown(mapping.lines[name], f"{key}.{name}", settings))
        else:
            values[name] = _take(settings[name].rule, item, f"{key}.{name}")
    return kind(**values)


def _take(rule: Rule, node: Node, key: str) -> Any:
    try:
        return rule.take(node)
    except ValueError as error:
        raise ConfigError(f"{node.line}: {key}: found {found(node)}, allowed: {error}") from None


def _check_together(config: Config, root: Node) -> None:
    """What no key can say alone."""
    worker = config.worker
    if worker.hard_seconds <= worker.soft_seconds:
        allowed = f"more than soft_seconds ({worker.soft_seconds:g})"
        _refuse(root, "worker.hard_seconds", f"{worker.hard_seconds:g}", allowed)
    if worker.backoff_limit_seconds < worker.backoff_seconds:
        allowed = f"not less than backoff_seconds ({worker.backoff_seconds:g})"
        _refuse(root, "worker.backoff_limit_seconds", f"{worker.backoff_limit_seconds:g}", allowed)
    folders = config.paths.as_dict()
    for inner, outer in permutations(folders, 2):
        if PurePosixPath(folders[inner]).is_relative_to(folders[outer]):
            _refuse(root, f"paths.{inner}", folders[inner], f"a folder outside paths.{outer} ({folders[outer]})")
    _check_known(config, root)
    if config.ha.node is not None:
        _check_cluster(config, root)


def _check_known(config: Config, root: Node) -> None:
    """Of what is known of telescopes and site: what is of no use, or means nothing, without the rest."""
    for name, telescope in config.telescopes.items():
        if telescope.calibration is not None and telescope.instrument is None:
            _refuse(root, f"telescopes.{name}.calibration", telescope.calibration, "null where instrument is null")
    where = {key: getattr(config.site, key) for key in ("longitude", "latitude", "height")}
    missing = [key for key, value in where.items() if value is None]
    if 0 < len(missing) < len(where):
        _refuse(root, f"site.{missing[0]}", "null", "a number, as longitude, latitude and height are known together")


def _check_cluster(config: Config, root: Node) -> None:
    """Of a node among others: who is who."""
    allowed = f"one of nodes: {', '.join(config.nodes) or 'there are none'}"
    if config.ha.node not in config.nodes:
        _refuse(root, "ha.node", str(config.ha.node), allowed)
    for name, telescope in config.telescopes.items():
        if telescope.node not in config.nodes:
            _refuse(root, f"telescopes.{name}.node", str(telescope.node), allowed)
    if not config.ha.etcd:
        _refuse(root, "ha.etcd", "none", "at least one member, such as 'http://10.0.0.1:2379'")
    if bool(config.ha.etcd_cert) != bool(config.ha.etcd_key):
        _refuse(root, "ha.etcd_cert", str(config.ha.etcd_cert), "a certificate and a key, or neither")
    if config.ha.mode == "redundant" and not any(node.spare for node in config.nodes.values()):
        _refuse(root, "ha.mode", "redundant", "a node with `spare: true`, or mode cyclic")


def _refuse(root: Node, key: str, what: str, allowed: str) -> NoReturn:
    """The line is the key's own, or the nearest that the file has: the other key may be a default."""
    line = 1
    node: Node | None = root
    for name in key.split("."):
        node = node.items.get(name) if isinstance(node, Mapping) else None
        line = node.line if node else line
    raise ConfigError(f"{line}: {key}: found {what}, allowed: {allowed}")
