"""A node's folders, and a daemon that gives the answers it was told to give, over a real control socket."""

import json
import os
import selectors
import threading

import pytest

from ast3ctl.cli import main
from ast3d.common.admission import Admission
from ast3d.common.control import ControlServer
from ast3d.common.layout import Layout

MANIFEST = {
    "task": "kb13475_0030-5f2a00000001",
    "telescope": "ast3-1",
    "name": "kb%2013475_0030.fits",
    "attempt": 2,
    "night": "2026-06-21",
    "seconds": 12.34,
    "published": "2026-06-21T03:14:15.926Z",
    "stages": [{"name": "read", "seconds": 0.512, "figures": {}}, {"name": "subtract", "seconds": 10.2, "figures": {}}],
    "figures": {"stars": 1234, "transients": 2, "zero_point": 21.123456},
    "notes": ["gain assumed 1"],
    "versions": {"ast3": "0.1.0"},
    "files": {"catalog.fits": {"sha256": "x", "bytes": 3_000_000}, "transients.ecsv": {"sha256": "y", "bytes": 400_000}},
}
WHY = {
    "task": "torn-0123456789ab",
    "telescope": "ast3-1",
    "name": "torn.fits",
    "state": "DISCARDED",
    "reason": "failed 2 times",
    "blame": "frame",
    "discarded": "2026-06-21T04:00:00.000Z",
    "size": 2880,
    "attempts": [
        {"attempt": 1, "reason": "not a FITS image", "blame": "frame", "seconds": 0.2, "tail": "Traceback\n\x1b[31mboom\n"},
        {"attempt": 2, "reason": "no space", "blame": "environment", "seconds": 61, "tail": ""},
    ],
}
STATUS = {
    "state": "READY",
    "reasons": [],
    "pid": 4711,
    "tasks": {"ready": 0, "running": 1, "done": 12, "discarded": 1},
    "protect": {"pid": None, "state": "absent"},
    "uptime_seconds": 11_525.0,
    "version": "0.1.0",
}
RUNNING = {
    "task": "kb13475_0031-5f2a00000002",
    "telescope": "ast3-1",
    "name": "kb13475_0031.fits",
    "state": "RUNNING",
    "attempt": 1,
    "size": 8_000_000,
    "seconds": 4.2,
    "reason": "subtract",
}


class Daemon:
    """`answers[verb]` is a result, or an Exception whose text refuses; `asked` is what was asked."""

    def __init__(self, layout):
        self.answers = {"status": STATUS, "tasks": [RUNNING], "resume": {}}
        self.asked = []
        self._server = ControlServer(layout.control_socket, Admission(os.geteuid(), None, None), self._handle)
        self._selector = selectors.DefaultSelector()
        self._server.register(self._selector)
        self._reader, self._writer = os.pipe()
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        os.close(self._writer)
        self._thread.join(10)
        os.close(self._reader)
        self._selector.close()

    def _handle(self, request):
        self.asked.append((request.verb, request.args))
        answer = self.answers[request.verb]
        if isinstance(answer, Exception):
            request.refuse(str(answer))
        else:
            request.reply(answer)

    def _run(self):
        while True:
            for key, mask in self._selector.select(5):
                if key.data is None:
                    self._server.close()
                    return
                key.data(mask)


@pytest.fixture
def layout(tmp_path):
    layout = Layout.under(tmp_path)
    layout.make()
    return layout


@pytest.fixture
def daemon(layout):
    daemon = Daemon(layout)
    yield daemon
    daemon.close()


@pytest.fixture
def finished(layout):
    """One published and one quarantined frame."""
    products = layout.products / "ast3-1" / MANIFEST["night"] / MANIFEST["task"]
    products.mkdir(parents=True)
    (products / "manifest.json").write_text(json.dumps(MANIFEST))
    raw = layout.archive / "ast3-1" / MANIFEST["night"] / f"{MANIFEST['task']}.fits"
    raw.parent.mkdir(parents=True)
    raw.touch()
    quarantine = layout.quarantine / "ast3-1" / WHY["task"]
    quarantine.mkdir(parents=True)
    (quarantine / "why.json").write_text(json.dumps(WHY))
    return layout


@pytest.fixture
def ctl(layout, capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def run(*argv, root=layout.run.parent):
        try:
            code = main(["--root", str(root), *argv])
        except SystemExit as leaving:
            code = leaving.code
        out, err = capsys.readouterr()
        assert err.count("\n") <= 1
        assert (err + out).replace("\n", "").isprintable()
        return code, out, err

    return run
