"""Mail that holds a secret: without a mail server nothing is sent, as a log would keep it."""

from __future__ import annotations

import logging
import smtplib

from django.conf import settings
from django.core.mail import BadHeaderError, send_mail

log = logging.getLogger(__name__)


def mail(*, to: str, subject: str, text: str) -> bool:
    """Whether it was handed to the mail server."""
    if not settings.ORKESTR_EMAIL_URL:
        return False
    try:
        return send_mail(subject, text, None, [to]) == 1
    except (OSError, smtplib.SMTPException, BadHeaderError) as error:
        log.warning("mail to %s was not sent: %s", to, error)
        return False
