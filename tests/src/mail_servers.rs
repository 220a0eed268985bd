//! Real mail servers on loopback, each in a folder of its own: Dovecot from the system, Cyrus from `.mail-servers` (`make
//! setup` fills it), and `postbell source` beside them.

use std::ffi::OsString;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Process, Server};

/// Whom they run as where the tests are root's, because they refuse to be root.
const NOBODY: u32 = 65_534;

/// The password of every user.
const PASSWORD: &str = "secret";

/// The configuration that is offered to operators, and a folder for what is told.
const SCRIPT: &str = include_str!("../../sources/dovecot/postbell.lua");
const CYRUS_OPTIONS: &str = include_str!("../../sources/cyrus/imapd.conf");

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dovecot, with our script.
    Dovecot,
    /// Cyrus IMAP.
    Cyrus,
}

/// A running mail server with one user, alice. Ends when it is dropped.
#[derive(Debug)]
pub struct MailServer {
    kind: Kind,
    folder: TempDir,
    master: Option<Child>,
    imap: u16,
    lmtp: u16,
}

impl MailServer {
    /// A folder for one that is started once a source stands beside it.
    pub fn prepare(kind: Kind) -> Result<MailServer> {
        let folder = tempfile::tempdir()?;
        let (imap, lmtp) = (free_port()?, free_port()?);
        let server = MailServer { kind, folder, master: None, imap, lmtp };
        fs::set_permissions(server.path(""), fs::Permissions::from_mode(0o755))?;
        match kind {
            Kind::Dovecot => server.configure_dovecot()?,
            Kind::Cyrus => server.configure_cyrus()?,
        }
        if let Some(user) = other_user() {
            give(server.folder.path(), user)?;
        }
        Ok(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn configure_dovecot(&self) -> Result<()> {
        for name in ["base", "state", "mail", "log", "spool"] {
            fs::create_dir(self.path(name))?;
        }
        fs::write(self.path("postbell.lua"), SCRIPT)?;
        let user = other_user().unwrap_or_else(|| rustix::process::getuid().as_raw());
        let group = if other_user().is_some() { NOBODY } else { rustix::process::getgid().as_raw() };
        let configuration = include_str!("../samples/dovecot.conf")
            .replace("@FOLDER@", &self.place())
            .replace("@IMAP@", &self.imap.to_string())
            .replace("@LMTP@", &self.lmtp.to_string())
            .replace("@UID@", &user.to_string())
            .replace("@GID@", &group.to_string())
            .replace("@USER@", &named("passwd", user)?)
            .replace("@GROUP@", &named("group", group)?);
        Ok(fs::write(self.path("dovecot.conf"), configuration)?)
    }

    fn configure_cyrus(&self) -> Result<()> {
        for name in ["config/socket", "config/proc", "config/db", "config/log", "mail", "run", "program"] {
            fs::create_dir_all(self.path(name))?;
        }
        let origin = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?.join(".mail-servers/cyrus");
        ensure!(origin.join("bin/imapd").exists(), "{} is not there: run `make setup`", origin.display());
        // Whoever it runs as need not be able to read the tree.
        for part in ["bin", "lib"] {
            fs::create_dir(self.path("program").join(part))?;
            for entry in fs::read_dir(origin.join(part))? {
                let file = entry?.path();
                fs::copy(&file, self.path("program").join(part).join(file.file_name().context("a name")?))?;
            }
        }
        let user = other_user().unwrap_or_else(|| rustix::process::getuid().as_raw());
        let configuration = include_str!("../samples/cyrus-imapd.conf")
            .replace("@FOLDER@", &self.place())
            .replace("@USER@", &named("passwd", user)?);
        // The offered options, but for the place of the socket.
        let offered = CYRUS_OPTIONS.lines().filter(|line| !line.starts_with("notifysocket:"));
        let offered: String = offered.map(|line| format!("{line}\n")).collect();
        fs::write(self.path("imapd.conf"), configuration + &offered)?;
        let services = include_str!("../samples/cyrus.conf")
            .replace("@FOLDER@", &self.place())
            .replace("@IMAP@", &self.imap.to_string())
            .replace("@LMTP@", &self.lmtp.to_string());
        Ok(fs::write(self.path("cyrus.conf"), services)?)
    }

    /// Starts it; returns when it takes connections.
    pub fn start(mut self) -> Result<MailServer> {
        let file = |name: &str| self.path(name).into_os_string();
        let (program, arguments) = match self.kind {
            Kind::Dovecot => (OsString::from("dovecot"), vec!["-F".into(), "-c".into(), file("dovecot.conf")]),
            Kind::Cyrus => {
                let (options, services) = (file("imapd.conf"), file("cyrus.conf"));
                let arguments =
                    vec!["-C".into(), options, "-M".into(), services, "-p".into(), file("run/pid"), "-D".into()];
                (file("program/bin/master"), arguments)
            }
        };
        let mut command = match other_user() {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()])
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).env("LD_LIBRARY_PATH", self.path("program/lib")).stdin(Stdio::null());
        let log = fs::File::create(self.path("output"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdout(log.try_clone()?).stderr(log);
        // As it ends, Cyrus's master signals its whole process group.
        command.process_group(0);
        let started = command.spawn().with_context(|| format!("{command:?}: run `make setup`"))?;
        self.master = Some(started);
        for port in [self.imap, self.lmtp] {
            self.reachable(port)?;
        }
        Ok(self)
    }

    /// Waits for a greeting: a socket may be there before the service is.
    fn reachable(&mut self, port: u16) -> Result<()> {
        use std::io::Read;
        crate::until(|| {
            let mut greeting = [0];
            let greeted = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(crate::PATIENCE))?;
                stream.read(&mut greeting)
            });
            if greeted.is_ok_and(|read| read > 0) {
                return Ok(true);
            }
            if let Some(status) = self.master.as_mut().context("it was started")?.try_wait()? {
                let said = fs::read_to_string(self.path("output"))?;
                let log = fs::read_to_string(self.path("log/dovecot.log")).unwrap_or_default();
                anyhow::bail!("the mail server ended, {status}:\n{said}{log}");
            }
            Ok(false)
        })
        .with_context(|| format!("waiting for a greeting at port {port}"))
    }

    /// Starts `postbell source` beside it; returns when that reads.
    pub fn source(&self, program: &str, server: &Server) -> Result<Source> {
        let (kind, option, file) = match self.kind {
            Kind::Dovecot => ("dovecot", "--events", "spool/events"),
            Kind::Cyrus => ("cyrus", "--socket", "config/socket/notify"),
        };
        let mut command = Command::new(program);
        command.args(["source", kind, option]).arg(self.path(file)).arg("--spool").arg(self.path("waiting"));
        command.args(["--tenant", "example.org", "--key", "demo"]);
        if self.kind == Kind::Dovecot {
            // However busy the machine is between the append and the expunge.
            command.args(["--move-window-ms", "60000"]);
            command.args(["--imap", &format!("127.0.0.1:{}", self.imap), "--imap-login", "{user}", "--marks"]);
            command.arg(self.path("marks")).env("POSTBELL_IMAP_PASSWORD", PASSWORD);
        }
        command.args(["--log-format", "json", "--url", &format!("http://{}", server.admin)]);
        let mut process = Process::spawn(command.stdin(Stdio::null()))?;
        let ready = process.line()?.context("the source ended; see its log above")?;
        let name = ready.split("source=").nth(1).context("its name")?.to_owned();
        Ok(Source { process: Some(process), name })
    }

    /// Loses what Dovecot has told of, read or not.
    pub fn lose_events(&self) -> Result<()> {
        Ok(fs::remove_file(self.path("spool/events"))?)
    }

    /// Alice, as it calls her.
    pub fn user(&self) -> &'static str {
        match self.kind {
            Kind::Dovecot => "alice@example.org",
            Kind::Cyrus => "alice",
        }
    }

    /// Where Dovecot says whether a password is right.
    pub fn auth_socket(&self) -> PathBuf {
        self.path("base/auth-client")
    }

    /// Where it takes deliveries, on loopback.
    pub fn lmtp_port(&self) -> u16 {
        self.lmtp
    }

    /// Alice's mailbox.
    pub fn mailbox(&self) -> Result<Mailbox> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
        let mut command = Command::new(root.join(".venv/bin/python"));
        let user = self.user();
        command.arg(root.join("tests/python/mailbox.py"));
        command.args([&self.imap.to_string(), &self.lmtp.to_string(), user, PASSWORD]);
        let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
        let input = process.stdin().context("its input is piped")?;
        Ok(Mailbox { process: Some(process), input })
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let Some(mut master) = self.master.take() else { return };
        let id = i32::try_from(master.id()).ok().and_then(rustix::process::Pid::from_raw);
        // It ends its children; whatever goes wrong here harms no test.
        let _ = id.map(|id| rustix::process::kill_process(id, rustix::process::Signal::TERM));
        let _ = crate::until(|| Ok(master.try_wait()?.is_some()));
        let _ = (master.kill(), master.wait());
    }
}

