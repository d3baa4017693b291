"""Which URLs are taken, and which addresses are sent to."""

from __future__ import annotations

import pytest
from pytest_django.fixtures import Settings

from sandboxes.webhooks.targets import BadTarget, Target, parse, resolve

GOOD = {
    "https://example.com": Target("https", "example.com", 443, "/"),
    "HTTPS://Example.COM:8443/x": Target("https", "example.com", 8443, "/x"),
    "http://192.0.2.7:8080/hook?k=v": Target("http", "192.0.2.7", 8080, "/hook?k=v"),
    "https://[2001:4860:4860:0::8888]/": Target("https", "2001:4860:4860::8888", 443, "/"),
    "https://hooks.xn--bcher-kva.example./in": Target(
        "https", "hooks.xn--bcher-kva.example.", 443, "/in"
    ),
}


@pytest.mark.parametrize(("url", "target"), GOOD.items())
def test_a_good_one_is_taken_apart(url: str, target: Target) -> None:
    assert parse(url) == target


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://example.com:443/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[2001:4860:4860::8888]:8080/", "[2001:4860:4860::8888]:8080"),
    ],
)
def test_the_host_header_names_a_port_that_is_not_the_usual_one(url: str, authority: str) -> None:
    assert parse(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "//example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///hook",
        "http://user:pass@example.com/",
        "http://user@example.com/",
        "http://@example.com/",
        "http://example.com/#part",
        "http://example.com/a b",
        "http://example.com/\r\nX-Header: 1",
        "http://example.com\r\n/",
        "http://example.com/\x00",
        "http://example.com/ü",
        "http://bücher.example/",
        "http://exa mple.com/",
        'http://example.com/"',
        "http://example.com/%zz",
        "http://example.com/a?b=c&e=[",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:0/",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:1023/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:port/",
        "http://[::1",
        "http://[nonsense]/",
        "http://-.example/",
        "http://..example/",
        "http://example.com/" + "x" * 2048,
    ],
)
def test_a_bad_one_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(BadTarget) as refused:
        parse(url)
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 200


PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.1.1",
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "224.0.0.1",
    "255.255.255.255",
    "fd00::1",
    "fe80::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
]


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize("address", PRIVATE)
async def test_private_addresses_are_refused_whatever_the_setting(
    settings: Settings, address: str, loopback: bool
) -> None:
    settings.ORKESTR_WEBHOOK_ALLOW_LOOPBACK = loopback
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    with pytest.raises(BadTarget, match="Webhooks are not sent to"):
        await resolve(parse(url))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost", "2130706433", "0x7f.1"]
)
async def test_loopback_is_refused_unless_it_is_opened(settings: Settings, host: str) -> None:
    settings.ORKESTR_WEBHOOK_ALLOW_LOOPBACK = False
    with pytest.raises(BadTarget, match="loopback address"):
        await resolve(parse(f"http://{host}:8080/"))
    settings.ORKESTR_WEBHOOK_ALLOW_LOOPBACK = True
    found = await resolve(parse(f"http://{host}:8080/"))
    assert all(one.startswith("127.") or one == "::1" for one in found)


async def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(BadTarget, match=r"does not resolve|in time"):
        await resolve(parse("http://nothing-here.invalid/"))
