"""Named snapshots."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import sandboxes.models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_pauses"), ("sandboxes", "0003_pauses")]

    operations = [
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=sandboxes.models.new_snapshot_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=100)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("capturing", "Capturing"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                        ],
                        default="capturing",
                        max_length=16,
                    ),
                ),
                ("source_id", models.CharField(max_length=40)),
                ("template", models.CharField(max_length=64)),
                ("size", models.CharField(max_length=32)),
                ("cpu", models.DecimalField(decimal_places=2, max_digits=6)),
                ("memory_mb", models.PositiveIntegerField()),
                ("network", models.CharField(max_length=16)),
                (
                    "allow_domains",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=253),
                        blank=True,
                        null=True,
                        size=None,
                    ),
                ),
                ("region", models.CharField(max_length=32)),
                ("node_id", models.CharField(max_length=64)),
                ("size_mb", models.PositiveIntegerField(null=True)),
                ("error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ready_at", models.DateTimeField(null=True)),
                ("deleted_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="snapshots",
                        to="accounts.account",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["account", "-id"], name="snapshot_newest")],
            },
        ),
    ]
