from django.contrib.auth.models import Group

from kinesis_bridge import publishes

publishes("auth.group", key="pk", fields=["id", "name"])(Group)
