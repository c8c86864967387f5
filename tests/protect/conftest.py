"""A site for the tests that need systemd: one for all of them, for it takes a while to make."""

import pytest

from tests.protect.machine import NoMachineError
from tests.protect.site import new_site


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
