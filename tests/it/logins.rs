//! Logins that fail too often, that somebody else verifies, and that are ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, ensure};
use postbell_tests::PATIENCE;
use postbell_tests::ews::{ALL_FOLDERS, Client, PATH, envelope, subscribe_pull};
use postbell_tests::http::{Answer, Connection, basic, request, socket_from};
use postbell_tests::mail_servers::{Kind, MailServer};
use postbell_tests::program::{Server, Start};
use postbell_tests::{groupwise, zimbra};

use crate::{PROGRAM, cheap_hash, configured, operator};

/// A subscription over this address of this machine.
fn subscribe(server: &Server, from: Ipv4Addr, login: &str, password: &str) -> Result<Answer> {
    let headers = [("Authorization", &*basic(login, password)), ("Content-Type", "text/xml")];
    let body = envelope(&subscribe_pull(ALL_FOLDERS));
    Connection::over(socket_from(from, server.clients)?).ask(&request("POST", PATH, &headers, body.as_bytes()))
}

fn status(server: &Server, login: &str, password: &str) -> Result<u16> {
    Ok(subscribe(server, Ipv4Addr::LOCALHOST, login, password)?.head.status)
}

/// What a dialect's login answers to a wrong password: its status, and its body without what differs from time to time.
fn dialects(server: &Server, login: &str) -> Result<[(u16, String); 2]> {
    let post =
        |path: &str, body: &str| Connection::open(server.clients)?.ask(&request("POST", path, &[], body.as_bytes()));
    let zimbra = post(zimbra::PATH, &zimbra::auth(login, "wrong"))?;
    let groupwise = post(groupwise::PATH, &groupwise::login(login, "wrong"))?;
    let steady = |answer: Answer| {
        let (before, rest) = answer.body.split_once("<Trace>").unwrap_or((&answer.body, ""));
        (answer.head.status, format!("{before}{}", rest.split_once('<').map_or("", |(_, rest)| rest)))
    };
    Ok([steady(zimbra), steady(groupwise)])
}

/// An account that exists and one that does not are refused after the same number of failures, in the same words.
#[test]
fn failures_are_throttled_and_tell_nothing_of_accounts() -> Result<()> {
    let server = configured("failed-logins-per-account = 3\nfailed-logins-per-address = 10\n")?.start()?;
    let mut seen = Vec::new();
    for login in ["alice", "zoe"] {
        let answers = (0..5).map(|_| subscribe(&server, Ipv4Addr::LOCALHOST, login, "wrong"));
        let answers: Vec<Answer> = answers.collect::<Result<_>>()?;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.head.status).collect();
        ensure!(statuses == [401, 401, 401, 429, 429], "{login}: {statuses:?}");
        ensure!(answers[4].head.header("retry-after") == Some("60"), "{answers:?}");
        seen.push((answers[0].body.clone(), answers[4].body.clone(), dialects(&server, login)?));
    }
    ensure!(seen[0] == seen[1], "{seen:?}");
    ensure!(status(&server, "alice", "postbell")? == 429, "nobody learns whether it was right");
    ensure!(operator(&server).refusals("failed-logins-per-account")? == 9);
    ensure!(operator(&server).figure("postbell_client_logins_total{outcome=\"wrong\"}")? == 6);

    // Six have failed from here; four more, and whoever comes from here waits.
    for number in 0..4 {
        ensure!(status(&server, &format!("nobody{number}"), "wrong")? == 401);
    }
    ensure!(status(&server, "other", "wrong")? == 429);
    ensure!(operator(&server).refusals("failed-logins-per-address")? == 1);
    let elsewhere = subscribe(&server, Ipv4Addr::new(127, 0, 0, 2), "other", "wrong")?;
    ensure!(elsewhere.head.status == 401, "{elsewhere:?}");
    Ok(())
}

