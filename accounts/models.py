"""Who may do what: people, accounts, plans, sizes, tokens, and the record of who did it."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.ids import new_account_id, new_device_id, new_token_id
from timeline.events import Actor


class UserManager(BaseUserManager["User"]):
    """Looks people up by e-mail address, whatever its case."""

    def get_by_natural_key(self, username: str | None) -> User:
        """Sign-in calls this; addresses are stored in lower case."""
        email = (username or "").strip().lower()
        if "\x00" in email:
            raise User.DoesNotExist("no address holds a NUL character")
        return self.get(email=email)

    def create_superuser(self, *, email: str, password: str, name: str = "") -> User:
        """What ``manage.py createsuperuser`` calls: a member of staff, who may edit plan rows."""
        user = User(email=email.strip().lower(), name=name, is_staff=True)
        user.set_password(password)
        user.save()
        return user


class User(AbstractBaseUser):
    """A person who signs in with an e-mail address."""

    email = models.EmailField(unique=True, max_length=254)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def actor(self) -> Actor:
        """As events and the audit record name them."""
        return Actor("person", id=str(self.pk), name=str(self))

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """In Django's admin, where staff may do what each page there lets them."""
        return self.is_active and self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        """Likewise."""
        return self.is_active and self.is_staff


class Size(models.Model):
    """One entry of the size menu. Rates are EUR for an hour of one CPU, and of one GB of memory."""

    name = models.CharField(primary_key=True, max_length=32)
    cpu = models.DecimalField(max_digits=6, decimal_places=2)
    memory_mb = models.PositiveIntegerField()
    disk_mb = models.PositiveIntegerField()
    pids = models.PositiveIntegerField()
    eur_per_cpu_hour = models.DecimalField(max_digits=10, decimal_places=6)
    eur_per_gb_hour = models.DecimalField(max_digits=10, decimal_places=6)

    class Meta:
        ordering: ClassVar[list[str]] = ["memory_mb", "cpu", "name"]

    def __str__(self) -> str:
        return self.name


class Plan(models.Model):
    """What an account may use. Rows, so that an operator can edit caps without a release.

    ``max_snapshots`` counts paused sandboxes, which are kept for ``paused_days`` (null: for ever).
    A sandbox whose time is up is paused beyond that cap only with ``pauses_beyond_cap``.
    """

    name = models.CharField(primary_key=True, max_length=32)
    sizes = models.ManyToManyField(Size, related_name="plans")
    networks = ArrayField(models.CharField(max_length=16))
    isolation = models.CharField(
        max_length=16,
        blank=True,
        choices=[("runc", "runc"), ("gvisor", "gVisor")],
        help_text="The isolation class of all its sandboxes; empty leaves it to who creates one.",
    )
    max_concurrent = models.PositiveIntegerField()
    max_snapshots = models.PositiveIntegerField()
    max_named_snapshots = models.PositiveIntegerField()
    max_volumes = models.PositiveIntegerField(default=10)
    max_volume_mb = models.PositiveIntegerField(default=10240)
    paused_days = models.PositiveIntegerField(null=True, blank=True)
    pauses_beyond_cap = models.BooleanField(default=False)
    max_timeout_seconds = models.PositiveIntegerField()
    max_running_lifetime_seconds = models.PositiveIntegerField(null=True, blank=True)
    custom_egress_allowlist = models.BooleanField(default=False)
    previews = models.BooleanField(
        default=True, help_text="Ports of sandboxes can be opened to browsers."
    )
    trial_credit_eur = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    stops_at_credit = models.BooleanField(
        default=False, help_text="Nothing runs once the credit is used up; else it is billed."
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["max_concurrent", "name"]

    def __str__(self) -> str:
        return self.name


class Account(models.Model):
    """What owns sandboxes and tokens, and is billed. People reach it through a membership.

    Timelines are kept for ``timeline_days`` after a run has ended. ``default_domains`` is what its
    restricted sandboxes may reach unless they say more; null for the installation's list.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_account_id, editable=False)
    name = models.CharField(max_length=100)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="accounts")
    members = models.ManyToManyField(User, through="Membership", related_name="accounts")
    timeline_days = models.PositiveIntegerField(default=30)
    default_domains = ArrayField(models.CharField(max_length=253), null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """A viewer reads; an operator acts; an owner also manages members, others' tokens, the plan."""

    OWNER = "owner", "Owner"
    OPERATOR = "operator", "Operator"
    VIEWER = "viewer", "Viewer"


class Membership(models.Model):
    """A person's role in an account."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["account", "user"], name="membership_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.account_id}"


class Token(models.Model):
    """A bearer token. Only its lookup key and a keyed digest of its secret are kept.

    ``last_used_*`` may lag behind by a minute: a busy token must not write on every request. What
    it uses is known from ``watched_from`` on.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_token_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tokens")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=100)
    lookup = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=64))
    allowed_networks = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_address = models.GenericIPAddressField(null=True, blank=True)
    last_used_agent = models.CharField(max_length=200, blank=True)
    watched_from = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-created_at"], name="token_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def prefix(self) -> str:
        """The public part, by which a person recognises the token."""
        return f"ork_{self.lookup}"

    @property
    def unused_scopes(self) -> list[str]:
        """What it was granted and has not used; nothing of one that has done nothing yet."""
        used = {use.scope for use in self.scope_uses.all()}
        return [scope for scope in self.scopes if scope not in used] if used else []


