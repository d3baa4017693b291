from django.db import migrations, models
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import MD5


class Migration(migrations.Migration):
    dependencies = [("timeline", "0001_initial")]

    operations = [
        migrations.AddIndex(
            model_name="eventrow",
            index=models.Index(
                models.F("sandbox_id"),
                MD5(KeyTextTransform("path", "data")),
                models.F("seq"),
                condition=models.Q(kind="file.written"),
                name="timeline_event_written",
            ),
        ),
    ]
