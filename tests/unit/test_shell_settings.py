"""The operator's environment is checked before anything starts."""

from __future__ import annotations

import pytest

from insitu.errors import ConfigurationError
from insitu_operator.shell.settings import Address, Settings, read


def test_nothing_set_is_a_working_setup() -> None:
    assert read({}) == Settings()


def test_each_variable_is_read() -> None:
    found = read(
        {
            "INSITU_NAMESPACES": "ml, vision,",
            "INSITU_LEASE_SECONDS": "15",
            "INSITU_LISTEN": "[::1]:9000",
            "POD_NAME": "operator-0",
            "POD_NAMESPACE": "insitu",
            "INSITU_LEASE_NAME": "",
            "INSITU_DENIED_ADDRESSES": "169.254.0.0/16, fe80::/10",
        }
    )
    assert found.namespaces == ("ml", "vision")
    assert found.times.lease == 15
    assert found.listen == Address(host="::1", port=9000)
    assert (found.identity, found.home) == ("operator-0", "insitu")
    assert list(map(str, found.denied_addresses)) == ["169.254.0.0/16", "fe80::/10"]
    assert found.lease_name == "insitu-operator"


def test_processes_outside_of_pods_have_identities_of_their_own() -> None:
    assert read({}).identity != read({}).identity


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSITU_LISTEN", "8080:all"),
        ("INSITU_LISTEN", "somewhere"),
        ("INSITU_WORKERS", "0"),
        ("INSITU_RESYNC_SECONDS", "-1"),
        ("INSITU_LOG_LEVEL", "loud"),
        ("INSITU_DENIED_ADDRESSES", "everything"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        read({name: value})


def test_lease_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="must grow in this order"):
        read({"INSITU_LEASE_SECONDS": "3"})
