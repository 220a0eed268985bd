//! A network that can be cut: a way to a server that lets nothing through for a while, as if packets were lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use anyhow::Result;

/// A way to a server on loopback. What is on its way when it is cut arrives once it is whole again.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Whole,
    Cut,
    Gone,
}

impl Link {
    /// A way to the server at this port.
    pub fn to(port: u16) -> Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, gate) = (listener.local_addr()?, Arc::<Gate>::default());
        let link = Link { address, gate: gate.clone() };
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let gate = gate.clone();
                if gate.is_gone() {
                    return;
                }
                thread::spawn(move || connect(from, port, &gate));
            }
        });
        Ok(link)
    }

    /// Where it begins.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Nothing gets through.
    pub fn cut(&self) {
        self.gate.set(State::Cut);
    }

    /// It is whole again.
    pub fn mend(&self) {
        self.gate.set(State::Whole);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.gate.set(State::Gone);
        // Wakes who accepts; an error means that nobody does.
        drop(TcpStream::connect(self.address));
    }
}

impl Gate {
    fn set(&self, state: State) {
        *self.state.lock().expect("nothing panics while this lock is held") = state;
        self.changed.notify_all();
    }

    fn is_gone(&self) -> bool {
        *self.state.lock().expect("nothing panics while this lock is held") == State::Gone
    }

    /// Waits until something may pass; false: nothing ever will.
    fn pass(&self) -> bool {
        let state = self.state.lock().expect("nothing panics while this lock is held");
        let state = self.changed.wait_while(state, |state| *state == State::Cut);
        *state.expect("nothing panics while this lock is held") == State::Whole
    }
}

fn connect(from: TcpStream, port: u16, gate: &Arc<Gate>) {
    if !gate.pass() {
        return;
    }
    let Ok(to) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (Ok(from_too), Ok(to_too)) = (from.try_clone(), to.try_clone()) else { return };
    let back = gate.clone();
    thread::spawn(move || carry(to_too, from_too, &back));
    carry(from, to, gate);
}

/// Carries bytes until either side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut bytes = [0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !gate.pass() || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // What is closed already is no matter.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
