use postbell::contract::changes::{Account, Batch, Change, Happening, Item};
use postbell::contract::requests::{Access, Grant, RequestHead};
use postbell::tenant::{Body, Request};
use postbell::{Host, HostOptions, TenantOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::new(HostOptions::default())?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;

    // What happens in mailboxes.
    let mail = Happening::MessageDelivered(Item::message("mail-1", "inbox"));
    let batch = Batch::of("alice@example.org", vec![Change::new(tenant.now(), mail)]);
    pollster::block_on(tenant.ingest(batch, None))?;

    // What clients ask. Who they are is for the mail server to say.
    let head = RequestHead::new("POST", "/EWS/Exchange.asmx", "text/xml; charset=utf-8");
    let access = Access::Granted(Grant::to(Account::new("id-alice", "alice@example.org")));
    let answer = pollster::block_on(tenant.request(Request::new(head, "<Envelope/>", access)))?;
    println!("HTTP {}", answer.status);
    match answer.body {
        Body::Whole(body) => println!("{}", String::from_utf8_lossy(&body)),
        Body::Parts(mut parts) => {
            while let Some(part) = pollster::block_on(parts.next()) {
                println!("{}", String::from_utf8_lossy(&part?)); // send it at once, as one chunk
            }
        }
    }
    pollster::block_on(tenant.close());
    Ok(())
}
