"""``manage.py list_buckets``: the buckets of both accounts, each as its own caller sees them."""

from typing import Any

from demo_project.emulated import furnish
from demo_project.s3 import account_a, account_b
from kinesis_bridge.management.output import BridgeCommand


class Command(BridgeCommand):
    help = "List the S3 buckets of account A, and those of account B by the role 's3-viewer'."

    def run(self, **_: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for title, open_account in (("A", account_a), ("B", account_b)):
            account = open_account()
            furnish(account)
            names = account.buckets()
            found[f"account_{title.lower()}"] = {"account": account.number, "buckets": names}
            if not self.as_json:
                self.stdout.write(f"===== Account {title} Buckets =====")
                self.stdout.write("\n".join(names) or "(none)")
        return found
