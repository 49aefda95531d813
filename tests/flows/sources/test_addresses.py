"""Which addresses are read, told before any server is asked."""

from __future__ import annotations

import pytest

from flows.sources import addresses
from flows.sources.addresses import Service, check_address, file_name, is_address
from flows.sources.names import check_names
from tasks.core.errors import ParamsError, RootstockError
from tests.errors import raises


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("s3://b/x", "HTTPS://h/x.zip", "simplecache::s3://b/x", "python://x", "file:///x")),
        *((name, False) for name in ("digits", "../my-images", "/data/a", "a::b", "C:/x", "s3:/b", "models:/x@y")),
    ],
)
def test_an_address_has_a_protocol(name, expected):
    assert is_address(name) is expected


@pytest.mark.parametrize(
    ("address", "fact"),
    [
        ("simplecache::s3://bucket/x", "addresses in addresses"),
        ("zip://a.png::https://host/x.zip", "addresses in addresses"),
        ("s3://bucket/a::b", "addresses in addresses"),
        *((f"{name}://x/y", f"{name}:// is not read") for name in ("python", "reference", "github", "memory", "local")),
        ("file:///etc", "give a path"),
        ("s3://", "bucket or host is missing"),
        ("s3:///x", "bucket or host is missing"),
        ("https://host/folder", "web servers do not list folders"),
        ("https://host/labels.csv", "web servers do not list folders"),
        ("https://me:canary5ecret@host/x.zip", "credentials"),
        ("https://canary5ecret@host/x.zip", "credentials"),
        ("s3://canary5ecret:canary5ecret@bucket/x", "credentials"),
        ("s3://canary5ecret@bucket/x", "FSSPEC_S3_ANON"),
        ("ssh://me:canary5ecret@host/x", "ssh-agent"),
        ("https://host/x.zip?X-Amz-Signature=canary5ecret&a=b", "credentials"),
        ("https://host/x.zip?sig=canary5ecret", "credentials"),
    ],
)
def test_an_address_that_is_not_read_is_refused_with_what_to_do(params, address, fact):
    with raises(ParamsError, "data.source") as caught:
        check_names(params(data={"source": address}))
    assert fact in str(caught.value)
    assert "canary5ecret" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://host:8443/x.tar.gz?download=1", "http://127.0.0.1:1/x.ZIP", "s3://b/x"])
def test_an_address_that_can_be_read_is_accepted(params, address):
    check_names(params(data={"source": address}))


@pytest.mark.parametrize("service", sorted(set(addresses.SERVICES.values()) - {addresses.HTTP}))
def test_a_missing_package_is_named_with_its_group(monkeypatch, service):
    """The package does not exist under a name that nothing has, which is what an environment without it is like."""
    protocol = next(name for name, each in addresses.SERVICES.items() if each == service)
    monkeypatch.setitem(addresses.SERVICES, protocol, Service(f"{service.package}_absent", *service[1:]))
    with raises(RootstockError, "source-package-missing") as caught:
        check_address(f"{protocol}://bucket/x")
    assert f"needs the package {service.package}_absent; run make {service.group}" in str(caught.value)


def test_user_names_of_ssh_and_containers_of_azure_are_no_secrets(monkeypatch):
    for protocol in ("ssh", "sftp", "abfs", "abfss"):
        monkeypatch.setitem(addresses.SERVICES, protocol, Service("fsspec", "x", "y"))
        check_address(f"{protocol}://name@host/folder")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://b/set", ""),
        ("s3://b/set/", ""),
        ("s3://b/set/train.csv", "train.csv"),
        ("s3://b/set/train.tar.gz", "train.tar.gz"),
        ("s3://b/a.zip/set", ""),
        ("https://h/a.zip?v=1#x", "a.zip"),
    ],
)
def test_an_archive_or_a_table_is_recognized_by_its_suffix(address, name):
    assert file_name(address) == name
