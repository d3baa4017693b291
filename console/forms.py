"""What people type into the console's forms, checked as far as a page can check it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password

from accounts.models import User
from accounts.policy import TOKEN_SCOPES, Scope
from accounts.selectors import TokenState
from sandboxes.host.patterns import LENGTH
from sandboxes.limits import (
    NETWORKS,
    TEMPLATES,
    TIMEOUT_DEFAULT,
    TIMEOUT_MAX,
    TIMEOUT_MIN,
    SandboxRequest,
)
from sandboxes.masking import EXAMPLE_LONGEST
from sandboxes.models import Isolation, Status
from sandboxes.retention import LEAST_DAYS, MOST_DAYS
from sandboxes.volume_limits import DAYS_MAX, HOURS_MAX
from sandboxes.volumes import Lifetime
from sandboxes.webhooks.kinds import TEST_EVENT, EventType
from sandboxes.webhooks.models import DeliveryStatus

EXPIRIES = {"30": "30 days", "90": "90 days", "180": "180 days", "365": "1 year", "": "Never"}
SCOPES = {
    Scope.SANDBOXES_READ: "list, look, watch",
    Scope.SANDBOXES_WRITE: "create, run, change, end",
    Scope.TOKENS_READ: "list tokens",
    Scope.TOKENS_WRITE: "mint and revoke tokens",
    Scope.AUDIT_READ: "read who did what",
}
"""What can be granted to a token, and what it is good for."""
AGES = {"1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days"}
"""Since when a sandbox was made, as the address has it."""
EXTENSIONS = {600: "10 min", 1800: "30 min", 3600: "1 hour"}


class TerminalSizeForm(forms.Form):
    """How many characters a page has room for."""

    rows = forms.IntegerField(min_value=2, max_value=500)
    columns = forms.IntegerField(min_value=2, max_value=1000)


class SignInForm(forms.Form):
    """An e-mail address and a password."""

    email = forms.EmailField(max_length=254)
    password = forms.CharField(max_length=1000, strip=False)


class AddressForm(forms.Form):
    """Where to send a link."""

    email = forms.EmailField(max_length=254)


class NewPasswordForm(forms.Form):
    """Another password for ``user``."""

    password = forms.CharField(max_length=1000, strip=False)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        """As everywhere a password is chosen."""
        password: str = self.cleaned_data["password"]
        validate_password(password, user=self.user)
        return password


class FilterForm(forms.Form):
    """What narrows the list of sandboxes. Anything that makes no sense is left out."""

    status = forms.ChoiceField(required=False, choices=[("live", "Live"), *Status.choices])
    template = forms.ChoiceField(required=False, choices=[(name, name) for name in TEMPLATES])
    network = forms.ChoiceField(required=False, choices=[(name, name) for name in NETWORKS])
    token = forms.RegexField(r"^tok_[0-9A-Z]{26}$", required=False, max_length=40)
    age = forms.ChoiceField(required=False, choices=list(AGES.items()))
    metadata = forms.CharField(required=False, max_length=200)
    q = forms.CharField(required=False, max_length=100)
    cursor = forms.CharField(required=False, max_length=100)


class TokenFilterForm(forms.Form):
    """What narrows the list of tokens. Anything that makes no sense is left out."""

    state = forms.ChoiceField(required=False, choices=TokenState.choices)
    q = forms.CharField(required=False, max_length=100)
    cursor = forms.RegexField(r"^tok_[0-9A-Z]{26}$", required=False, max_length=40)


class PairsField(forms.CharField):
    """Lines of ``NAME=value`` as a dict. Empty lines are left out."""

    widget = forms.Textarea

    def to_python(self, value: str | None) -> dict[str, str]:  # type: ignore[override]
        """Raises ``ValidationError`` for a line without an equals sign."""
        pairs: dict[str, str] = {}
        for line in (value or "").splitlines():
            if not line.strip():
                continue
            name, equals, text = line.partition("=")
            if not equals or not name.strip():
                raise forms.ValidationError(f"Write each line as NAME=value; {line[:40]!r} is not.")
            pairs[name.strip()] = text.strip()
        return pairs


class LinesField(forms.CharField):
    """Lines as a list. Empty ones are left out, and commas end lines too."""

    widget = forms.Textarea

    def to_python(self, value: str | None) -> list[str]:  # type: ignore[override]
        return [
            line.strip() for line in (value or "").replace(",", "\n").splitlines() if line.strip()
        ]


class RunForm(forms.Form):
    """What any new sandbox is given, whatever it is made from."""

    timeout_seconds = forms.IntegerField(
        min_value=TIMEOUT_MIN, max_value=TIMEOUT_MAX, initial=TIMEOUT_DEFAULT
    )
    on_timeout = forms.ChoiceField(
        required=False, choices=[("kill", "End it"), ("pause", "Pause it")]
    )
    auto_resume = forms.BooleanField(required=False)
    preview_auth = forms.BooleanField(required=False)
    volume = forms.CharField(required=False, max_length=64)
    budget_eur = forms.DecimalField(required=False, max_digits=12, decimal_places=4)
    env = PairsField(required=False)
    metadata = PairsField(required=False)

    def to_request(self) -> SandboxRequest:
        """What the service takes, still without what it is made from. Only after ``is_valid``."""
        data = self.cleaned_data
        return SandboxRequest(
            template="",
            timeout_seconds=data["timeout_seconds"],
            on_timeout=data["on_timeout"] or "kill",
            auto_resume=data["auto_resume"],
            preview_auth=data["preview_auth"],
            volume=data["volume"] or None,
            budget_eur=data["budget_eur"],
            env=data["env"] or {},
            metadata=data["metadata"] or {},
        )


class SandboxForm(RunForm):
    """The options of ``POST /v1/sandboxes`` with a template."""

    template = forms.ChoiceField(choices=[(name, name) for name in TEMPLATES])
    size = forms.CharField(max_length=32)
    network = forms.CharField(max_length=16)
    isolation = forms.ChoiceField(required=False, choices=Isolation.choices)
    allow_domains = LinesField(required=False)

    def to_request(self) -> SandboxRequest:
        data = self.cleaned_data
        return replace(
            super().to_request(),
            template=data["template"],
            size=data["size"],
            network=data["network"],
            isolation=data["isolation"] or None,
            allow_domains=data["allow_domains"] or None,
        )


class ForkForm(RunForm):
    """The same with a snapshot, which says all the rest."""

    snapshot = forms.CharField(max_length=40)

    def to_request(self) -> SandboxRequest:
        return replace(super().to_request(), snapshot=self.cleaned_data["snapshot"])


class LifetimeForm(forms.Form):
    """How long after its creation a volume is deleted by itself; empty for never."""

    amount = forms.IntegerField(required=False, error_messages={"invalid": "Say it as a number."})
    unit = forms.ChoiceField(choices=[("days", "days"), ("hours", "hours")])

    def clean(self) -> dict[str, Any]:
        """Within what a volume may have."""
        data = super().clean() or {}
        if not self.errors:
            most = {"days": DAYS_MAX, "hours": HOURS_MAX}[data["unit"]]
            if data["amount"] is not None and not 1 <= data["amount"] <= most:
                self.add_error("amount", f"1 to {most} {data['unit']}, or empty for ever.")
        return data

    def lifetime(self) -> Lifetime:
        """Only after ``is_valid``."""
        data = self.cleaned_data
        return Lifetime(**{data["unit"]: data["amount"]})


class VolumeForm(LifetimeForm):
    """A volume to make."""

    name = forms.CharField(max_length=64)
    size_gb = forms.FloatField(error_messages={"invalid": "Say it as a number of gigabytes."})


class ExtendForm(forms.Form):
    """For how long from now a sandbox may go on."""

    timeout_seconds = forms.IntegerField(min_value=TIMEOUT_MIN, max_value=TIMEOUT_MAX)


class WebhookForm(forms.Form):
    """An address to tell of events: ``all``, or ``some``, which ``event_types`` names."""

    url = forms.CharField(max_length=2048)
    events = forms.ChoiceField(choices=[("all", "All"), ("some", "Some")])
    event_types = forms.MultipleChoiceField(
        required=False, choices=[(kind.value, kind.value) for kind in EventType]
    )

    def clean(self) -> dict[str, Any]:
        """Some are at least one."""
        data = super().clean() or {}
        if data.get("events") == "some" and not data.get("event_types"):
            self.add_error("event_types", "Choose at least one event, or all of them.")
        return data

    def chosen(self) -> list[str] | None:
        """None for all. Only after ``is_valid``."""
        data = self.cleaned_data
        return data["event_types"] if data["events"] == "some" else None


class DeliveryFilterForm(forms.Form):
    """What narrows a list of deliveries. Anything that makes no sense is left out."""

    status = forms.ChoiceField(required=False, choices=DeliveryStatus.choices)
    event = forms.ChoiceField(
        required=False, choices=[(kind, kind) for kind in (*EventType, TEST_EVENT)]
    )
    before = forms.RegexField(required=False, regex=r"^whd_[0-9A-HJKMNP-TV-Z]{26}$")


class RetentionForm(forms.Form):
    """For how long timelines are kept; ``confirmed`` once it was said what that removes."""

    days = forms.IntegerField(
        min_value=LEAST_DAYS,
        max_value=MOST_DAYS,
        error_messages={"required": "Say for how many days.", "invalid": "Days are a number."},
    )
    confirmed = forms.BooleanField(required=False)


class DomainsForm(forms.Form):
    """Whose default allowlist holds: the installation's, or the account's ``domains``."""

    of = forms.ChoiceField(choices=[("installation", "The installation's"), ("account", "Own")])
    domains = LinesField(required=False, max_length=60_000)

    def names(self) -> list[str] | None:
        """None for the installation's. Only after ``is_valid``."""
        data = self.cleaned_data
        return list(data["domains"] or ()) if data["of"] == "account" else None


