"""Mail that holds a secret: without a mail server nothing is sent, as a log would keep it."""

from __future__ import annotations

import logging
import smtplib

from django.conf import settings
from django.core.mail import BadHeaderError, send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.passwords import ResetLink

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


def address_of(path: str) -> str:
    """A link to ``path`` at the installation's own host, whatever a request called it."""
    return settings.ORKESTR_BASE_URL + path


def mail_reset_link(link: ResetLink, *, address: str) -> bool:
    """To the person it is for."""
    path = reverse("password-reset", args=[link.uid, link.token])
    context = {"user": link.user, "link": address_of(path), "address": address}
    text = render_to_string("console/mail/reset_link.txt", context)
    return mail(to=link.user.email, subject="A new password for orkestr", text=text)
