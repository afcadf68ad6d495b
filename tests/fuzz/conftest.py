import pytest


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long one target is fuzzed; 0 in an ordinary test run: one short round."""
    return float(request.config.getoption("--fuzz-seconds"))
