"""Persistent volumes, of which a sandbox that has not ended may hold one."""

import django.db.models.deletion
import django.utils.timezone
import sandboxes.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_volumes"),
        ("sandboxes", "0004_snapshots"),
    ]

    operations = [
        migrations.AddField(
            model_name="sandbox",
            name="volume_name",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.CreateModel(
            name="Volume",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=sandboxes.models.new_volume_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=64)),
                ("size_mb", models.PositiveIntegerField()),
                ("region", models.CharField(blank=True, max_length=32)),
                ("node_id", models.CharField(blank=True, max_length=64)),
                ("max_lifetime_days", models.PositiveIntegerField(null=True)),
                ("max_lifetime_hours", models.PositiveIntegerField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(null=True)),
                ("deleted_at", models.DateTimeField(null=True)),
                ("dropped_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="volumes",
                        to="accounts.account",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="sandbox",
            name="volume",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="sandboxes",
                to="sandboxes.volume",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandbox",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("volume__isnull", False),
                    models.Q(("status__in", ("terminated", "failed")), _negated=True),
                ),
                fields=("volume",),
                name="volume_holder",
            ),
        ),
        migrations.AddIndex(
            model_name="volume",
            index=models.Index(fields=["account", "-id"], name="volume_newest"),
        ),
        migrations.AddIndex(
            model_name="volume",
            index=models.Index(
                condition=models.Q(("deleted_at", None), ("expires_at__isnull", False)),
                fields=["expires_at"],
                name="volume_expiring",
            ),
        ),
        migrations.AddIndex(
            model_name="volume",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False), ("dropped_at", None)),
                fields=["deleted_at"],
                name="volume_deleted",
            ),
        ),
        migrations.AddConstraint(
            model_name="volume",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)),
                fields=("account", "name"),
                name="volume_name",
            ),
        ),
    ]
