"""No password, token or key appears where settings are shown."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaufmann_celery.config import Config, load_config, mask
from kaufmann_celery.errors import ConfigError

#: Begins with what no message and no default holds, so that finding it means a leak.
secrets = st.text(min_size=0, max_size=12).map(lambda text: "Zq7" + text + "qZ9")
quoted_secrets = secrets.filter(lambda text: text.isprintable()).map(lambda text: quote(text, safe=""))


def load(keywords: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Config:
    return load_config("orders", keywords=keywords or {}, conf={}, environ=environ or {})


def shown(config: Config) -> str:
    return repr(config) + str(config) + repr(config.describe())


def shown_or_message(environ: dict[str, str]) -> str:
    try:
        return shown(load(environ=environ))
    except ConfigError as error:
        return f"{error} {error!r} {error.__cause__} {error.__context__}"


@settings(deadline=None)  # the machine may be busy
@given(password=quoted_secrets)
def test_a_password_in_a_valid_url_is_never_shown(password: str) -> None:
    redis = f"redis://:{password}@redis:6379/0"
    sentinels = f"sentinel://u:{password}@a:1;sentinel://:{password}@b:2"
    registry = f"https://user:{password}@a/path,http://{password}@b:8081"
    for redis_url in (redis, sentinels):
        config = load({"redis_url": redis_url, "schema_registry_url": registry})
        assert config.redis_url == redis_url
        assert "Zq7" not in shown(config)
        assert "qZ9" not in shown(config)


@settings(deadline=None)  # the machine may be busy
@given(secret=secrets)
@pytest.mark.parametrize(
    "template",
    [
        "redis://:{}@redis:6379/0",
        "redis://user:{}@redis",
        "redis://{}@redis:6379/0",
        "reddis://:{}@redis",
        "redis//:{}@redis",
        "http://{}",
        "{}",
        "{}://redis",
        "redis://redis:{}",
        "redis://redis/{}",
        "redis://redis/0?password={}",
        '{{"sasl_plain_password": {}}}',
    ],
)
def test_an_unquoted_secret_is_never_shown_valid_or_not(template: str, secret: str) -> None:
    if template.startswith("redis://{}") or template.endswith(":{}"):
        secret = secret.replace(":", "").replace("@", "")  # what follows them is a password or a host
    text = template.format(secret)
    for name in ("REDIS_URL", "SCHEMA_REGISTRY_URL", "KAFKA_OPTIONS"):
        message = shown_or_message({f"KAUFMANN_{name}": text})
        if template in {"http://{}", "redis://redis/{}"} and "(from" not in message:
            continue  # a valid URL without a password
        assert "Zq7" not in message
        assert "qZ9" not in message


@settings(deadline=None)  # the machine may be busy
@given(secret=secrets)
def test_a_secret_among_kafka_options_is_never_shown(secret: str) -> None:
    hidden = [
        "sasl_plain_password",
        "SSL_PASSWORD",
        "client_secret",
        "token",
        "api_key",
        "ssl_keyfile",
        "passphrase",
        "proxy_credentials",
    ]
    options: dict[str, Any] = {
        **dict.fromkeys(hidden, secret),
        "nested": {"token": [secret], "list": [{"key": secret}]},
        "pem": f"-----BEGIN PRIVATE KEY-----{secret}",
        "sasl_plain_username": "alice",
    }
    config = load(environ={"KAUFMANN_KAFKA_OPTIONS": json.dumps(options)})
    assert "Zq7" not in shown(config)
    assert "alice" in shown(config)


def test_an_object_among_kafka_options_shows_its_type_alone() -> None:
    class Provider:
        def __repr__(self) -> str:
            return "hunter2"

    config = load({"kafka_options": {"provider": Provider(), "proxy": "http://u:hunter2@p", "n": 1}})
    assert "hunter2" not in shown(config)
    assert "Provider" in shown(config)


@pytest.mark.parametrize("name", ["MAX_DEMAND", "BROKERS", "ORDERING", "SERVICE_NAME", "REDIS_URL", "KAFKA_OPTIONS"])
def test_a_mounted_secret_in_the_wrong_place_is_not_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\nhunter2")
    with pytest.raises(ConfigError) as raised:
        load(environ={f"KAUFMANN_{name}_FILE": str(tmp_path / "secret")})
    assert "hunter2" not in str(raised.value)


def test_a_secret_given_as_the_name_of_its_file_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        load(environ={"KAUFMANN_KAFKA_OPTIONS_FILE": '{"sasl_plain_password": "hunter2"}'})
    assert "hunter2" not in str(raised.value)


def test_a_url_in_a_setting_without_secrets_is_masked_all_the_same() -> None:
    with pytest.raises(ConfigError) as raised:
        load({"brokers": "kafka://u:hunter2@kafka:9092", "http_address": ["http://u:hunter2@a"]})
    assert "hunter2" not in str(raised.value)
    assert "kafka://u:***@kafka:9092" in str(raised.value)


def test_nothing_is_logged_of_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        load(environ={"KAUFMANN_REDIS_URL": "redis://:hunter2@r", "KAUFMANN_RDIS_URL": "redis://:hunter2@r"})
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("http://user:pw@host/path", "http://user:***@host/path"),
        ("http://token@host", "http://***@host"),
        ("redis://:p@ss/w:rd@host", "redis://:***@host"),
        ("redis://:two words@host", "redis://:***@host"),
        ("http://u:a@b,https://v:c@d", "http://u:***@b,https://v:***@d"),
        ("sentinel://:a@b:1;sentinel://:c@d:2", "sentinel://:***@b:1;sentinel://:***@d:2"),
        ("cannot reach http://u:pw@host: refused", "cannot reach http://u:***@host: refused"),
        ("redis://h/0?ssl_password=a&x=1&TOKEN=b", "redis://h/0?ssl_password=***"),
        ("http://h?api_key=a,http://u:pw@b", "http://h?api_key=***,http://u:***@b"),
        ("redis://h?password=p@ss", "redis://***"),
        ("9redis://:pw@h", "9redis://:***@h"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("someone@example.org", "someone@example.org"),
        ("", ""),
    ],
)
def test_mask_hides_passwords_and_keeps_the_rest(text: str, masked: str) -> None:
    assert mask(text) == masked


@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_mask_takes_any_text(text: str) -> None:
    assert isinstance(mask(text), str)


@pytest.mark.parametrize("part", ["a", "http://", "http://a@b,", "x:// ", "x://,;", "?", "?pass", "?a", "&key="])
def test_mask_takes_long_text_in_its_stride(part: str) -> None:
    began = time.process_time()
    mask("x://" + part * (100_000 // len(part)))
    mask(part * (100_000 // len(part)))
    assert time.process_time() - began < 5


def test_a_config_is_shown_short_with_what_identifies_it() -> None:
    config = load({"redis_url": "redis://:pw@r", "schema_registry_url": "http://a,http://u:pw@b", "lease": 3})
    assert repr(config) == (
        "<Config orders: brokers localhost:9092, group orders, redis redis://:***@r, registry http://a, http://u:***@b>"
    )


def test_describe_shows_each_kind_of_value_as_users_write_it() -> None:
    options = {"client_id": "a", "ssl_password": "pw"}
    config = load({"brokers": "a,b", "kafka_options": options, "lease": 3, "callback_topics": ""})
    values = {setting.name: (setting.value, setting.origin) for setting in config.describe()}
    assert values["brokers"] == ("a:9092, b:9092", "keyword")
    assert values["kafka_options"] == ('{"client_id": "a", "ssl_password": "***"}', "keyword")
    assert values["lease"] == ("3.0", "keyword")
    assert values["error_topic"] == ("none", "default")
    assert values["callback_topics"] == ("none", "keyword")
    assert values["schema_path"] == ("schemas", "default")
    assert values["service"] == ("orders", "Kaufmann(...)")
