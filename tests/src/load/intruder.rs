//! Somebody who wants to do harm while the server is used and killed: connections that are held, heads and bodies that do
//! not end, what is smuggled, answers that nobody reads. Whatever comes of it is not judged; what others hear is.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use anyhow::Result;

use super::PASSWORD;
use super::plan::ACCOUNTS;
use super::site::{Life, Site, Step};
use crate::ews::{PATH, get_streaming_events};
use crate::histories::Random;
use crate::http::{basic, request, socket_from};

/// Where it comes from: nobody else does.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// How many connections it holds.
const HELD: usize = 200;

/// What it does between two pieces of news that others have.
const AT_ONCE: u64 = 8;

/// One of them.
pub struct Intruder<'s> {
    site: &'s Site,
    random: Random,
    held: VecDeque<TcpStream>,
}

impl<'s> Intruder<'s> {
    /// One that has done nothing yet.
    pub fn new(site: &'s Site, random: Random) -> Intruder<'s> {
        Intruder { site, random, held: VecDeque::new() }
    }

    /// Goes on as long as somebody else is at work.
    pub fn run(&mut self) -> Result<()> {
        let mut heard = self.site.certain();
        let site = self.site;
        site.work(|life| {
            for _ in 0..self.random.below(AT_ONCE) {
                // A server that is gone, or has had enough of this address, is no failure.
                let _ = self.attack(life);
            }
            heard = site.wait_for_news(life, heard)?;
            Ok(if site.is_finished() { Step::Last } else { Step::More })
        })
    }

    fn attack(&mut self, life: Life) -> Result<()> {
        let mut stream = socket_from(ADDRESS, life.clients)?;
        let account = ACCOUNTS[self.random.below(ACCOUNTS.len() as u64) as usize];
        let login = basic(account, PASSWORD);
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n");
        match self.random.below(9) {
            0 => {}
            1 => stream.write_all(&head.as_bytes()[..self.random.below(head.len() as u64) as usize])?,
            2 => stream.write_all(format!("{head}Content-Length: 100000\r\n\r\n<").as_bytes())?,
            3 => stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx").as_bytes())?,
            4 => stream.write_all(format!("{head}Content-Length: 3\r\nContent-Length: 5\r\n\r\nhello").as_bytes())?,
            5 => {
                let noise: Vec<u8> = (0..self.random.below(4096)).map(|_| self.random.below(256) as u8).collect();
                stream.write_all(&noise)?;
            }
            6 => {
                let headers: String = (0..1000).map(|number| format!("X-{number}: {number}\r\n")).collect();
                stream.write_all(format!("{head}{headers}").as_bytes())?;
            }
            7 => {
                // Asks again and again, and reads nothing.
                let unknown = get_streaming_events(&["unknown"], 1);
                let asked = request("POST", PATH, &[("Authorization", &login)], unknown.as_bytes());
                stream.write_all(&asked.repeat(50))?;
            }
            _ => {
                stream.write_all(head.as_bytes())?;
                stream.shutdown(Shutdown::Write)?;
            }
        }
        self.held.push_back(stream);
        self.held.drain(..self.held.len().saturating_sub(HELD));
        Ok(())
    }
}
