"""A browser for the tests of the annotator; they are skipped where there is none."""

import browser as chromium
import pytest


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if not (chromium.CHROMIUM and chromium.DRIVER):
        pytest.skip(chromium.MISSING)
    with chromium.browser(tmp_path_factory.mktemp("browser")) as session:
        yield session
