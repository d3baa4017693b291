"""Whether a sandbox's previews ask for its token."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sandboxes", "0005_volumes")]

    operations = [
        migrations.AddField(
            model_name="sandbox",
            name="preview_auth",
            field=models.BooleanField(default=False),
        ),
    ]