class BudgetForm(forms.Form):
    """What a run may cost; empty for as much as it likes."""

    budget_eur = forms.DecimalField(
        required=False, max_digits=12, decimal_places=4, min_value=Decimal("0.0001")
    )


class CapForm(forms.Form):
    """What an account may spend in a month; empty for no cap."""

    monthly_eur = forms.DecimalField(
        required=False, max_digits=10, decimal_places=2, min_value=Decimal("0.01")
    )


class GrantForm(forms.Form):
    """What is granted under a name, and for how long."""

    name = forms.CharField(max_length=100)
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), str(scope)) for scope in TOKEN_SCOPES],
        error_messages={"required": "Choose at least one scope."},
    )
    expires = forms.ChoiceField(required=False, choices=list(EXPIRIES.items()))

    def expires_in_days(self) -> int | None:
        """None for a token that never expires. Only after ``is_valid``."""
        days = self.cleaned_data["expires"]
        return int(days) if days else None


class DeviceForm(GrantForm):
    """What a command line that asks to be signed in is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].error_messages["required"] = "Choose at least one scope, or refuse."


class TokenForm(GrantForm):
    """A token to mint."""

    networks = forms.CharField(required=False, max_length=2000)

    def allowed_networks(self) -> list[str]:
        """CIDR blocks, one a line or separated by commas. Only after ``is_valid``."""
        text: str = self.cleaned_data["networks"]
        return text.replace(",", " ").split()


class MaskingPatternForm(forms.Form):
    """A pattern, and what shows that it hides what it should. Spaces in it are part of it."""

    name = forms.CharField(max_length=60)
    expression = forms.CharField(max_length=LENGTH, strip=False)
    example = forms.CharField(max_length=EXAMPLE_LONGEST, strip=False)
    pattern = forms.IntegerField(required=False, min_value=1)
