import django.contrib.postgres.indexes
import django.contrib.postgres.operations
import django.db.models.functions.comparison
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_audit_append_only"),
        ("sandboxes", "0011_masking_patterns"),
    ]

    operations = [
        django.contrib.postgres.operations.TrigramExtension(),
        migrations.AddIndex(
            model_name="sandbox",
            index=models.Index(fields=["account", "template", "-id"], name="sandbox_by_template"),
        ),
        migrations.AddIndex(
            model_name="sandbox",
            index=models.Index(fields=["account", "network", "-id"], name="sandbox_by_network"),
        ),
        migrations.AddIndex(
            model_name="sandbox",
            index=models.Index(
                condition=models.Q(("status", "failed")),
                fields=["account", "ended_at"],
                name="sandbox_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="sandbox",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Upper(
                        django.db.models.functions.text.Concat(
                            "id",
                            models.Value(" "),
                            django.db.models.functions.comparison.Cast(
                                "metadata", models.TextField()
                            ),
                            output_field=models.TextField(),
                        )
                    ),
                    "gin_trgm_ops",
                ),
                gin_pending_list_limit=256,
                name="sandbox_text",
            ),
        ),
    ]
