"""Search in output, and filters by failure and actor, each with an index of its own."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.db import migrations, models

# Written as in ``timeline.matches``, so that PostgreSQL knows them again.
FAILED = """
    CREATE INDEX timeline_event_failed ON timeline_event (sandbox_id, seq) WHERE
    kind IN ('sandbox.failed', 'limit.hit', 'network.denied')
    OR (kind = 'command.exited' AND (data -> 'exit_code' IS DISTINCT FROM '0'::jsonb
        OR data -> 'timed_out' = 'true'::jsonb))
    OR (kind = 'code.done' AND data ->> 'status' IS DISTINCT FROM 'ok')
"""
ACTOR = """
    CREATE INDEX timeline_event_actor ON timeline_event
    (sandbox_id, COALESCE(actor ->> 'id', actor ->> 'type'), seq)
    WHERE NOT (kind IN ('command.output', 'code.output'))
"""
EXITED = """
    CREATE INDEX timeline_event_exited ON timeline_event (sandbox_id, span)
    WHERE kind IN ('command.exited', 'terminal.closed', 'code.done')
"""


class Migration(migrations.Migration):
    dependencies = [("timeline", "0004_notes")]

    operations = [
        migrations.CreateModel(
            name="WordBlock",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "sandbox_id",
                        "last",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("sandbox_id", models.TextField()),
                ("last", models.BigIntegerField()),
                ("first", models.BigIntegerField()),
                ("words", django.contrib.postgres.search.SearchVectorField()),
            ],
            options={
                "db_table": "timeline_words",
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fields=["words"], name="timeline_words_gin"
                    )
                ],
            },
        ),
        migrations.RunSQL(FAILED, "DROP INDEX timeline_event_failed"),
        migrations.RunSQL(ACTOR, "DROP INDEX timeline_event_actor"),
        migrations.RunSQL(EXITED, "DROP INDEX timeline_event_exited"),
    ]
