"""The command `ast3-ha`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ast3d.common.about import VERSION
from ast3d.common.config import Config, load_lenient
from ast3d.common.daemonize import daemonize
from ast3d.common.files import one_line
from ast3d.common.layout import Place, locate
from ast3d.common.log import adopt_libraries, open_log
from ast3d.common.run import make_run
from ha.daemon import Daemon
from ha.witness import KeyFileError, read_key
from ha.witness_server import AddressError
from protectd.lock import AlreadyRunningError, Lock

DESCRIPTION = """\
See with the other nodes that every telescope has a computer: when a node dies, another works for its telescope.

It tells this node's ast3d which telescopes to work for.  Should it end, own work goes on and another's stops within
seconds.  It needs `ha.node` and `nodes` in the configuration, an etcd, and a key that all nodes share; docs/failover.md
says how these are made.  Without --foreground it goes to the background.  SIGTERM ends it, SIGHUP has it read its
configuration; another name, address, key or `lease_seconds` of this node needs a restart.
"""
EPILOG = """\
examples:
  ast3-ha --foreground                 a site, from systemd
  ast3-ha --root /data/ast3            the node below one folder, beside `ast3d --root /data/ast3`
  ast3ctl --root /data/ast3 ha status  how the cluster is
"""


def main(argv: Sequence[str] | None = None) -> int:
    """-> 0 done, 1 it could not run, 2 the call is wrong."""
    parser = argparse.ArgumentParser(
        prog="ast3-ha", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", metavar="DIR", help="the node below DIR, as for ast3d")
    parser.add_argument("--config", metavar="F", help="the site's configuration (default: /etc/ast3/ast3d.yaml)")
    parser.add_argument("--foreground", action="store_true", help="stay here and write the log to stderr too")
    parser.add_argument("--version", action="version", version=f"ast3-ha {VERSION}")
    options = parser.parse_args(argv)
    if options.config and not Path(options.config).is_file():
        print(f"ast3-ha: {options.config} is not a file; --config names the site's configuration", file=sys.stderr)
        return 2
    place = locate(options.root, options.config)
    config, complaints = load_lenient(place.config_file)
    if config.ha.node is None:
        why = complaints[0] if complaints else f"ha.node is null in {place.config_file}"
        print(f"ast3-ha: {why}; a node of a cluster needs `ha.node` and `nodes`, see conf/cyclic.yaml", file=sys.stderr)
        return 2
    try:
        read_key(Path(config.ha.key_file))
    except KeyFileError as error:
        print(f"ast3-ha: {error}", file=sys.stderr)
        return 2
    loaded = config, complaints
    if options.foreground:
        return _serve(place, loaded, _say_wrong, foreground=True)
    return daemonize("ast3-ha", lambda report: _serve(place, loaded, report, foreground=False))


def _serve(place: Place, loaded: tuple[Config, list[str]], report: Callable[[str], None], *, foreground: bool) -> int:
    """Be the one ast3-ha.  Reports an empty line when ready, or what was wrong."""
    config, complaints = loaded
    with suppress(OSError):  # without it work goes on, and the log says what it lost when it can
        place.layout.log.mkdir(parents=True, exist_ok=True)
    log = open_log(place.layout.log / "ast3-ha.log", config.roulog.level, "ast3-ha", stderr=foreground)
    adopt_libraries(log)
    for complaint in complaints:
        log.error("config.problem", reason=complaint)
    try:
        make_run(place.layout.run)
        place.layout.state.mkdir(parents=True, exist_ok=True)
        lock = Lock(place.layout.run / "ast3-ha.lock", "ast3-ha")
        daemon = Daemon(place, config, log)
    except (AlreadyRunningError, KeyFileError, AddressError) as error:
        log.fatal("daemon.not-started", reason=str(error))
        report(str(error))
        return 1
    except OSError as error:
        log.fatal("daemon.not-started", reason=one_line(error))
        report(f"{one_line(error)}; give a --root that can be written")
        return 1
    status = daemon.run(lambda: report(""))
    del lock
    return status


def _say_wrong(line: str) -> None:
    if line:
        print(f"ast3-ha: {line}", file=sys.stderr)
