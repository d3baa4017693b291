"""The audit record is only ever added to, whoever asks the database for anything else."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit record is only added to; % is refused.', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON accounts_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
ALTER TABLE accounts_auditentry ENABLE ALWAYS TRIGGER audit_append_only;
ALTER TABLE accounts_auditentry ENABLE ALWAYS TRIGGER audit_no_truncate;
"""
_ALLOW = """
DROP TRIGGER audit_no_truncate ON accounts_auditentry;
DROP TRIGGER audit_append_only ON accounts_auditentry;
DROP FUNCTION audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_device_logins")]

    operations = [
        migrations.AlterField(
            model_name="auditentry",
            name="account",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="audit_entries",
                to="accounts.account",
            ),
        ),
        migrations.RunSQL(sql=_REFUSE, reverse_sql=_ALLOW),
    ]
