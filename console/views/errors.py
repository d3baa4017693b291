"""What is answered where no page is."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from console.signed_in import chosen_principal


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, with the way to everything else for who is signed in."""
    request.principal = chosen_principal(request)  # type: ignore[attr-defined]
    return render(request, "404.html", status=404)