/// Who was let in before somebody guessed at the password stays in.
#[test]
fn guessing_does_not_lock_out_who_is_in() -> Result<()> {
    let server = configured("failed-logins-per-account = 1\n")?.start()?;
    ensure!(status(&server, "alice", "postbell")? == 200);
    ensure!(status(&server, "alice", "guess")? == 401);
    ensure!(status(&server, "alice", "guess")? == 429);
    ensure!(status(&server, "alice", "postbell")? == 200);
    Ok(())
}

/// A server that verifies logins: it answers as it is told, and tells what it was asked.
struct Verifier {
    address: SocketAddr,
    asked: Receiver<Vec<String>>,
    answers: Sender<&'static str>,
}

impl Verifier {
    fn start() -> Result<Verifier> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let ((tell, asked), (answers, answer)) = (channel(), channel::<&str>());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                // An error means that the test is over.
                let Ok(answer) = answer.recv() else { return };
                let head = stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                if tell.send(head.collect()).is_err() || write(stream.get_mut(), answer).is_err() {
                    return;
                }
            }
        });
        Ok(Verifier { address, asked, answers })
    }

    /// What it was asked is given back, in lower case but for values.
    fn asked(&self) -> Result<Vec<String>> {
        self.asked.recv_timeout(PATIENCE).context("it was not asked")
    }

    fn will_answer(&self, answer: &'static str) -> Result<()> {
        self.answers.send(answer).context("it has ended")
    }
}

fn write(stream: &mut TcpStream, answer: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A server whose only tenant has this line, and alice with an alias, but without a password.
fn verified_by(line: &str) -> Result<Start> {
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'admin'\n\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\n{line}\n"
    );
    let users = "[[user]]\nname = 'alice@example.org'\nlogin = 'ali'\n";
    Start::configured(PROGRAM, &configuration)?.file("users.toml", users)
}

#[test]
fn another_server_says_who_may_log_in() -> Result<()> {
    let verifier = Verifier::start()?;
    let line = format!("authentication = {{ forward = 'http://{}/auth?x=y' }}", verifier.address);
    let server = verified_by(&line)?.start()?;

    verifier.will_answer("204 No Content")?;
    ensure!(status(&server, "bob", "right")? == 200, "whom no file lists");
    let asked = verifier.asked()?;
    ensure!(asked[0] == "GET /auth?x=y HTTP/1.1", "{asked:?}");
    for header in [
        format!("authorization: {}", basic("bob", "right")),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-proto: http".to_owned(),
    ] {
        ensure!(asked.contains(&header), "{header} in {asked:?}");
    }
    ensure!(status(&server, "bob", "right")? == 200, "it is remembered; nobody would answer now");

    for (answer, expected) in [
        ("401 Unauthorized", 401),
        ("403 Forbidden", 401),
        ("500 Internal Server Error", 503),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", 503),
        ("200 OK\r\nX-Auth-User: ", 503),
        ("200 OK\r\nX-Auth-User: bob@elsewhere.example", 401),
    ] {
        verifier.will_answer(answer)?;
        ensure!(status(&server, "carol", "x")? == expected, "{answer}");
        verifier.asked()?;
    }

    // It names another than was typed: the one that the file lists, by its login.
    verifier.will_answer("200 OK\r\nX-Auth-User: ali")?;
    let alice = Client::new(&server, "anything", "right");
    let (subscription, watermark) = alice.subscribe_pull()?;
    verifier.asked()?;
    alice.get_events(&subscription, &watermark)?;

    ensure!(operator(&server).figure("postbell_client_logins_total{outcome=\"unavailable\"}")? == 3);
    drop(verifier);
    ensure!(status(&server, "dora", "x")? == 503, "nobody is there");
    Ok(())
}

