"""How many volumes a plan keeps, and how large one may be."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """The plans an installation starts with; those of an operator's own get the defaults."""
    plans = apps.get_model("accounts", "Plan").objects
    plans.filter(name="free").update(max_volumes=3, max_volume_mb=10 * 1024)
    plans.filter(name="payg").update(max_volumes=50, max_volume_mb=100 * 1024)
    plans.filter(name="enterprise").update(max_volumes=500, max_volume_mb=1024 * 1024)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_pauses")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="max_volumes",
            field=models.PositiveIntegerField(default=10),
        ),
        migrations.AddField(
            model_name="plan",
            name="max_volume_mb",
            field=models.PositiveIntegerField(default=10240),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
