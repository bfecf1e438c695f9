from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("kinesis_bridge", "0004_labels"),
    ]

    operations = [
        # First the new one: there is no moment in which two relays could add the same row.
        migrations.AddConstraint(
            model_name="streamstatistic",
            constraint=models.UniqueConstraint(
                fields=("start", "stream"), name="kinesis_statistic_by_start"
            ),
        ),
        migrations.RemoveConstraint(
            model_name="streamstatistic",
            name="kinesis_statistic_unique",
        ),
    ]
