import { randomBytes } from "node:crypto";
import { changes, lifecycle, requests } from "./target/postbell-notify/postbell-notify.js";

let sequence = 1n; // grows with every reaction that has `changed`
const moment = () => ({ now: BigInt(Date.now()), sequence });
const noted = (reaction) => {
  sequence += reaction.changed ? 1n : 0n;
  return reaction;
};

lifecycle.open(moment(), randomBytes(32), [["domains", "example.org"]]);
sequence += 1n;

// What happens in mailboxes.
const item = { kind: "message", id: "mail-1", folder: "inbox", flags: 0n, tags: [] };
const change = { at: moment().now, counts: [], what: { tag: "message-delivered", val: item } };
noted(changes.ingest(moment(), { accounts: [{ account: "alice@example.org", changes: [change] }], book: [] }));

// What clients ask. Who they are is for the mail server to say.
const account = { id: "id-alice", name: "alice@example.org", aliases: [] };
const grant = { account, rank: "user", visit: "alice", tokenLifetimeMs: 0n };
const head = { method: "POST", path: "/EWS/Exchange.asmx", query: "", contentType: "text/xml; charset=utf-8", headers: [], secure: true };
const body = new TextEncoder().encode("<Envelope/>");
const request = { id: 1n, head, body, access: { tag: "granted", val: grant }, accounts: [] };
for (const reply of noted(requests.answer(moment(), request)).replies) { // after the commit of the input
  console.log("HTTP", reply.status, new TextDecoder().decode(reply.body));
}
