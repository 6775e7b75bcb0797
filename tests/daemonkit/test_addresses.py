"""What an error may show of an address."""

import pytest

from daemonkit.addresses import without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:80/path?token=secret#secret", "http://host:80/path"),
        ("http://user:p@secret@host", "http://host"),
        ("https://host/v2", "https://host/v2"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://user:secret@[broken", "http://[broken"),
        ("user:secret@host:80", "host:80"),
        ("http:", "http:"),
        ("http://host?to=http://other", "http://host"),
    ],
)
def test_who_asks_is_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
