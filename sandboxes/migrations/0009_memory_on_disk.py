from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sandboxes", "0008_isolation"),
    ]

    operations = [
        migrations.AddField(
            model_name="sandbox",
            name="survives_machine_restart",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="sandbox",
            name="why_unsaved",
            field=models.TextField(blank=True, default=""),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="snapshot",
            name="includes_memory",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="snapshot",
            name="why_no_memory",
            field=models.TextField(blank=True, default=""),
            preserve_default=False,
        ),
    ]
