"""Django's settings. Everything that differs between machines is read from the environment."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from console.logs import logging_config

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# --- what this instance is ---------------------------------------------------------------------
DEBUG = env.bool("ORKESTR_DEBUG", default=False)
ORKESTR_BASE_URL: str = env.str("ORKESTR_BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
#: The isolation class of sandboxes whose plan and creator name none.
ORKESTR_ISOLATION: str = env.str("ORKESTR_ISOLATION", default="runc")
if ORKESTR_ISOLATION not in ("runc", "gvisor"):
    raise ImproperlyConfigured(f"ORKESTR_ISOLATION={ORKESTR_ISOLATION}: say runc or gvisor.")
ORKESTR_HOST_SOCKET: str = env.str("ORKESTR_HOST_SOCKET", default="/run/orkestr/host.sock")
# A process without the shared secrets still starts (lint, help), but nothing it signs outlives it.
SECRET_KEY: str = env.str("SECRET_KEY", default="") or secrets.token_urlsafe(50)
TOKEN_PEPPER: str = env.str("TOKEN_PEPPER", default="") or secrets.token_urlsafe(50)

_base = urlsplit(ORKESTR_BASE_URL)
IS_HTTPS = _base.scheme == "https"
ALLOWED_HOSTS: list[str] = [
    *filter(None, {_base.hostname, "localhost", "127.0.0.1", "[::1]"}),
    *env.list("ORKESTR_ALLOWED_HOSTS", default=[]),
]
CSRF_TRUSTED_ORIGINS = [f"{_base.scheme}://{_base.netloc}"]

# Under which name ports of sandboxes are opened to browsers: <port>-<id>.<base>. Names under
# `localhost` lead to this machine in every browser; anywhere else they have to be set up.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
ORKESTR_PREVIEW_BASE: str = env.str(
    "ORKESTR_PREVIEW_BASE",
    default=f"localhost:{_base.port or 80}" if _base.hostname in _LOOPBACK else "",
).lower()

# --- what it is made of ------------------------------------------------------------------------
INSTALLED_APPS = [
    "console.staff_app.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",  # an index with a class of operators
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_htmx",
    "ninja",
    "timeline",
    "accounts",
    "sandboxes",
    "sandboxes.signals",
    "sandboxes.spans",
    "sandboxes.usage",
    "sandboxes.webhooks",
    "console",
]
# Console pages only: `/v1` is served by a handler without these (console/asgi.py).
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "console.session_touch.SessionTouch",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "console.urls"
ASGI_APPLICATION = "console.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

# --- PostgreSQL --------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "CONN_MAX_AGE": 0,
        **env.db_url("DATABASE_URL", default="postgresql:///orkestr"),
    },
}
# Threads of the ASGI server share a pool; forked Celery workers and management commands must not.
DATABASE_POOL = env.bool("ORKESTR_DATABASE_POOL", default=False)
if DATABASE_POOL:
    # The check costs 0.1 ms a request and is what makes a restarted PostgreSQL heal by itself.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 2,
        "max_size": 40,
        "timeout": 10,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Valkey or Redis ---------------------------------------------------------------------------
REDIS_URL: str = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
# Control messages only (revoked, refresh): events have their own reader (timeline/hub.py).
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py's own 5 s socket timeout would end the subscriptions of an idle instance.
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
            "prefix": "orkestr",
        },
    },
}

# --- the timeline ------------------------------------------------------------------------------
# Told of stored `sandbox.*` events, so that rows follow what the host did by itself.
TIMELINE_OBSERVERS = ["sandboxes.observers.observe"]

# --- who stands in front -----------------------------------------------------------------------
# Reverse proxies whose X-Forwarded-For is believed: addresses and networks, separated by commas.
ORKESTR_TRUSTED_PROXIES: list[str] = env.list("ORKESTR_TRUSTED_PROXIES", default=[])

# --- what operators look at --------------------------------------------------------------------
# Who may read /metrics besides this machine itself, sent as a bearer.
ORKESTR_METRICS_TOKEN = env.str("ORKESTR_METRICS_TOKEN", default="")
# A line in the log for every request. A reverse proxy usually writes one already.
ORKESTR_LOG_REQUESTS = env.bool("ORKESTR_LOG_REQUESTS", default=False)

# --- spans -------------------------------------------------------------------------------------
# Where commands go as OpenTelemetry spans: OTLP over HTTP, such as http://collector:4318/v1/traces.
ORKESTR_OTLP_ENDPOINT = env.str("ORKESTR_OTLP_ENDPOINT", default="")
ORKESTR_OTLP_HEADERS = env.str("ORKESTR_OTLP_HEADERS", default="")
ORKESTR_OTLP_TIMEOUT_SECONDS = env.float("ORKESTR_OTLP_TIMEOUT_SECONDS", default=5.0)

# --- signals -----------------------------------------------------------------------------------
# For how long a command may print nothing before that is pointed out.
ORKESTR_QUIET_SECONDS = env.int("ORKESTR_QUIET_SECONDS", default=300)

# --- webhooks ----------------------------------------------------------------------------------
# For development: with it, deliveries may go to this machine's own loopback addresses.
ORKESTR_WEBHOOK_ALLOW_LOOPBACK = env.bool("ORKESTR_WEBHOOK_ALLOW_LOOPBACK", default=False)
ORKESTR_WEBHOOK_RETRY_SECONDS = env.float("ORKESTR_WEBHOOK_RETRY_SECONDS", default=10.0)
ORKESTR_WEBHOOK_TIMEOUT_SECONDS = env.float("ORKESTR_WEBHOOK_TIMEOUT_SECONDS", default=10.0)

# --- mail --------------------------------------------------------------------------------------
# Such as smtp+tls://user:password@mail.example.org:587; without it mails are only logged, and what
# must not be in a log is not mailed.
ORKESTR_EMAIL_URL = env.str("ORKESTR_EMAIL_URL", default="")
vars().update(env.email("ORKESTR_EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str(
    "ORKESTR_EMAIL_FROM", default=f"orkestr@{_base.hostname or 'localhost'}"
)

# --- people ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
PASSWORD_RESET_TIMEOUT = 3600
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
_VALIDATORS = "django.contrib.auth.password_validation."
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": _VALIDATORS + "UserAttributeSimilarityValidator"},
    {"NAME": _VALIDATORS + "MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": _VALIDATORS + "CommonPasswordValidator"},
]
# Over TLS browsers keep cookies of such names to the host that set them: no neighbour under the
# same domain, a sandbox's page in a preview for one, can put its own in their place.
_PREFIX = "__Host-" if IS_HTTPS else ""
SESSION_COOKIE_NAME = f"{_PREFIX}orkestr_session"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_NAME = f"{_PREFIX}orkestr_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = IS_HTTPS

# --- what a browser is told --------------------------------------------------------------------
_WEBSOCKETS = ("wss://" if IS_HTTPS else "ws://") + _base.netloc
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF, _WEBSOCKETS],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
X_FRAME_OPTIONS = "DENY"
if IS_HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- static files ------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Set by `make up` after `collectstatic`: names with a hash in them, cached by browsers for ever.
_collected = env.str("ORKESTR_STATIC_DIR", default="")
STATIC_ROOT = Path(_collected) if _collected else BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "console.static_storage.HashedFiles"
        if _collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}

# --- sizes -------------------------------------------------------------------------------------
# A 16 MiB file is 22 MiB of base64 in JSON; the server refuses more before reading it.
REQUEST_BODY_MAX_BYTES = 24 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_MAX_BYTES
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- the rest ----------------------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
LOGGING = logging_config(as_json=env.bool("ORKESTR_LOG_JSON", default=not DEBUG))
LOGGING_CONFIG = "logging.config.dictConfig"
