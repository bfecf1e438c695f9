"""Events of models that are not ours: found by kinesis_bridge in every installed app."""

from django.contrib.auth.models import User

from kinesis_bridge import publishes

publishes("auth.user", key="pk", fields=["id", "username", "is_active"])(User)
