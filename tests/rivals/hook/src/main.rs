//! The notification logic in a process of its own, natively, behind HTTP/1.1 on a connection that is kept: over TCP on
//! loopback (`tcp`) or over a Unix socket (`unix`). This program is both sides; `serve` is the one with the logic.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use postbell_contest::{Input, Rival, play, respond};
use postbell_notify::Notify;
use postbell_notify::contract::{Moment, Reaction};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", kind, folder] => tokio::task::LocalSet::new().block_on(&runtime, serve(kind, folder)),
        [kind @ ("tcp" | "unix")] => play(Hook::open(runtime, kind)),
        _ => panic!("tcp or unix"),
    }
}

/// The side with the logic: one tenant, one connection.
async fn serve(kind: &str, folder: &str) {
    if kind == "unix" {
        let listener = UnixListener::bind(format!("{folder}/socket")).expect("a socket");
        println!("ready");
        answer(listener.accept().await.expect("a connection").0).await;
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("it has one"));
        let stream = listener.accept().await.expect("a connection").0;
        stream.set_nodelay(true).expect("it can");
        answer(stream).await;
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let notify = Rc::new(RefCell::new(Notify::default()));
    let service = service_fn(move |request: Request<Incoming>| {
        let notify = notify.clone();
        async move {
            let call = request.into_body().collect().await.expect("a whole body").to_bytes();
            let reaction = respond(&mut notify.borrow_mut(), &call);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(reaction))))
        }
    });
    // The other side ends it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The side of the mail server.
struct Hook {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    server: Child,
}

impl Hook {
    fn open(runtime: Runtime, kind: &str) -> Hook {
        let folder = std::env::temp_dir().join(format!("postbell-hook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let program = std::env::current_exe().expect("it runs");
        let mut command = Command::new(program);
        command.args(["serve", kind]).arg(&folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("it starts");
        // It says where it listens once it does.
        let mut said = String::new();
        BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut said).expect("it says so");
        let sender = runtime.block_on(async {
            if kind == "unix" {
                connect(UnixStream::connect(folder.join("socket")).await.expect("it listens")).await
            } else {
                let stream = TcpStream::connect(said.trim()).await.expect("it listens");
                stream.set_nodelay(true).expect("it can");
                connect(stream).await
            }
        });
        // Whoever is connected does not need its name.
        std::fs::remove_dir_all(&folder).expect("it is there");
        Hook { runtime, sender, server }
    }
}

async fn connect(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("it is HTTP");
    // Ends with the sender.
    tokio::spawn(connection);
    sender
}

impl Rival for Hook {
    fn take(&mut self, at: Moment, input: Input) -> Option<Reaction> {
        let call = postcard::to_allocvec(&(at, input)).expect("an input is plain data");
        let request = Request::post("/feed").header("Host", "localhost").body(Full::new(Bytes::from(call)));
        let reaction = self.runtime.block_on(async {
            let answer = self.sender.send_request(request.expect("a request")).await.expect("an answer");
            answer.into_body().collect().await.expect("a whole body").to_bytes()
        });
        Some(postcard::from_bytes(&reaction).expect("a reaction"))
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // It may have ended.
        let _ = (self.server.kill(), self.server.wait());
    }
}
