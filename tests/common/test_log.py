import gc
import logging
import os
import re
import resource
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ast3d.common.log import MAX_LINE_BYTES, adopt_libraries, open_log
from ast3d.common.logline import LEVELS, LogLine, parse, render

TIME = "2026-06-21T03:14:15.926Z"
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
words = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path / "ast3d.log", "INFO", "ast3d")
    yield log
    log.close()


def lines(folder, name="ast3d.log"):
    return (folder / name).read_text(encoding="utf-8").splitlines()


class TestLine:
    def test_the_format_is_the_agreed_one(self):
        fields = {"frame": "kb13475_0030-5f2a", "seconds": 12.3}
        line = render(TIME, "INFO", "ast3d", "task.done", fields)
        assert line == "2026-06-21T03:14:15.926Z INFO ast3d task.done frame=kb13475_0030-5f2a seconds=12.3"

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("a b", '"a b"'),
            ("", '""'),
            ('say "x"', r'"say \"x\""'),
            ("a=b", "a=b"),
            ("a\nb\x1b[31m\x00", r'"a\nb\u001b[31m\u0000"'),
            ("\u202eevil\x85\u2028", r'"\u202eevil\u0085\u2028"'),
            ("\udcff", r'"\udcff"'),
            ("größe", "größe"),
            (None, "null"),
            (True, "true"),
            (3, "3"),
            (0.1 + 0.2, "0.3"),
            (1234567.891, "1234567.891"),
            (0.000123456, "0.000123"),
            (float("nan"), "nan"),
            (Path("/a b"), r'"\"/a b\""'),
            (["a", 1], r'"[\"a\", 1]"'),
        ],
    )
    def test_values(self, value, shown):
        assert render(TIME, "INFO", "ast3d", "e", {"k": value}) == f"{TIME} INFO ast3d e k={shown}"

    @given(st.sampled_from(LEVELS), words, words, st.dictionaries(words, any_text, max_size=4))
    @example("INFO", "ast3d", "e", {"k": "\\"})
    @example("INFO", "ast3d", "e", {"k": "x=y"})
    def test_whatever_is_logged_is_one_printable_line_and_comes_back(self, level, daemon, event, fields):
        line = render(TIME, level, daemon, event, fields)
        assert line.isprintable()
        line.encode("utf-8")
        assert parse(line) == LogLine(TIME, level, daemon, event, fields)

    @given(any_text, any_text, any_text)
    def test_no_name_breaks_the_line(self, daemon, event, key):
        assert parse(render(TIME, "INFO", daemon, event, {key: "v"})).level == "INFO"

    @given(any_text)
    @example(f"{TIME} INFO ast3d e k=")
    @example(f'{TIME} INFO ast3d e k="')
    @example(f'{TIME} INFO ast3d e k="\\u12"')
    def test_a_foreign_line_is_none_or_a_line(self, text):
        assert parse(text) is None or isinstance(parse(text), LogLine)


