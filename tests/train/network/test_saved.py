"""What an earlier version wrote is refused where it would be read wrongly."""

import pytest

from train.network import NetworkError
from train.network.saved import second_opinion


def test_a_second_scale_of_before_it_was_turned_is_refused() -> None:
    with pytest.raises(NetworkError, match="another version of Linewatch; run `python -m train fit` again"):
        second_opinion({"second": {"share": 0.5, "shift": (0, 0)}})
