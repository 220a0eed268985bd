use std::net::SocketAddr;

use reqwest::dns::{Addrs, Resolving};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::rustls;

use super::super::HttpTarget;
use super::*;

/// Every name has this address.
struct Everywhere(&'static str);

impl Resolve for Everywhere {
    fn resolve(&self, _: Name) -> Resolving {
        let address = SocketAddr::new(self.0.parse().expect("an address"), 0);
        Box::pin(async move { Ok(Box::new([address].into_iter()) as Addrs) })
    }
}

fn caller(limits: CallerLimits, names: &'static str, authorities: &[u8]) -> Caller {
    let names = Arc::new(Everywhere(names));
    Caller::resolving(Handle::current(), limits, authorities, names).expect("good certificates")
}

fn loopback() -> CallerLimits {
    CallerLimits { allow: vec!["127.0.0.0/8".parse().expect("a network")], ..CallerLimits::default() }
}

async fn call(caller: &Caller, target: CallTarget) -> Outcome {
    let (told, outcome) = oneshot::channel();
    let done = Done::new(move |outcome| told.send(outcome).expect("the test waits"));
    caller.call("t", Call { id: 1, target, body: b"news".to_vec() }, done);
    outcome.await.expect("an outcome")
}

async fn post(caller: &Caller, url: &str) -> Outcome {
    let headers = [("x-own", "1"), ("Content-Length", "99"), ("host", "elsewhere")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    call(caller, CallTarget::HttpPost(HttpTarget { url: url.to_owned(), headers })).await
}

/// What a listener on loopback gives to each request, on a connection of its own; and the requests.
async fn listener(answer: impl Fn(u16) -> String + Send + 'static) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (heard, requests) = tokio::sync::mpsc::channel(9);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let request = exchange(stream, &answer(port)).await;
            if heard.send(request).await.is_err() {
                break;
            }
        }
    });
    (port, requests)
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"news") {
        if stream.read_buf(&mut request).await.expect("it is sent") == 0 {
            break;
        }
    }
    let answered = stream.write_all(answer.as_bytes()).await;
    answered.and(stream.shutdown().await).expect("it is read");
    String::from_utf8(request).expect("text")
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn answered(status: u16, body: &str) -> Outcome {
    Outcome::Answered(Response { status, body: body.into() })
}

fn refused(outcome: &Outcome, why: &str) -> bool {
    matches!(outcome, Outcome::Refused(said) if said.contains(why))
}

#[tokio::test]
async fn a_post_is_sent_and_whatever_the_listener_says_is_the_answer() {
    for (head, status) in [("200 OK", 200), ("503 Busy", 503), ("302 Found\r\nLocation: /elsewhere", 302)] {
        let (port, mut requests) = listener(move |_| answer(head, "well")).await;
        let caller = caller(loopback(), "127.0.0.1", b"");
        assert_eq!(post(&caller, &format!("http://listener.example:{port}/a?b=c")).await, answered(status, "well"));
        let request = requests.recv().await.expect("a request").to_ascii_lowercase();
        assert!(request.starts_with("post /a?b=c http/1.1\r\n") && request.ends_with("\r\n\r\nnews"), "{request}");
        for line in ["x-own: 1", "content-length: 4", &format!("host: listener.example:{port}")] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{line}: {request}");
        }
    }
}

#[tokio::test]
async fn what_is_not_public_is_refused_however_it_is_written() {
    let (port, mut requests) = listener(|_| answer("200 OK", "")).await;
    let nothing_allowed = caller(CallerLimits::default(), "127.0.0.1", b"");
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.01",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "listener.example",
        "user:secret@listener.example",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
    ] {
        let outcome = post(&nothing_allowed, &format!("http://{host}:{port}/")).await;
        assert!(refused(&outcome, "is loopback"), "{host}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("secret"));
    }
    for (names, word) in [("10.1.2.3", "private"), ("169.254.169.254", "link-local"), ("fd00::1", "unique-local")] {
        let outcome = post(&caller(loopback(), names, b""), "https://listener.example/").await;
        assert!(refused(&outcome, word) && refused(&outcome, "listener.example"), "{outcome:?}");
    }
    for address in ["127.0.0.1", "::1", "listener.example"] {
        let target = CallTarget::Tcp(TcpTarget { address: address.into(), port });
        let outcome = call(&nothing_allowed, target).await;
        assert!(refused(&outcome, "is loopback"), "{address}: {outcome:?}");
    }
    assert!(requests.try_recv().is_err(), "nobody was called");
}

