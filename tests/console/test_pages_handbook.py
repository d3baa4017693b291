"""The operator's documents as pages of the console."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client

from console.handbook import DOCUMENTS, EXAMPLE, document
from tests.cast import Cast


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_a_page(account: Cast, name: str) -> None:
    client = Client()
    client.force_login(account.viewer)
    answer = client.get(f"/docs/handbook/{name}/")
    html = answer.content.decode()
    assert answer.status_code == 200
    assert f"<h1>{document(name).title.split('`')[0]}" in html
    assert EXAMPLE not in html
    assert "style=" not in document(name).html  # the page's policy would not let it through
    for other in DOCUMENTS:
        assert f'href="{other}.md' not in html


def test_the_handbook_has_this_installations_address_and_leads_on(account: Cast) -> None:
    html = document("operating").html
    assert settings.ORKESTR_BASE_URL in html
    assert 'href="/docs/handbook/observability/"' in html
    assert 'id="backup-and-restore"' in html
    client = Client()
    client.force_login(account.owner)
    assert 'href="/docs/handbook/operating/"' in client.get("/docs/").content.decode()
    assert client.get("/docs/handbook/nothing/").status_code == 404
