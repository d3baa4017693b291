"""What an account keeps of timelines, and what its restricted sandboxes may reach by default."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_scope_uses")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="timeline_days",
            field=models.PositiveIntegerField(default=30),
        ),
        migrations.AddField(
            model_name="account",
            name="default_domains",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=253), blank=True, null=True, size=None
            ),
        ),
    ]
