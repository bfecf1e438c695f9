"""The emulator: both accounts, the trust between them, and no record lost."""

from __future__ import annotations

import copy
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError
from django.conf import settings as django_settings
from django.test import override_settings

from kinesis_bridge import get_client, get_session, local
from kinesis_bridge.conf import get_config
from kinesis_bridge.exceptions import AssumeRoleError, EmulatorError, StreamError
from kinesis_bridge.tail import Reader
from tests.support.aws import ROLE_ARN, closed_port

pytestmark = pytest.mark.usefixtures("fresh")


def changed(**role):
    """The test settings with another role."""
    configured = copy.deepcopy(django_settings.KINESIS_BRIDGE)
    configured["ROLES"]["writer"].update(role)
    return configured


def as_(access_key, secret, token=None):
    """STS of the emulator, to somebody's own credentials."""
    return boto3.session.Session(
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name="eu-west-1",
    ).client("sts", endpoint_url=local.endpoint_url())


def site():
    return as_(local.SITE_ACCESS_KEY, local.SITE_SECRET_KEY)


def code_of(call, **request):
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response["Error"]["Code"]


def listening(port=0):
    return socket.create_server(("127.0.0.1", port))


# The accounts


def test_the_site_is_a_user_of_account_a():
    identity = get_session().client("sts").get_caller_identity()
    assert identity["Account"] == "111111111111"
    assert identity["Arn"] == "arn:aws:iam::111111111111:user/site"


def test_account_a_cannot_see_the_stream_and_the_role_can():
    request = {"StreamName": "orders"}
    own = get_session().client("kinesis", region_name="eu-west-1")
    of_role = get_session("writer").client("kinesis", region_name="eu-west-1")

    assert code_of(own.describe_stream_summary, **request) == "ResourceNotFoundException"
    assert own.list_streams()["StreamNames"] == []
    summary = of_role.describe_stream_summary(**request)["StreamDescriptionSummary"]
    assert summary["StreamARN"] == "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
    assert sorted(of_role.list_streams()["StreamNames"]) == ["audit", "orders"]


def test_without_the_role_the_clients_own_error_names_the_stream(settings):
    configured = changed()
    configured["STREAMS"] = {"default": {"STREAM": "orders", "REGION": "eu-west-1"}}
    emulator_has_them = local.Emulator()  # made from the settings with the role
    try:
        configured["LOCAL_AWS_URL"] = emulator_has_them.url
        settings.KINESIS_BRIDGE = configured
        with pytest.raises(StreamError, match=r"no stream 'orders' .*eu-west-1"):
            get_client().put_record(b"x")
    finally:
        emulator_has_them.stop()


def test_the_role_carries_the_documents_of_the_settings():
    from moto.iam.models import iam_backends

    local.endpoint_url()
    backend = iam_backends["222222222222"]["aws"]
    role = backend.get_role("EventWriter")
    assert role.arn == ROLE_ARN
    assert "tests-external-id" in role.assume_role_policy_document
    policy = str(backend.get_role_policy("EventWriter", "kinesis-bridge"))
    for stream in ("orders", "audit"):
        assert f"arn:aws:kinesis:eu-west-1:222222222222:stream/{stream}" in policy


@pytest.mark.parametrize(
    "request_",
    [
        {"RoleArn": ROLE_ARN},
        {"RoleArn": ROLE_ARN, "ExternalId": "wrong"},
        {
            "RoleArn": "arn:aws:iam::222222222222:role/Missing",
            "ExternalId": "tests-external-id",
        },
        {"RoleArn": "arn:aws:iam::333333333333:role/EventWriter"},
    ],
    ids=["no external id", "wrong external id", "missing role", "another account"],
)
def test_sts_denies_what_the_trust_policy_does_not_allow(request_):
    assert code_of(site().assume_role, RoleSessionName="tests", **request_) == "AccessDenied"


def test_sts_denies_another_user_of_account_a():
    iam = get_session().client("iam")
    iam.create_user(UserName="stranger")
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    stranger = as_(key["AccessKeyId"], key["SecretAccessKey"])
    request = {"RoleArn": ROLE_ARN, "RoleSessionName": "tests", "ExternalId": "tests-external-id"}

    assert code_of(stranger.assume_role, **request) == "AccessDenied"
    assert site().assume_role(**request)["Credentials"]["SessionToken"]


def test_a_wrong_external_id_is_explained_by_our_own_session(settings):
    running = local.Emulator()  # made from the settings with the right one
    try:
        wrong = changed(EXTERNAL_ID="another-id")
        settings.KINESIS_BRIDGE = {**wrong, "LOCAL_AWS_URL": running.url}
        with pytest.raises(AssumeRoleError) as caught:
            get_client().put_record(b"x")
    finally:
        running.stop()
    assert "user/site may not assume role" in caught.value.message


def test_a_role_is_reached_via_another(settings):
    configured = changed(VIA="hop")
    configured["ROLES"]["hop"] = {"ROLE_ARN": "arn:aws:iam::333333333333:role/team/Hop"}
    settings.KINESIS_BRIDGE = configured

    arn = get_session("writer").client("sts").get_caller_identity()["Arn"]
    assert arn.startswith("arn:aws:sts::222222222222:assumed-role/EventWriter/")
    assert get_client().put_record(b"x").sequence_number
    request = {"RoleArn": ROLE_ARN, "RoleSessionName": "tests", "ExternalId": "tests-external-id"}
    assert code_of(site().assume_role, **request) == "AccessDenied", "only the hop may"


