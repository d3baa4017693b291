"""Sums up to each stretch, so that a part of a run is the difference of two rows."""

from django.db import migrations, models

_SUM = """
    UPDATE timeline_stretch AS one SET commands_to = upto.commands, failed_to = upto.failed
    FROM (
        SELECT sandbox_id, number, sum(commands) OVER each AS commands, sum(failed) OVER each AS failed
        FROM timeline_stretch WINDOW each AS (PARTITION BY sandbox_id ORDER BY number)
    ) AS upto
    WHERE one.sandbox_id = upto.sandbox_id AND one.number = upto.number
"""


class Migration(migrations.Migration):
    dependencies = [("timeline", "0006_stretches")]

    operations = [
        migrations.AddField(
            "stretch", "commands_to", models.BigIntegerField(default=0), preserve_default=False
        ),
        migrations.AddField(
            "stretch", "failed_to", models.BigIntegerField(default=0), preserve_default=False
        ),
        migrations.RunSQL(_SUM, migrations.RunSQL.noop),
    ]