#[tokio::test]
async fn urls_that_are_none_are_refused() {
    let caller = caller(loopback(), "127.0.0.1", b"");
    for url in ["http://", "http://a b/", "ftp://listener.example/", "http://[::1", "http://a:99999/"] {
        assert!(matches!(post(&caller, url).await, Outcome::Refused(_)), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_is_judged_like_the_first_address() {
    let to = |location: &'static str| {
        move |port: u16| answer(&format!("307 There\r\nLocation: {}", location.replace("PORT", &port.to_string())), "")
    };
    for (location, why) in [
        ("http://10.0.0.1/", "is private"),
        ("http://[::ffff:10.0.0.1]/", "is private"),
        ("ftp://listener.example/", "neither http nor https"),
    ] {
        let (port, _requests) = listener(to(location)).await;
        let outcome = post(&caller(loopback(), "127.0.0.1", b""), &format!("http://listener.example:{port}/")).await;
        assert!(refused(&outcome, why), "{location}: {outcome:?}");
    }
    let (port, mut requests) = listener(to("http://127.0.0.2:PORT/again")).await;
    let caller = caller(loopback(), "127.0.0.1", b"");
    // 127.0.0.2 has no listener; a round of its own address has no end.
    assert!(matches!(post(&caller, &format!("http://listener.example:{port}/")).await, Outcome::Failed(_)));
    let (port, mut round) = listener(to("http://listener.example:PORT/again")).await;
    let outcome = post(&caller, &format!("http://listener.example:{port}/")).await;
    assert_eq!(outcome, Outcome::Failed("more than 3 redirects".into()));
    assert!(requests.recv().await.is_some_and(|request| request.starts_with("POST / ")));
    round.recv().await.expect("the first");
    assert!(round.recv().await.is_some_and(|request| request.starts_with("POST /again ") && request.ends_with("news")));
}

#[tokio::test]
async fn a_large_answer_is_a_failure() {
    let limits = CallerLimits { answer_bytes: 10, ..loopback() };
    for (size, fits) in [(10, true), (11, false), (1 << 20, false)] {
        let (port, _requests) = listener(move |_| answer("200 OK", &"x".repeat(size))).await;
        let outcome = post(&caller(limits.clone(), "127.0.0.1", b""), &format!("http://a.example:{port}/")).await;
        assert_eq!(matches!(outcome, Outcome::Answered(_)), fits, "{size}: {outcome:?}");
    }
}

/// Time stands still while there is something to do, and then passes at once.
#[tokio::test(start_paused = true)]
async fn who_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let caller = caller(loopback(), "127.0.0.1", b"");
    assert_eq!(
        post(&caller, &format!("http://127.0.0.1:{port}/")).await,
        Outcome::Failed("no answer within 10 s".into())
    );
}

#[tokio::test]
async fn bytes_are_written_and_nothing_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let caller = caller(loopback(), "127.0.0.1", b"");
    let target = CallTarget::Tcp(TcpTarget { address: "listener.example".into(), port });
    assert_eq!(call(&caller, target.clone()).await, answered(0, ""));
    let mut heard = Vec::new();
    listener.accept().await.expect("a connection").0.read_to_end(&mut heard).await.expect("its end");
    assert_eq!(heard, b"news");
    drop(listener);
    assert!(matches!(call(&caller, target).await, Outcome::Failed(_)));
}

#[tokio::test]
async fn a_certificate_is_verified() {
    let own = rcgen::generate_simple_self_signed(["listener.example".to_owned()]).expect("a certificate");
    let (chain, key) = (vec![own.cert.der().clone()], own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(chain, rustls::pki_types::PrivatePkcs8KeyDer::from(key).into())
        })
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // An error means that the caller does not trust it.
            if let Ok(stream) = acceptor.accept(stream).await {
                exchange(stream, &answer("200 OK", "well")).await;
            }
        }
    });
    let url = format!("https://listener.example:{port}/");
    let outcome = post(&caller(loopback(), "127.0.0.1", b""), &url).await;
    assert!(matches!(&outcome, Outcome::Failed(why) if why.contains("certificate")), "{outcome:?}");
    let authority = own.cert.pem();
    assert_eq!(post(&caller(loopback(), "127.0.0.1", authority.as_bytes()), &url).await, answered(200, "well"));
    let outcome = post(&caller(loopback(), "127.0.0.1", authority.as_bytes()), &url.replace("listener", "other")).await;
    assert!(matches!(&outcome, Outcome::Failed(_)), "another name: {outcome:?}");
}