/// The static password of its configuration, for every user that there could be.
#[test]
fn dovecot_says_who_may_log_in() -> Result<()> {
    let dovecot = MailServer::prepare(Kind::Dovecot)?.start()?;
    let socket = dovecot.auth_socket();
    let server = verified_by(&format!("authentication = {{ dovecot = '{}' }}", socket.display()))?.start()?;
    for (login, password, expected) in [
        ("bob@example.org", "secret", 200),
        ("BOB@example.org", "wrong", 401),
        ("bob@example.org", "", 401),
        ("bob@example.org", "a\0b", 401),
        ("bob@elsewhere.example", "secret", 401),
    ] {
        ensure!(status(&server, login, password)? == expected, "{login}, {password:?}");
    }
    let wrong = operator(&server).figure("postbell_client_logins_total{outcome=\"wrong\"}")?;
    ensure!(wrong == 3, "{wrong}");
    drop(dovecot);
    ensure!(status(&server, "bob@example.org", "secret")? == 200, "it is remembered");
    ensure!(status(&server, "dora@example.org", "secret")? == 503, "nobody is there");
    Ok(())
}

#[test]
fn a_configuration_names_one_who_verifies() -> Result<()> {
    for (table, expected) in [
        ("{ }", "expected either `forward` or `dovecot`"),
        ("{ forward = 'http://a/', dovecot = 'socket' }", "expected either `forward` or `dovecot`"),
        ("{ forward = 'ftp://a/' }", "http:// or https://"),
        ("{ forward = 'secret' }", "http:// or https://"),
        ("{ dovecot = 'socket', seconds = 0 }", "an integer from 1 to 60"),
    ] {
        let failure = verified_by(&format!("authentication = {table}"))?.start();
        let text = format!("{:?}", failure.err().with_context(|| format!("{table} is refused"))?);
        ensure!(text.contains(expected) && !text.contains("secret"), "{table}: {text}");
    }
    Ok(())
}

fn token(server: &Server) -> Result<String> {
    let body = zimbra::auth("alice@example.org", "postbell");
    let answer = Connection::open(server.clients)?.ask(&request("POST", zimbra::PATH, &[], body.as_bytes()))?;
    let (_, rest) = answer.body.split_once("<authToken>").with_context(|| format!("a token in {answer:?}"))?;
    Ok(rest.split('<').next().context("its end")?.to_owned())
}

/// Whether a token still counts.
fn counts(server: &Server, token: &str) -> Result<bool> {
    let body = zimbra::soap(token, "<NoOpRequest xmlns=\"urn:zimbraMail\"/>");
    let answer = Connection::open(server.clients)?.ask(&request("POST", zimbra::PATH, &[], body.as_bytes()))?;
    ensure!(answer.head.status == 200 || answer.body.contains("service.AUTH_"), "{answer:?}");
    Ok(answer.head.status == 200)
}

#[test]
fn logins_are_ended_by_request_and_by_another_password() -> Result<()> {
    let server = configured("")?.start()?;
    let end = |query: &str| {
        let answer = operator(&server).ask("DELETE", &format!("/v1/tenants/example.org/logins{query}"), b"")?;
        Ok::<_, anyhow::Error>(answer.head.status)
    };
    let first = token(&server)?;
    let seen = |query: &str, token: &str| Ok::<_, anyhow::Error>((end(query)?, counts(&server, token)?));
    ensure!(counts(&server, &first)?);
    for (query, expected) in [
        ("?account=bob@example.org", (200, true)),
        ("?acount=alice@example.org", (400, true)),
        ("?account=", (400, true)),
        ("?account=alice@example.org", (200, false)),
    ] {
        let seen = seen(query, &first)?;
        ensure!(seen == expected, "{query}: {seen:?}");
    }
    let second = token(&server)?;
    ensure!(counts(&server, &second)?);
    let all = seen("", &second)?;
    ensure!(all == (200, false), "{all:?}");

    let (third, reloads) = (token(&server)?, "postbell_reloads_total{outcome=\"taken\"}");
    server.hang_up()?;
    operator(&server).until_figure(reloads, 1)?;
    ensure!(counts(&server, &third)?, "nothing has changed");
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{}'\n", cheap_hash("another")?);
    std::fs::write(server.folder().join("users.toml"), users)?;
    server.hang_up()?;
    operator(&server).until_figure(reloads, 2)?;
    ensure!(!counts(&server, &third)?, "whoever has an old token may be why the password was changed");
    ensure!(status(&server, "alice", "postbell")? == 401 && status(&server, "alice", "another")? == 200);
    Ok(())
}
