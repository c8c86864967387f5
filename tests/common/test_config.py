import dataclasses
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ast3d.common import schema
from ast3d.common.config import Config, ConfigError, load, load_lenient
from ast3d.common.rules import Either, Number
from ast3d.common.strict_yaml import MAX_BYTES, parse
from photometry.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = ROOT / "conf" / "ast3d.yaml"

OTHER = b"""\
telescopes:
  ast3-2: {template: 't.fits', instrument: lowell42, calibration: june}
  "no": {template: null}
site: {longitude: 77, latitude: -80.37, height: 4093, catalog: stars.fits}
pool: {settle_seconds: 2.25, ignore: ["*.x", '*.y']}
worker:
  slots: 12
  soft_seconds: 1000
  hard_seconds: 12000
pipeline:
  command:
    - process
    - "{frame}"
    - "--out={out}"
roulog: {level: DEBUG}
photometry: {gain: 1.25e+1, aperture_radii_pixels: [1, 22.5]}
...
"""


def groups():
    yield "telescopes.*", schema.Telescope
    for group in dataclasses.fields(Config):
        if group.name not in ("telescopes", "nodes"):
            yield group.name, group.default_factory


def keys():
    for name, group in groups():
        for key, setting in schema.settings_of(group).items():
            yield pytest.param(group, key, setting, id=f"{name}.{key}")


@pytest.fixture
def write(tmp_path):
    def write(text, end="...\n"):
        path = tmp_path / "ast3d.yaml"
        path.write_bytes((text if isinstance(text, bytes) else text.encode()) + end.encode())
        return path

    return write


def load_or_none(path):
    try:
        return load(path)
    except ConfigError:
        return None


class TestDocumentedDefault:
    def test_is_the_built_in_default(self):
        assert load(DOCUMENTED) == Config()

    @pytest.mark.parametrize(("group", "key", "setting"), list(keys()))
    def test_says_everything_of_each_key(self, group, key, setting):
        text = DOCUMENTED.read_text(encoding="utf-8")
        heading = f"\n# {group.__doc__}\n" if group is not schema.Telescope else "\ntelescopes:\n"
        part = text.split(heading)[1]
        comment = re.search(rf"((?: *#.*\n)+) +{key}: .*\n", part)[1]
        words = " ".join(comment.replace("#", " ").split())
        assert setting.doc[1:] in words
        assert setting.rule.allowed in words
        assert f"[{setting.by}]" in words
        assert setting.unit in words

    def test_is_short_enough_to_read_over_a_slow_line(self):
        assert DOCUMENTED.stat().st_size < 13312


