//! What the machine allows: bytes copied in memory, and sent to a neighbour and back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use postbell::plugin::Plugin;
use postbell_tests::figures::{Figure, Table, Unit};

use crate::pair::Pair;
use crate::timing::{nanoseconds, rounds};

/// How often each is done in a round.
const TIMES: usize = 20;

/// Every row: a batch of 100 changes as JSON, as sources send it.
pub fn run(plugin: &Plugin) {
    let batch = Pair::open(plugin).deliveries(100, 100);
    let bytes = serde_json::to_vec(&batch).expect("a batch is plain data");
    let table = Table::begin(
        format!("What the machine allows, with {} bytes: a batch of 100 changes", bytes.len()),
        "",
        &[("time", Unit::Time)],
    );
    let row = |name: &str, mut round: Box<dyn FnMut() -> f64>| {
        table.row(name, &[Some(Figure::of((0..rounds()).map(|_| round())))]);
    };
    let copied = bytes.clone();
    row("copied in memory", Box::new(move || nanoseconds(TIMES, 0..TIMES, |_| copied.clone())));
    let (here, there) = UnixStream::pair().expect("two sockets");
    row("over a Unix socket and back", back_and_forth(bytes.clone(), here, there));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let here = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
    let (there, _) = listener.accept().expect("a connection");
    [&here, &there].into_iter().for_each(|stream| stream.set_nodelay(true).expect("it can"));
    row("over TCP on loopback and back", back_and_forth(bytes, here, there));
}

/// Sends bytes to a thread that sends them back.
fn back_and_forth<S: Read + Write + Send + 'static>(
    bytes: Vec<u8>,
    mut here: S,
    mut there: S,
) -> Box<dyn FnMut() -> f64> {
    let mut held = vec![0; bytes.len()];
    thread::spawn(move || {
        // Ends with the other side.
        while there.read_exact(&mut held).is_ok() && there.write_all(&held).is_ok() {}
    });
    let mut back = vec![0; bytes.len()];
    Box::new(move || {
        nanoseconds(TIMES, 0..TIMES, |_| {
            here.write_all(&bytes).expect("the thread reads");
            here.read_exact(&mut back).expect("the thread sends it back");
        })
    })
}