class ScopeUse(models.Model):
    """When a token last did something that takes this scope. May lag behind by a minute."""

    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="scope_uses")
    scope = models.CharField(max_length=64)
    last_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["token", "scope"], name="scope_use_once"),
        ]

    def __str__(self) -> str:
        return f"{self.token_id} used {self.scope}"


class DeviceLogin(models.Model):
    """A command line that asks to be signed in, until a person answers and it collects its token.

    The token is minted when it is collected, so its text is kept nowhere; ``digest`` is of the code
    that only the asking program knows, ``user_code`` is what the person compares.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_device_id, editable=False)
    digest = models.CharField(max_length=64, unique=True)
    user_code = models.CharField(max_length=8, unique=True)
    client_name = models.CharField(max_length=100)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    polled_at = models.DateTimeField(null=True, blank=True)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, null=True, related_name="+")
    answered_by = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    answered_at = models.DateTimeField(null=True, blank=True)
    approved = models.BooleanField(default=False)
    token_name = models.CharField(max_length=100, blank=True)
    scopes = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    expires_in_days = models.PositiveIntegerField(null=True, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["address", "created_at"], name="device_by_address"),
            models.Index(fields=["expires_at"], name="device_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.client_name} ({self.code})"

    @property
    def code(self) -> str:
        """As it is shown: in two halves."""
        return f"{self.user_code[:4]}-{self.user_code[4:]}"


class Invitation(models.Model):
    """A seat that is held for an e-mail address. Its link is shown once; a keyed digest is kept."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=Role.choices)
    digest = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-created_at"], name="invitation_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"


class SignedInSession(models.Model):
    """Where a session of Django's came from. It is as good as gone when that session is."""

    session_key = models.CharField(primary_key=True, max_length=40)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="signed_in_sessions")
    method = models.CharField(max_length=32, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.user_id} from {self.address}"


class Authenticator(models.Model):
    """An app that shows codes (TOTP). ``secret`` is encrypted; ``last_step`` is spent."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="authenticator")
    secret = models.TextField()
    last_step = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"authenticator of {self.user_id}"


class RecoveryCode(models.Model):
    """Good once in place of a code. A keyed digest is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "digest"], name="recovery_code_once"),
        ]

    def __str__(self) -> str:
        return f"recovery code of {self.user_id}"


class Passkey(models.Model):
    """A WebAuthn credential that a person signs in with, by itself. The key is a public one."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=100)
    credential_id = models.BinaryField(unique=True)
    public_key = models.BinaryField()
    sign_count = models.BigIntegerField(default=0)
    synced = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Attempt(models.Model):
    """Something that may only be tried so often. ``key`` is a keyed digest of what and who."""

    key = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["key", "at"], name="attempt_by_key"),
            models.Index(fields=["at"], name="attempt_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.key[:8]} at {self.at}"


class AuditEntry(models.Model):
    """Who did what, when and from where. Only ever added to: the database refuses anything else.

    ``account`` is null for what belongs to none, such as a failed sign-in.
    ``actor`` is ``timeline.events.Actor.to_json()``; ``before`` and ``after`` hold what changed.
    """

    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, null=True, related_name="audit_entries"
    )
    at = models.DateTimeField(default=timezone.now)
    actor = models.JSONField()
    action = models.CharField(max_length=64)
    target = models.CharField(max_length=254, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-at", "-id"], name="audit_by_account"),
        ]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.action} {self.target}"