class TestLoad:
    def test_reads_what_is_said_and_defaults_for_the_rest(self, write):
        config = load(write(OTHER, end=""))
        assert config.telescopes == {"ast3-2": schema.Telescope("t.fits", "lowell42", "june"), "no": schema.Telescope()}
        assert config.site == schema.Site(77.0, -80.37, 4093.0, "stars.fits")
        assert config.worker.slots == 12
        assert config.worker.attempts == 3
        assert config.pipeline.command == ("process", "{frame}", "--out={out}")
        assert config.photometry.gain == 12.5
        assert config.pool.ignore == ("*.x", "*.y")

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("worker:\n  attempts: 0\n", 2, "worker.attempts: found 0, allowed: a whole number from 1 to 100"),
            ("worker:\n  attempts: 2.5\n", 2, "found 2.5, allowed: a whole number"),
            ("worker:\n  attempts: true\n", 2, "found true, allowed: a whole number"),
            ("worker:\n  attempts: '3'\n", 2, "found '3', allowed: a whole number"),
            ("worker:\n  attempts: null\n", 2, "found null"),
            ("worker:\n  attempts:\n", 2, "found nothing"),
            ("worker:\n  attempts: [1]\n", 2, "found [1]"),
            ("worker:\n  silence_secods: 3\n", 2, "worker.silence_secods: not a known key; worker.silence_seconds?"),
            ("workers:\n  attempts: 3\n", 1, "workers: not a known key; worker?"),
            ("worker: {attempts: 1}\npool: {}\nworker: {}\n", 3, "the key 'worker' a second time"),
            ("worker:\n  attempts: 1\n  attempts: 1\n", 3, "the key 'attempts' a second time"),
            ("worker: 3\n", 1, "worker: found 3, allowed: keys and values"),
            ("worker: no\n", 1, "found no"),
            ("roulog: {level: off}\n", 1, "found off"),
            ("control: {group: Yes}\n", 1, "found Yes"),
            ("control: {group: y}\n", 1, "found y"),
            ("pool:\n  settle_seconds: 12:30:45\n", 2, "found 12:30:45"),
            ("pool:\n  settle_seconds: 010\n", 2, "found 010"),
            ("pool:\n  settle_seconds: 0x10\n", 2, "found 0x10"),
            ("pool:\n  settle_seconds: 0o10\n", 2, "found 0o10"),
            ("pool:\n  settle_seconds: 1_0\n", 2, "found 1_0"),
            ("pool:\n  settle_seconds: +1\n", 2, "found +1"),
            ("pool:\n  settle_seconds: .5\n", 2, "found .5"),
            ("pool:\n  settle_seconds: .inf\n", 2, "found .inf"),
            ("pool:\n  settle_seconds: .nan\n", 2, "found .nan"),
            ("pool:\n  settle_seconds: 1e999\n", 2, "allowed: a number from"),
            ("control: {group: 2026-06-21}\n", 1, "found 2026-06-21"),
            ("no: 1\n", 1, "found no"),
            ("1: 1\n", 1, "a key that is not a word"),
            ("[a]: 1\n", 1, "a key that is not a word"),
            ("telescopes: {}\n", 1, "telescopes: found 0, allowed: 1 to 64"),
            ("telescopes: {../x: {}}\n", 1, "found '../x'"),
            ("telescopes: {.tmp: {}}\n", 1, "found '.tmp'"),
            ("telescopes:\n  a: {template: ../x}\n", 2, "telescopes.a.template: found '../x'"),
            ("telescopes:\n  a: {template: '..'}\n", 2, "telescopes.a.template: found '..'"),
            (
                "telescopes:\n  a: {instrument: ../x.yaml}\n",
                2,
                "telescopes.a.instrument: found '../x.yaml', allowed: null, or a",
            ),
            ("telescopes:\n  a: {instrument: x.yml}\n", 2, "or a name of conf/instruments such as ast3, or a file name"),
            ("telescopes:\n  a: {instrument: .yaml}\n", 2, "telescopes.a.instrument: found '.yaml'"),
            ("telescopes:\n  a: {calibration: a/b}\n", 2, "telescopes.a.calibration: found 'a/b'"),
            (
                "telescopes:\n  a:\n    calibration: june\n",
                3,
                "telescopes.a.calibration: found june, allowed: null where instrument is null",
            ),
            ("site: {catalog: ../stars.fits}\n", 1, "site.catalog: found '../stars.fits', allowed: null, or the path of a"),
            ("site: {catalog: /data/}\n", 1, "site.catalog: found '/data/'"),
            ("site: {catalog: ''}\n", 1, "site.catalog: found ''"),
            ("site:\n  latitude: -91\n", 2, "site.latitude: found -91, allowed: null, or a number from -90 to 90"),
            (
                "site:\n  longitude: 77\n  height: null\n  latitude: -80\n",
                3,
                "site.height: found null, allowed: a number, as longitude, latitude and height are known together",
            ),
            ("nodes:\n  A: {address: '10.0.0.1'}\n", 2, "nodes.A.address: found '10.0.0.1', allowed: an address and a port"),
            ("ha: {node: A}\n", 1, "ha.node: found A, allowed: one of nodes: there are none"),
            (
                "nodes:\n  A: {address: 'a:1'}\nha: {node: A}\n",
                1,
                "telescopes.ast3-1.node: found None, allowed: one of nodes: A",
            ),
            (
                "telescopes: {t: {node: A}}\nnodes: {A: {address: 'a:1'}}\nha:\n  node: A\n",
                4,
                "ha.etcd: found none, allowed: at least one member",
            ),
            (
                "telescopes: {t: {node: A}}\nnodes: {A: {}}\nha: {node: A, mode: redundant, etcd: ['http://a:2379']}\n",
                3,
                "ha.mode: found redundant, allowed: a node with `spare: true`",
            ),
            ("ha: {etcd: [a]}\n", 1, "ha.etcd: found ['a'], allowed: a list of 0 to 16, each a URL with its port"),
            ("paths: {log: log}\n", 1, "paths.log: found 'log', allowed: an absolute path"),
            ("paths: {log: /a/../b}\n", 1, "absolute path without '..'"),
            ("paths: {log: /}\n", 1, "absolute path"),
            ("paths:\n  incoming: /d\n  log: /d/log\n", 3, "paths.log: found /d/log, allowed: a folder outside paths.inc"),
            ("worker:\n  hard_seconds: 5\n", 2, "worker.hard_seconds: found 5, allowed: more than soft_seconds (600)"),
            ("worker:\n  soft_seconds: 700\n", 2, "worker.hard_seconds: found 660"),
            ("worker: {backoff_seconds: 400}\n", 1, "worker.backoff_limit_seconds"),
            ("pipeline: {command: []}\n", 1, "pipeline.command: found []"),
            ("pipeline: {command: cp}\n", 1, "pipeline.command: found 'cp'"),
            (
                "photometry: {gpu: off}\n",
                1,
                "found off, allowed: a plain decimal number, true, false or null; in quotes if it is a word",
            ),
            ("photometry: {difference_planes: [VAR]}\n", 1, "DIFF among them"),
            ("photometry: {difference_planes: [DIFF, DIFF]}\n", 1, "none twice"),
            ("photometry: {aperture_radii_pixels: [5, 3]}\n", 1, "rising"),
            ("a: &x 1\nb: *x\n", 1, "an anchor or alias"),
            ("<<: {a: 1}\n", 1, "found <<"),
            ("a: !!python/object/apply:os.system ['true']\n", 1, "a tag"),
            ("a: !x 1\n", 1, "a tag"),
            ("%YAML 1.1\n---\na: 1\n", 1, "a %YAML"),
            ("a: 1\n...\n---\nb: 1\n", 3, "a second document"),
            ("- 1\n", 1, "the file: found [1], allowed: keys and values"),
            ("", 1, "not YAML: expected the node content"),
            ("a: [1\n", 2, "not YAML"),
            ("a: b: c\n", 1, "not YAML"),
            ("\ta: 1\n", 1, "not YAML"),
            ("a: 1\nb: \x07\n", 2, "not YAML: found a control character"),
            (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
            ("a: " + "[" * 5000 + "\n", 1, "more than 8 levels"),
            ("- " * 2000 + "1\n", 1, "more than 8 levels"),
        ],
    )
    def test_refuses_with_key_line_found_and_allowed(self, write, text, line, words):
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}:{line}:")
        assert words in message
        assert "\n" not in message

    def test_refuses_a_huge_file_without_reading_it(self, write):
        with pytest.raises(ConfigError, match=f"allowed: up to {MAX_BYTES}"):
            load(write("# " + "x" * 2_000_000 + "\n"))

    def test_says_what_cannot_be_read(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load(tmp_path / "none.yaml")
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load(tmp_path)

    def test_a_fifo_does_not_hang_the_daemon(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(ConfigError, match="no end mark"):
            load(tmp_path / "fifo")

    @pytest.mark.parametrize("text", [DOCUMENTED.read_bytes(), OTHER], ids=["documented", "other"])
    def test_a_file_cut_off_at_any_byte_is_noticed(self, write, text):
        path = write(text, end="")
        whole = load(path)
        accepted = []
        for size in reversed(range(len(text))):
            os.truncate(path, size)
            config = load_or_none(path)
            if config is not None:
                assert config == whole
                accepted.append(text[size:])
        assert accepted == [b"\n"]

    def test_yaml_alone_would_not_notice(self):
        """The check above can fail: most of the prefixes are YAML, and mean something else."""
        import yaml

        body = OTHER.removesuffix(b"...\n")
        prefixes = [body[: i + 1] for i, b in enumerate(body) if b == ord("\n")][:-1]
        assert sum(isinstance(yaml.safe_load(p), dict) for p in prefixes) > len(prefixes) / 2


class TestLenient:
    def test_an_unknown_key_is_ignored_with_a_complaint(self, write):
        path = write("worker:\n  attempts: 7\n  new_key: 1\nnewer: {a: 1}\n")
        config, complaints = load_lenient(path)
        assert config.worker.attempts == 7
        assert [c.split(": ")[1] for c in complaints] == ["worker.new_key", "newer"]

    @pytest.mark.parametrize("text", ["worker: {attempts: 0}\n", "worker: [\n", "a: 1\na: 2\n"])
    def test_any_other_fault_gives_all_the_defaults(self, write, text):
        config, complaints = load_lenient(write("roulog: {level: DEBUG}\n" + text))
        assert config == Config()
        assert len(complaints) == 1
        assert "the built-in defaults are in force" in complaints[0]

    def test_no_file_gives_the_defaults(self, tmp_path):
        config, complaints = load_lenient(tmp_path / "none")
        assert config == Config()
        assert len(complaints) == 1

    def test_complaints_do_not_flood_the_log(self, write):
        _, complaints = load_lenient(write("".join(f"k{i}: 1\n" for i in range(3000))))
        assert len(complaints) == 21
        assert "2980 more" in complaints[-1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_raises_anything_else_or_stops_a_start(tmp_path_factory, data):
    text = bytearray(OTHER)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 5))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(text)
    config, complaints = load_lenient(path)
    assert isinstance(config, Config)
    assert all("\n" not in c for c in complaints)
    assert load_or_none(path) == (None if complaints else config)


@given(st.text(max_size=20))
@example("12:30:45")
@example("0777")
@example("~")
def test_a_bare_word_is_read_as_yaml_1_1_and_a_person_do_or_not_at_all(text):
    import yaml

    document = f"k: {text}\n...\n".encode("utf-8", "replace")
    try:
        ours = parse(document).items["k"].value
    except (ConfigError, AttributeError):
        return
    theirs = yaml.safe_load(document.decode())["k"]
    assert type(ours) is type(theirs) or (isinstance(ours, float) and ours == float(theirs))
    assert ours == theirs or isinstance(ours, float)


def test_photometry_means_the_same_here_and_there():
    ours = Config().photometry.as_dict()
    assert ours == dataclasses.asdict(Settings())
    assert Settings.from_dict(ours) == Settings()


@pytest.mark.parametrize(("key", "setting"), schema.settings_of(schema.Photometry).items())
def test_what_is_allowed_here_is_allowed_in_photometry(key, setting):
    rule = setting.rule.rule if isinstance(setting.rule, Either) else setting.rule
    if isinstance(rule, Number):
        for limit in (rule.least, rule.most):
            assert getattr(Settings.from_dict({key: limit}), key) == limit
    if isinstance(setting.rule, Either):
        assert getattr(Settings.from_dict({key: None}), key) is None


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().worker.attempts = 4
