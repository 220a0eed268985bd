"""A mailbox for the tests: delivered to by LMTP and worked on by IMAP, told what to do by lines of standard input; says `done`
with what came of it, one JSON object a line, when the mail server has answered.

    mailbox.py IMAP_PORT LMTP_PORT USER PASSWORD

    deliver ID...               by LMTP, one message each
    state FOLDER                tells its UIDVALIDITY
    set|clear FOLDER UID FLAG
    move UID FROM TO
    expunge FOLDER UID
    create|delete FOLDER
    rename FROM TO
"""

import imaplib
import json
import re
import smtplib
import sys


def main():
    imap_port, lmtp_port, user, password = sys.argv[1:]
    imap = imaplib.IMAP4("127.0.0.1", int(imap_port))
    imap.login(user, password)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "deliver":
            deliver(int(lmtp_port), user, arguments)
            told = {}
        else:
            told = COMMANDS[command](imap, *arguments) or {}
        print(json.dumps({"kind": "done"} | told), flush=True)


def deliver(port, user, ids):
    with smtplib.LMTP("127.0.0.1", port) as lmtp:
        for id in ids:
            message = (
                f"From: Sender <sender@example.org>\r\nTo: {user}\r\nSubject: {id}\r\nMessage-ID: <{id}@example.org>\r\n"
                "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n"
            )
            refused = lmtp.sendmail("sender@example.org", [user], message)
            assert not refused, refused


def ok(answer):
    kind, data = answer
    assert kind == "OK", answer
    return data


def state(imap, folder):
    data = ok(imap.status(folder, "(UIDVALIDITY)"))
    return {"validity": int(re.search(rb"UIDVALIDITY (\d+)", data[0])[1])}


def store(sign):
    def command(imap, folder, uid, flag):
        ok(imap.select(folder))
        ok(imap.uid("STORE", uid, sign, f"({flag})"))

    return command


def move(imap, uid, source, target):
    ok(imap.select(source))
    ok(imap.uid("MOVE", uid, target))


def expunge(imap, folder, uid):
    ok(imap.select(folder))
    ok(imap.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)"))
    ok(imap.uid("EXPUNGE", uid))


COMMANDS = {
    "state": state,
    "set": store("+FLAGS"),
    "clear": store("-FLAGS"),
    "move": move,
    "expunge": expunge,
    "create": lambda imap, folder: ok(imap.create(folder)) and None,
    "delete": lambda imap, folder: ok(imap.select("INBOX")) and ok(imap.delete(folder)) and None,
    "rename": lambda imap, old, new: ok(imap.rename(old, new)) and None,
}

main()
