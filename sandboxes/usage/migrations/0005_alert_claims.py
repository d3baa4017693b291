"""A mail is claimed before it is sent, so that a killed process has at most one sent again."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_caps_and_alerts")]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="claimed_at",
            field=models.DateTimeField(null=True),
        ),
    ]
