"""What is known of a paused sandbox."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sandboxes", "0002_allowed_domains")]

    operations = [
        migrations.AddField(
            model_name="sandbox",
            name="turned_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.AddField(
            model_name="sandbox", name="paused_at", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="sandbox", name="paused_expires_at", field=models.DateTimeField(null=True)
        ),
        migrations.AddField(
            model_name="sandbox",
            name="snapshot_id",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.AddField(
            model_name="sandbox",
            name="snapshot_size_mb",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name="sandbox",
            index=models.Index(
                condition=models.Q(("status", "paused")),
                fields=["paused_expires_at"],
                name="sandbox_paused",
            ),
        ),
    ]