class TestLog:
    def test_an_event_is_a_line(self, log, tmp_path):
        log.info("task.done", frame="f", seconds=12.3)
        [line] = lines(tmp_path)
        assert re.fullmatch(r"\S+Z INFO ast3d task\.done frame=f seconds=12\.3", line)

    def test_four_levels_and_a_threshold_that_moves(self, log, tmp_path):
        bound = log.bind(task="t")
        for level in ("DEBUG", "INFO", "ERROR", "FATAL"):
            log.set_level(level)
            for say in (bound.debug, bound.info, bound.error, bound.fatal):
                say(level)
        shown = [(parse(line).event, parse(line).level) for line in lines(tmp_path)]
        assert shown == [(event, level) for i, event in enumerate(LEVELS) for level in LEVELS[i:]]
        assert parse(lines(tmp_path)[0]).fields == {"task": "t"}

    def test_fields_may_have_any_name(self, log, tmp_path):
        log.info("e", event="x", level="y", fields=1, self="z")
        assert parse(lines(tmp_path)[0]).fields == {"event": "x", "level": "y", "fields": "1", "self": "z"}

    def test_a_line_is_bounded(self, log, tmp_path):
        log.info("e", text="x" * 100_000)
        log.info("next")
        long, after = lines(tmp_path)
        assert len(long) < MAX_LINE_BYTES
        assert long.endswith("(cut)")
        assert parse(after).event == "next"

    def test_a_renamed_or_removed_file_is_made_anew(self, log, tmp_path):
        log.info("one")
        (tmp_path / "ast3d.log").rename(tmp_path / "ast3d.log.1")
        log.info("two")
        (tmp_path / "ast3d.log").unlink()
        log.info("three")
        assert [parse(x).event for x in lines(tmp_path, "ast3d.log.1")] == ["one"]
        assert [parse(x).event for x in lines(tmp_path)] == ["three"]
        assert len(list(Path("/proc/self/fd").iterdir())) < 200

    def test_lines_that_could_not_be_written_are_counted_and_said(self, tmp_path):
        log = open_log(tmp_path / "none" / "ast3d.log", "INFO", "ast3d")
        log.info("lost")
        log.info("lost")
        (tmp_path / "none").mkdir()
        log.info("kept")
        dropped, kept = [parse(x) for x in lines(tmp_path / "none")]
        assert (dropped.level, dropped.event) == ("ERROR", "log.dropped")
        assert dropped.fields == {"lines": "2", "reason": "No such file or directory"}
        assert kept.event == "kept"
        log.info("more")
        assert len(lines(tmp_path / "none")) == 3

    def test_a_full_disk_tears_one_line_and_no_other(self, log, tmp_path):
        log.info("one")
        size = (tmp_path / "ast3d.log").stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
            log.info("torn")
            log.info("lost")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        log.info("after")
        one, torn, dropped, after = lines(tmp_path)
        assert parse(torn) is None
        assert [parse(x).event for x in (one, dropped, after)] == ["one", "log.dropped", "after"]
        assert parse(dropped).fields["lines"] == "2"

    def test_a_fifo_in_its_place_hangs_nobody(self, tmp_path):
        os.mkfifo(tmp_path / "ast3d.log")
        log = open_log(tmp_path / "ast3d.log", "INFO", "ast3d")
        log.info("lost")
        (tmp_path / "ast3d.log").unlink()
        log.info("kept")
        assert parse(lines(tmp_path)[0]).event == "log.dropped"
        log.close()

    def test_two_daemons_share_a_file(self, tmp_path):
        logs = [open_log(tmp_path / "ast3d.log", "INFO", name) for name in ("ast3d", "protectd")]
        for i in range(10):
            logs[i % 2].info("e", i=i)
        assert [parse(x).fields["i"] for x in lines(tmp_path)] == [str(i) for i in range(10)]
        for log in logs:
            log.close()


class TestStderr:
    @contextmanager
    def pipe(self, tmp_path):
        reader, writer = os.pipe()
        saved = os.dup(2)
        os.dup2(writer, 2)
        os.close(writer)
        log = open_log(tmp_path / "ast3d.log", "INFO", "ast3d", stderr=True)
        try:
            yield reader, log
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            log.close()

    def test_shows_the_same_lines(self, tmp_path):
        with self.pipe(tmp_path) as (reader, log):
            log.info("e", k="v")
            assert os.read(reader, 1000).decode().splitlines() == lines(tmp_path)
            os.close(reader)

    def test_a_pipe_that_nobody_reads_blocks_nothing(self, tmp_path):
        with self.pipe(tmp_path) as (reader, log):
            for _ in range(200):
                log.info("e", text="x" * 1000)
            assert len(lines(tmp_path)) == 200
            os.close(reader)

    def test_a_pipe_without_a_reader_ends_nothing(self, tmp_path):
        with self.pipe(tmp_path) as (reader, log):
            os.close(reader)
            log.info("one")
            log.info("two")
            assert len(lines(tmp_path)) == 2


def test_libraries_are_heard_in_four_levels(log, tmp_path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        adopt_libraries(log)
        library = logging.getLogger("lib")
        library.info("chatter")
        library.warning("half %s", "broken")
        library.error("args %d", "wrong")
        library.critical("dead")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)
        gc.collect()
    shown = [parse(line) for line in lines(tmp_path)]
    assert [(s.level, s.event) for s in shown] == [
        ("ERROR", "library"),
        ("ERROR", "library"),
        ("FATAL", "library"),
        ("ERROR", "library"),
    ]
    assert shown[0].fields == {"name": "lib", "text": "half broken"}
    assert shown[1].fields["text"] == "args %d"
    assert "DeprecationWarning: old" in shown[3].fields["text"]
