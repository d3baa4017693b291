"""Whether a plan covers previews."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """The plan without a card on file does not; those of an operator's own do."""
    apps.get_model("accounts", "Plan").objects.filter(name="free").update(previews=False)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_volumes")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="previews",
            field=models.BooleanField(
                default=True, help_text="Ports of sandboxes can be opened to browsers."
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
