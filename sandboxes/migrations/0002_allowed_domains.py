"""The default allowlist as rows, and a sandbox's own."""

import django.contrib.postgres.fields
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import sandboxes.models
from sandboxes.host.egress.defaults import CODE_HOSTING, LLM_APIS


def fill(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """Once; from then on an operator edits them."""
    row = apps.get_model("sandboxes", "AllowedDomain")
    for source, domains in (("code_hosting", CODE_HOSTING), ("llm_api", LLM_APIS)):
        row.objects.bulk_create(row(domain=domain, source=source) for domain in domains)


class Migration(migrations.Migration):
    dependencies = [("sandboxes", "0001_sandboxes")]

    operations = [
        migrations.CreateModel(
            name="AllowedDomain",
            fields=[
                (
                    "domain",
                    models.CharField(max_length=253, primary_key=True, serialize=False),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("registry", "Package registry"),
                            ("code_hosting", "Code hosting"),
                            ("llm_api", "LLM API"),
                            ("operator", "Operator"),
                        ],
                        default="operator",
                        max_length=16,
                    ),
                ),
                (
                    "ports",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(),
                        default=sandboxes.models.tls_port,
                        size=None,
                    ),
                ),
                (
                    "http_ports",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
            ],
            options={"ordering": ["source", "domain"]},
        ),
        migrations.AddField(
            model_name="sandbox",
            name="allow_domains",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=253), blank=True, null=True, size=None
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
