"""Telling owners how much of a credit or cap is spent: each share once, whoever counts.

A row says that it was reached. It is made, with the deliveries to webhooks, in one transaction that
only one process can win; its mail is sent under the row's lock, and again if that failed.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import Role, User
from sandboxes.usage.models import Alert, AlertOf
from sandboxes.webhooks.kinds import EventType
from sandboxes.webhooks.outbox import record

logger = logging.getLogger(__name__)

PERCENTS: Final = (50, 80, 100)
MAIL_FOR: Final = timedelta(days=1)
"""For so long a mail that cannot be sent is tried again."""

CLAIMED_FOR: Final = timedelta(minutes=10)
"""Longer than any process sends one mail."""

_BATCH: Final = 50
_RAISE: Final = """
INSERT INTO usage_alert
    (account_id, "of", period, limit_eur, percent, spent_eur, at, mail_error)
SELECT s.account_id, c.of_what, c.period, c.limit_eur, p.percent, c.spent, %(now)s, ''
FROM usage_spending s
JOIN accounts_account a ON a.id = s.account_id
JOIN accounts_plan n ON n.name = a.plan_id
LEFT JOIN usage_cap k ON k.account_id = a.id
CROSS JOIN LATERAL (VALUES
    ('credit', '', n.trial_credit_eur, s.eur),
    ('month', to_char(s.month, 'YYYY-MM'), k.monthly_eur, s.month_eur)
) AS c (of_what, period, limit_eur, spent)
CROSS JOIN unnest(%(percents)s) AS p (percent)
WHERE c.limit_eur > 0 AND c.spent >= c.limit_eur * p.percent / 100
  AND NOT EXISTS (
    SELECT FROM usage_alert x WHERE x.account_id = s.account_id AND x."of" = c.of_what
      AND x.period = c.period AND x.limit_eur = c.limit_eur AND x.percent = p.percent)
ORDER BY s.account_id, c.of_what, p.percent
ON CONFLICT DO NOTHING
RETURNING id
"""


@transaction.atomic
def alerts_raise(*, now: datetime) -> int:
    """Write down what was reached and not told yet; how many that were."""
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, {"now": now, "percents": list(PERCENTS)})
        ids = [row[0] for row in cursor.fetchall()]
    for alert in Alert.objects.filter(id__in=ids).select_related("account__plan").order_by("id"):
        record(
            account_id=alert.account_id,
            kind=EventType.USAGE_ALERT,
            subject=f"alert_{alert.pk}",
            data=lambda alert=alert: alert_json(alert),  # type: ignore[misc]
        )
    return len(ids)


def alert_json(alert: Alert) -> dict[str, Any]:
    """What a webhook is told. Money is text, so that nothing is rounded on the way."""
    return {
        "account_id": alert.account_id,
        "of": alert.of,
        "period": alert.period or None,
        "percent": alert.percent,
        "limit_eur": f"{alert.limit_eur:.2f}",
        "spent_eur": f"{alert.spent_eur:.6f}",
        "stops": stops_at(alert),
        "at": alert.at.isoformat(),
    }


def stops_at(alert: Alert) -> bool:
    """Whether sandboxes are paused once all of it is spent."""
    return alert.of == AlertOf.MONTH or alert.account.plan.stops_at_credit


def alerts_mail(*, now: datetime) -> int:
    """Send what was not mailed yet; how many mails that were."""
    sent = 0
    after = 0
    for _ in range(_BATCH):
        alert_id = _mail_next(after=after, now=now)
        if alert_id is None:
            break
        sent += Alert.objects.filter(id=alert_id, mailed_at__isnull=False).count()
        after = alert_id
    return sent


def _mail_next(*, after: int, now: datetime) -> int | None:
    """The next one's id: claimed, sent, and written down."""
    alert = _claim(after=after, now=now)
    if alert is None:
        return None
    try:
        _message(alert).send()
    except (OSError, SMTPException) as error:
        logger.warning("alert %s was not mailed: %s", alert.pk, error)
        alert.mail_error = str(error)[:200]
    else:
        alert.mailed_at, alert.mail_error = timezone.now(), ""
    alert.claimed_at = None
    alert.save(update_fields=["mailed_at", "claimed_at", "mail_error"])
    return alert.pk


@transaction.atomic
def _claim(*, after: int, now: datetime) -> Alert | None:
    """Committed before the mail goes out, so that no other process sends it too.

    Whoever is killed while sending leaves a claim behind. Whether that mail went out nobody knows:
    once the claim is old it is sent again, under the same Message-ID.
    """
    rows = Alert.objects.select_for_update(skip_locked=True, of=("self",))
    free = Q(claimed_at=None) | Q(claimed_at__lt=now - CLAIMED_FOR)
    due = rows.filter(free, mailed_at=None, id__gt=after, at__gt=now - MAIL_FOR)
    alert = due.select_related("account__plan").order_by("id").first()
    if alert is not None:
        alert.claimed_at = now
        alert.save(update_fields=["claimed_at"])
    return alert


def _message(alert: Alert) -> EmailMessage:
    """To all owners at once. A name with a line break in it ends no header."""
    owners = User.objects.filter(
        memberships__account_id=alert.account_id, memberships__role=Role.OWNER, is_active=True
    )
    name = " ".join(alert.account.name.split())
    what = "credit" if alert.of == AlertOf.CREDIT else f"cap for {alert.period}"
    text = render_to_string(
        "mail/usage_alert.txt",
        {
            "alert": alert,
            "name": name,
            "what": what,
            "stops": stops_at(alert),
            "base": settings.ORKESTR_BASE_URL,
        },
    )
    subject = f"{name} has spent {alert.percent} % of its {what}"
    to = sorted(owners.values_list("email", flat=True))
    host = urlsplit(settings.ORKESTR_BASE_URL).hostname or "localhost"
    same = f"<alert-{alert.pk}-{alert.account_id}@{host}>"
    return EmailMessage(subject, text, to=to, headers={"Message-ID": same})
