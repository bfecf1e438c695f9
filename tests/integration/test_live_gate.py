"""The gate of ``make live``, before an AWS of the tests: boto3 understands what it answers."""

import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from demo_project.live.supervisor import gate as module
from demo_project.live.supervisor.gate import Gate
from tests.support.aws import ROLE_ARN, Answers, AwsServer, closed_port, kinesis_error, sts_error
from tests.support.servers import listens


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers):
    with AwsServer(answers) as running:
        yield running


@pytest.fixture
def gate(aws):
    made = Gate(aws.url)
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch):
    """The gate's clock: it stands still, but for what a test adds."""
    now = [time.monotonic()]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def service(gate):
    """Make a client of boto3 that goes through the gate, and asks once."""
    made = []

    def make(name):
        client = boto3.client(
            name,
            endpoint_url=gate.url,
            region_name="eu-west-1",
            aws_access_key_id="AKIATESTSITE00000000",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def put(client, *keys):
    """The codes of the answers, one a record; None: acknowledged."""
    records = [{"Data": key.encode(), "PartitionKey": key} for key in keys]
    answer = client.put_records(StreamName="orders", Records=records)
    codes = [one.get("ErrorCode") for one in answer["Records"]]
    assert answer["FailedRecordCount"] == len([code for code in codes if code])
    return codes


def test_what_nothing_breaks_is_passed_on_as_it_is(gate, aws, service):
    assert put(service("kinesis"), "a", "b") == [None, None]
    [request] = aws.of("PutRecords")
    assert [one["PartitionKey"] for one in request.parameters["Records"]] == ["a", "b"]
    assert request.scope == ("eu-west-1", "kinesis")
    # Signed for the gate, as the site's own requests are: SigV4 signs the host.
    assert request.headers["Host"] == urlsplit(gate.url).netloc


def test_an_answer_of_its_own_comes_with_its_status(answers, service):
    answers.replaced["PutRecords"] = kinesis_error("ResourceNotFoundException", "no stream", 400)
    with pytest.raises(ClientError, match="no stream") as refused:
        put(service("kinesis"), "a")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_the_last_session_is_noted(gate, answers, service):
    sts = service("sts")
    sts.get_caller_identity()
    assert gate.session is None
    given = sts.assume_role(RoleArn=ROLE_ARN, RoleSessionName="shop-web-1")
    arn = "arn:aws:sts::222222222222:assumed-role/EventWriter/shop-web-1"
    assert gate.session == {"arn": arn, "expires": given["Credentials"]["Expiration"].timestamp()}


def test_a_role_that_is_refused_is_no_session(gate, answers, service):
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", "no")
    with pytest.raises(ClientError, match="AccessDenied"):
        service("sts").assume_role(RoleArn=ROLE_ARN, RoleSessionName="shop-web-1")
    assert gate.session is None


def test_down_is_503_of_either_service_and_nothing_gets_through(gate, aws, service):
    gate.fault = "down"
    for ask in (lambda: put(service("kinesis"), "a"), service("sts").get_caller_identity):
        with pytest.raises(ClientError) as refused:
            ask()
        answer = refused.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert answer["Error"]["Code"] == "ServiceUnavailable"
        assert answer["Error"]["Message"] == "The service is not available."
    assert aws.requests == []

    gate.fault = None
    assert put(service("kinesis"), "a") == [None]


def test_a_throttled_stream_takes_the_first_and_refuses_the_others(gate, answers, service, clock):
    gate.fault = "throttled"
    refused = "ProvisionedThroughputExceededException"
    kinesis = service("kinesis")
    assert put(kinesis, "a", "b", "c") == [None, refused, refused]
    assert answers.payloads == [b"a"]
    assert put(kinesis, "b") == [refused]
    clock[0] += 0.9 / module.RECORDS_PER_SECOND
    assert put(kinesis, "b") == [refused]
    clock[0] += 0.2 / module.RECORDS_PER_SECOND
    assert put(kinesis, "b", "c") == [None, refused]
    clock[0] += 3600  # a quiet hour saves nothing up
    assert put(kinesis, "c", "d") == [None, refused]
    assert answers.payloads == [b"a", b"b", b"c"]


def test_what_is_throttled_is_only_sending(gate, aws, service, clock):
    gate.fault = "throttled"
    assert put(service("kinesis"), "a") == [None]
    service("sts").get_caller_identity()
    assert service("kinesis").list_shards(StreamName="orders")["Shards"]
    assert put(service("kinesis"), "b") == ["ProvisionedThroughputExceededException"]
    assert aws.count("PutRecords") == 1  # nothing is asked for where nothing may pass


def test_what_account_b_refuses_stays_refused_while_throttled(gate, answers, service):
    gate.fault = "throttled"
    answers.replaced["PutRecords"] = kinesis_error("AccessDeniedException", "not you", 400)
    with pytest.raises(ClientError, match="not you"):
        put(service("kinesis"), "a", "b")


@pytest.fixture
def gone():
    made = Gate(f"http://127.0.0.1:{closed_port()}")
    yield made
    made.close()


def test_an_emulator_that_is_gone_is_said(gone):
    status, _, body = gone.answer("POST", "/", {}, b"Action=GetCallerIdentity")
    assert status == 502
    assert b"The emulator does not answer." in body


def test_what_is_closed_listens_no_more(gone):
    port = urlsplit(gone.url).port
    assert listens(port)
    gone.close()
    assert not listens(port)
