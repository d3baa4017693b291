"""What Celery runs for the console's pages."""

from __future__ import annotations

from celery import shared_task

from accounts.origin import Origin
from accounts.passwords import reset_link
from console.mail import mail_reset_link


@shared_task(name="console.mail_reset_link", ignore_result=True)  # type: ignore[untyped-decorator]
def mail_password_link(*, email: str, address: str, user_agent: str) -> None:
    """To whoever signs in with that address, if anybody does. Asked for by a page, which answers
    the same and as quickly either way."""
    link = reset_link(email=email, origin=Origin(address, user_agent))
    if link is not None:
        mail_reset_link(link, address=address)
