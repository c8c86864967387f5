"""What the harness cuts is cut, and nothing else is."""

import subprocess
import sys
import time

import pytest

from tests.cluster.network import Network, NoNetworkError, network, run

HEAR = """\
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
    ear.bind(("0.0.0.0", 5))
    print("hears", flush=True)
    while data := ear.recv(100):
        if data == b"end":
            break
        print(data.decode(), flush=True)
"""
SAY = """\
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
    for number in range(int(sys.argv[2])):
        mouth.sendto(sys.argv[3].encode(), (sys.argv[1], 5))
"""


@pytest.fixture
def net():
    try:
        with network("a", "b", "c") as made:
            yield made
    except NoNetworkError as error:
        pytest.skip(str(error))


def heard(net: Network, source: str, target: str, count: int = 1) -> int:
    """How many of so many packets arrive."""
    with subprocess.Popen([*net.enter(target), sys.executable, "-c", HEAR], stdout=subprocess.PIPE, text=True) as ear:
        assert ear.stdout.readline() == "hears\n"
        run(*net.enter(source), sys.executable, "-c", SAY, net.address(target), str(count), "hello")
        time.sleep(0.1)  # that nothing arrives cannot be waited for otherwise
        run(*net.enter(target), sys.executable, "-c", SAY, "127.0.0.1", "1", "end")
        return len(ear.stdout.readlines())


def pairs(net):
    return {a + b for a in net.names for b in net.names if a != b and heard(net, a, b)}


def test_a_partition_is_one_and_heals(net):
    net.partition({"a", "b"}, {"c"})
    assert pairs(net) == {"ab", "ba"}
    net.clear()
    assert len(pairs(net)) == 6


def test_a_directed_cut_cuts_one_direction(net):
    net.block("a", "b")
    assert pairs(net) == {"ba", "ac", "ca", "bc", "cb"}


def test_a_wire_is_out_and_in_again(net):
    net.cut("b")
    assert pairs(net) == {"ac", "ca"}
    net.heal("b")
    end = time.monotonic() + 5.0
    while len(pairs(net)) < 6:  # a carrier comes back in its own time
        assert time.monotonic() < end


def test_a_part_of_the_packets_is_lost(net):
    net.lossy("b", 30)
    assert 500 < heard(net, "a", "b", 1000) < 900
    assert heard(net, "b", "a", 100) == 100


def test_a_new_machine_of_an_old_name_is_cut_as_the_old_one_was(net):
    net.partition({"a"}, {"b", "c"})
    net.lose("a")
    net.connect("a")
    assert pairs(net) == {"bc", "cb"}
    net.clear()
    assert len(pairs(net)) == 6