/// A running `postbell source`. Ends when it is dropped.
#[derive(Debug)]
pub struct Source {
    process: Option<Process>,
    /// The name under which the server counts.
    pub name: String,
}

impl Source {
    /// Ends it as an operator would; gives what it logged.
    pub fn stop(mut self) -> Result<String> {
        self.process.take().context("it runs")?.terminate()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let log = process.terminate();
            if std::thread::panicking() {
                eprintln!("the source's log:\n{log:?}");
            }
        }
    }
}

/// A mailbox that does what it is told.
#[derive(Debug)]
pub struct Mailbox {
    process: Option<Process>,
    input: ChildStdin,
}

impl Mailbox {
    /// Does something; returns when the mail server has answered.
    pub fn tell(&mut self, command: &str) -> Result<Value> {
        use std::io::Write;
        writeln!(self.input, "{command}")?;
        let process = self.process.as_mut().context("it has ended")?;
        let Some(line) = process.line()? else {
            let (status, traceback) = self.process.take().context("it has ended")?.end()?;
            anyhow::bail!("{command}: {status}\n{traceback}");
        };
        Ok(serde_json::from_str(&line)?)
    }

    /// The UIDVALIDITY of a folder.
    pub fn validity(&mut self, folder: &str) -> Result<u64> {
        self.tell(&format!("state {folder}"))?["validity"].as_u64().context("a number")
    }
}

fn other_user() -> Option<u32> {
    rustix::process::getuid().is_root().then_some(NOBODY)
}

fn give(folder: &Path, user: u32) -> Result<()> {
    chown(folder, Some(user), Some(user))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), user)?;
        } else {
            chown(entry.path(), Some(user), Some(user))?;
        }
    }
    Ok(())
}

/// The name of a user or a group.
fn named(database: &str, id: u32) -> Result<String> {
    let text = fs::read_to_string(format!("/etc/{database}"))?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()));
    Ok(line.and_then(|line| line.split(':').next()).with_context(|| format!("{id} in /etc/{database}"))?.to_owned())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
