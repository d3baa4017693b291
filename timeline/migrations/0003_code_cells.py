"""Cells and terminals begin spans as commands do, and cells' output is as much of a log."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("timeline", "0002_file_history")]

    operations = [
        migrations.RemoveIndex(model_name="eventrow", name="timeline_event_started"),
        migrations.RemoveIndex(model_name="eventrow", name="timeline_event_kind"),
        migrations.AddIndex(
            model_name="eventrow",
            index=models.Index(
                fields=["sandbox_id", "span"],
                condition=Q(kind__in=["command.started", "terminal.opened", "code.run"]),
                name="timeline_event_started",
            ),
        ),
        migrations.AddIndex(
            model_name="eventrow",
            index=models.Index(
                fields=["sandbox_id", "kind", "seq"],
                condition=~Q(kind__in=["command.output", "code.output"]),
                name="timeline_event_kind",
            ),
        ),
    ]
