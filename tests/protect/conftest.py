"""What real daemons run on: nodes below a folder; and, with systemd, one site for all, for it takes a while to make."""

import pytest

from tests.protect.below import Below
from tests.protect.machine import NoMachineError
from tests.protect.site import new_site


@pytest.fixture
def node(tmp_path):
    """Make nodes without systemd; nothing of them is left."""
    made = []

    def make(command=":", *, start=True, **how):
        made.append(one := Below(tmp_path / f"node{len(made)}", command, **how))
        if start:
            one.start()
        return one

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def installed_site():
    try:
        with new_site() as site:
            yield site
    except NoMachineError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(installed_site):
    """Both daemons READY."""
    installed_site.settle()
    return installed_site
