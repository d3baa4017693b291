"""Commands and failures of each 64 events, for a run at a glance."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("timeline", "0005_search")]

    operations = [
        migrations.CreateModel(
            name="Stretch",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "sandbox_id",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("sandbox_id", models.TextField()),
                ("number", models.BigIntegerField()),
                ("commands", models.IntegerField()),
                ("failed", models.IntegerField()),
            ],
            options={"db_table": "timeline_stretch"},
        ),
    ]
