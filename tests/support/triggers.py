"""Models captured by triggers for the time of a test: elsewhere they are as undeclared as any."""

from contextlib import contextmanager

import pgtrigger
from django.db import connections
from django.db.backends.signals import connection_created

from kinesis_bridge import declarations, publishes
from kinesis_bridge.capture import setting, triggers
from tests.triggerapp.models import DECLARED


@contextmanager
def declared(using):
    """Declare the models of tests.triggerapp, and have their triggers in database `using`."""
    triggers.start()
    try:
        for model, (arguments, named) in DECLARED.items():
            publishes(*arguments, **named)(model)
        for model, trigger in pgtrigger.registered():
            trigger.install(model, database=using)
        yield
    finally:
        for model, trigger in pgtrigger.registered():
            trigger.uninstall(model, database=using)
            trigger.unregister(model)
        for model in DECLARED:
            declarations.forget(model)
        declarations.declared.disconnect(dispatch_uid="kinesis_bridge.capture.triggers")
        connection_created.disconnect(dispatch_uid=setting._UID)
        for connection in connections.all(initialized_only=True):
            connection.execute_wrappers[:] = [
                one for one in connection.execute_wrappers if type(one) is not setting._Telling
            ]
