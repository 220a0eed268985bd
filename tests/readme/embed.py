import os
import time

from postbell_plugin import Plugin

plugin = Plugin.load("target/postbell-notify.wasm")
sequence = 1  # grows with every reaction that has `changed`


def moment():
    return {"now": time.time_ns() // 1_000_000, "sequence": sequence}


assert plugin.call("lifecycle.open", moment(), os.urandom(32), [("domains", "example.org")]) == {"ok": None}
sequence += 1

# What happens in mailboxes.
item = {"kind": "message", "id": "mail-1", "folder": "inbox", "number": None, "imap-uid": None, "revision": None}
item |= {"flags": 0, "tags": []}
change = {"number": None, "at": moment()["now"], "origin": None, "counts": [], "what": {"message-delivered": item}}
accounts = [{"account": "alice@example.org", "changes": [change]}]
reaction = plugin.call("changes.ingest", moment(), {"accounts": accounts, "book": []})
sequence += reaction["changed"]

# What clients ask. Who they are is for the mail server to say.
alice = {"id": "id-alice", "name": "alice@example.org", "aliases": []}
grant = {"account": alice, "rank": "user", "visit": "alice", "token-placeholder": None, "token-lifetime-ms": 0}
head = {"method": "POST", "path": "/EWS/Exchange.asmx", "query": "", "content-type": "text/xml; charset=utf-8"}
head |= {"headers": [], "secure": True}
request = {"id": 1, "head": head, "body": b"<Envelope/>", "access": {"granted": grant}, "act-as": None, "accounts": []}
reaction = plugin.call("requests.answer", moment(), request)
sequence += reaction["changed"]
for reply in reaction["replies"]:  # after the commit of the input
    print("HTTP", reply["status"], reply["body"].decode())
