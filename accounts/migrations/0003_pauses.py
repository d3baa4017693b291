"""How long a plan keeps paused sandboxes, and what it does at a timeout beyond its cap."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """The plans an installation starts with; those of an operator's own keep them for ever."""
    plans = apps.get_model("accounts", "Plan").objects
    plans.filter(name="free").update(paused_days=7)
    plans.filter(name="payg").update(paused_days=30, pauses_beyond_cap=True)
    plans.filter(name="enterprise").update(pauses_beyond_cap=True)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_stops_at_credit")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="paused_days",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="plan",
            name="pauses_beyond_cap",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
