"""Every detector holds the whole contract of heads."""

import pytest

from sslkit.testing.head_checks import head_checks
from sslkit_detection.plugin import sslkit_heads


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(*param.values, id=f"{name}-{param.id}", marks=param.marks)
        for name, address in sslkit_heads().items()
        for param in head_checks(address)
    ],
)
def test_a_detector_conforms(check) -> None:
    check()
