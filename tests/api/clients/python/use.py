"""What a backend in Python writes with a client that was generated from the API's description.

../clients.test.js generates the package `mynah_client` and runs this file against a running server.
"""

import json
import os
import time

from mynah_client import AuthenticatedClient
from mynah_client.api.messages import send, send_batch
from mynah_client.api.operation import openapi
from mynah_client.api.record import conversations, messages
from mynah_client.api.teams import get, put
from mynah_client.api.users import online, revoke, user
from mynah_client.models import (
    Batch,
    Envelope,
    Message,
    Problem,
    Revoke,
    TeamBody,
    ToUser,
    ToUsers,
    Uids,
)

CONV, UID = os.environ["CONV"], os.environ["UID_OF_TEST"]
VALUES = json.loads(os.environ["VALUES"])
client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["KEY"])

# The history, with a recalled message (its data is null) and data of every type.
record = messages.sync(CONV, client=client, limit=500)
assert [message.data for message in record.messages[: len(VALUES)]] == VALUES, record
recalled = [message for message in record.messages if message.recalled is True]
assert [message.data for message in recalled] == [None], recalled

# The newest message of a conversation is an envelope, or null.
page = conversations.sync(UID, client=client)
first = page.conversations[0]
assert isinstance(first.last, Envelope) and first.last.seq == first.head, first
assert page.next_ is None, page

# Data of every type can be sent.
for value in VALUES:
    sent = send.sync(client=client, body=Message(type_=6, to=ToUser(user=UID), data=value))
    assert len(sent.results) == 1, sent
sent = send.sync(client=client, body=Message(type_=6, to=ToUsers(users=["a", 7]), data={}, cid="c", push=False))
assert [result.uid for result in sent.results] == ["a", "7"], sent
unknown = send.sync(client=client, body=Message(type_=99, to=ToUser(user=UID), data=None))
assert isinstance(unknown, Problem) and unknown.status == 404, unknown
one, other = (Message(type_=kind, to=ToUser(user=UID), data=[kind]) for kind in (6, 99))
results = send_batch.sync(client=client, body=Batch(messages=[one, other])).results
assert results[0].online == 1 and results[1].code == 404, results

# A user with a connection without a platform.
person = user.sync(UID, client=client)
assert [connection.platform for connection in person.connections] == [None] * len(person.connections), person
assert online.sync(client=client, body=Uids(uids=[UID])).online == ([UID] if person.online else [])

# Both times of a revocation are optional.
assert revoke.sync(client=client, body=Revoke(uid="nobody")).closed == 0
assert revoke.sync(client=client, body=Revoke(jti="one", until=int(time.time() * 1000) + 3_600_000)).closed == 0

team = put.sync("t", client=client, body=TeamBody(members=["a", 7]))
assert team.members == ["7", "a"] and get.sync("t", client=client) == team, team
assert openapi.sync(client=client).to_dict()["openapi"] == "3.1.0"
print("python: done")
