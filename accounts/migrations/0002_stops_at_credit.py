from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def stop_free(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """The plan that every installation has begun with; others are as their operators say."""
    apps.get_model("accounts", "Plan").objects.filter(name="free").update(stops_at_credit=True)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_accounts"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="stops_at_credit",
            field=models.BooleanField(
                default=False,
                help_text="Nothing runs once the credit is used up; else it is billed.",
            ),
        ),
        migrations.RunPython(stop_free, migrations.RunPython.noop),
    ]
