//! Another component takes over while a client waits, and the client notices nothing. No runtime is needed for it.

use std::error::Error;

use postbell::contract::changes::{Account, Batch, Change, Happening, Item};
use postbell::contract::requests::{Access, Grant, RequestHead};
use postbell::tenant::{Body, Parts, Request, SwapOptions, Tenant};
use postbell::{Host, HostOptions, TenantOptions};

/// What the client says, and where it wants the answer from.
const SUBSCRIBE: &str = "<m:Subscribe><m:StreamingSubscriptionRequest SubscribeToAllFolders=\"true\"><t:EventTypes>\
     <t:EventType>NewMailEvent</t:EventType></t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>";

/// Swaps a tenant's plugin while alice listens; gives what she hears after it.
pub async fn swap(host: &Host) -> Result<String, Box<dyn Error>> {
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
    let mut stream = listen(&tenant).await?;

    // Any other component takes the place in the same way: here it is the same one, in a new instance.
    let mut swapping = tenant.swap(&plugin, SwapOptions::default());
    while let Some(event) = swapping.next().await {
        println!("{event:?}");
    }
    let swap = swapping.end().await?;
    println!("{} took over at {}; nothing was fed for {:?}", swap.to, swap.sequence, swap.paused);

    let mail = Happening::MessageDelivered(Item::message("mail-1", "inbox"));
    tenant.ingest(Batch::of("alice@example.org", vec![Change::new(tenant.now(), mail)]), None).await?;
    let heard = stream.next().await.ok_or("the stream has ended")??;
    tenant.close().await;
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

/// Subscribes, and opens a stream whose first part says that it is open.
async fn listen(tenant: &Tenant) -> Result<Parts, Box<dyn Error>> {
    let Body::Whole(answer) = tenant.request(request(SUBSCRIBE)).await?.body else { return Err("a stream".into()) };
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let id =
        answer.split("SubscriptionId>").nth(1).and_then(|rest| rest.split("</").next()).ok_or("no subscription")?;
    let ids = format!("<m:SubscriptionIds><t:SubscriptionId>{id}</t:SubscriptionId></m:SubscriptionIds>");
    let listen =
        format!("<m:GetStreamingEvents>{ids}<m:ConnectionTimeout>1</m:ConnectionTimeout></m:GetStreamingEvents>");
    let Body::Parts(mut stream) = tenant.request(request(&listen)).await?.body else { return Err(answer.into()) };
    stream.next().await.ok_or("the stream has ended")??;
    Ok(stream)
}

/// A request of alice's.
fn request(operation: &str) -> Request {
    let envelope = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><s:Header><t:RequestServerVersion \
         Version=\"Exchange2016\"/></s:Header><s:Body>{operation}</s:Body></s:Envelope>"
    );
    let head = RequestHead::new("POST", "/EWS/Exchange.asmx", "text/xml; charset=utf-8");
    let access = Access::Granted(Grant::to(Account::new("id-alice", "alice@example.org")));
    Request::new(head, envelope, access)
}

fn main() -> Result<(), Box<dyn Error>> {
    let heard = pollster::block_on(swap(&Host::new(HostOptions::default())?))?;
    println!("alice heard, on the stream that she has had all along: {heard}");
    Ok(())
}