# The shard's lock


@pytest.fixture
def busy():
    """Let threads take turns so often that every race is lost that can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_two_threads_on_one_shard_lose_no_record(busy):
    client = get_session("writer").client("kinesis", region_name="eu-west-1")

    def put(thread):
        return [
            client.put_record(
                StreamName="orders", Data=f"{thread}-{number}".encode(), PartitionKey="hot"
            )["SequenceNumber"]
            for number in range(500)
        ]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(put, "ab")

    assert len({*first, *second}) == 1000
    reader = Reader(get_config().stream("default"))
    stored = [record.data.decode() for record in reader.tail("oldest")]
    reader.close()
    assert sorted(stored) == sorted(f"{t}-{n}" for t in "ab" for n in range(500))
    for thread in "ab":
        of_thread = [data for data in stored if data.startswith(thread)]
        assert of_thread == [f"{thread}-{number}" for number in range(500)]


# Where it listens


def test_it_listens_on_this_machine_only():
    port = urlsplit(local.endpoint_url()).port

    socket.create_connection(("127.0.0.1", port), timeout=2).close()
    with pytest.raises(ConnectionRefusedError):  # what listens everywhere answers here too
        socket.create_connection(("127.0.0.2", port), timeout=2).close()


def test_a_taken_port_is_named():
    with listening() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmulatorError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*--port"):
            local.Emulator(port)


def test_a_failed_start_leaves_the_port_free(monkeypatch):
    def fail(_):
        raise LookupError("no account")

    monkeypatch.setattr(local, "furnish", fail)
    port = closed_port()
    with pytest.raises(LookupError) as caught:  # whose frames hold what was made
        local.Emulator(port)
    listening(port).close()
    assert caught.tb is not None


def test_what_listens_at_the_url_is_used(settings):
    with listening() as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        settings.KINESIS_BRIDGE = {**changed(), "LOCAL_AWS_URL": url}
        assert local.endpoint_url() == url
        assert local._own is None


def test_with_nothing_there_it_runs_in_this_process():
    url = local.endpoint_url()
    assert url != get_config().local_aws_url
    assert local.endpoint_url() == url
    assert get_session("writer").client("s3").meta.endpoint_url == url


def test_a_proxy_of_the_network_is_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert get_session("writer").client("sts").get_caller_identity()["Account"] == "222222222222"


@pytest.mark.parametrize("arguments", [["runserver"], ["-v0", "kinesis_tail"]], ids=" ".join)
def test_commands_of_several_processes_ask_for_kinesis_local(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])

    with pytest.raises(EmulatorError) as caught:
        local.endpoint_url()

    assert "python manage.py kinesis_local --port 9" in str(caught.value)
    assert arguments[-1] in str(caught.value)
    assert local._own is None


def test_without_moto_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(local, "_application", local._application.__wrapped__)
    monkeypatch.setitem(sys.modules, "moto.moto_server.werkzeug_app", None)

    with pytest.raises(EmulatorError, match=r"pip install\s+'django-kinesis-bridge\[local\]'"):
        local.endpoint_url()


# Starting, stopping, forking


def test_new_settings_stop_it_and_start_another():
    first = get_session("writer").client("kinesis").list_streams()["StreamNames"]
    url = local.endpoint_url()
    configured = changed()
    configured["STREAMS"]["default"]["STREAM"] = "other"

    with override_settings(KINESIS_BRIDGE=configured):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=2).close()
        second = get_session("writer").client("kinesis").list_streams()["StreamNames"]

    assert sorted(first) == ["audit", "orders"]
    assert sorted(second) == ["audit", "other"]
    assert sorted(get_session("writer").client("kinesis").list_streams()["StreamNames"]) == [
        "audit",
        "orders",
    ]


def test_a_thread_that_asks_while_it_stops_gets_another():
    """A sender in the background, say, while the settings change."""
    first = local.endpoint_url()

    def ask():
        while local._own is not None:  # no slower: its end takes some milliseconds
            pass
        return local.endpoint_url()

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ask)
        local.stop()
        assert second.result() != first
    assert get_session().client("sts").get_caller_identity()["Arn"] == local.SITE_USER_ARN


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_uses_the_parents_emulator():
    get_client().put_record(b"parent", "k")
    url = local.endpoint_url()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            get_client().put_record(b"child", "k")
            os._exit(0 if local.endpoint_url() == url else 2)
        except BaseException:  # noqa: BLE001 - a child must not return into pytest
            os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    reader = Reader(get_config().stream("default"))
    assert [record.data for record in reader.tail("oldest")] == [b"parent", b"child"]
    reader.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_it_listens_to_nobody_else_unless_asked(host):
    with pytest.raises(EmulatorError, match="--expose"):
        local.Emulator(0, host)


def test_asked_it_tries():
    with pytest.raises(EmulatorError, match=r"cannot listen on 192\.0\.2\.1"):  # nobody's
        local.Emulator(0, "192.0.2.1", exposed=True)
