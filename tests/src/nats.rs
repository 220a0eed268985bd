//! A NATS server of a test's own, on loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::Process;

/// The server that `make setup` installs.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/nats-server");

/// A running server with JetStream. Ends with this.
#[derive(Debug)]
pub struct Nats {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// One that syncs always, and asks nobody for a login.
    pub fn start() -> Result<Nats> {
        Nats::configured("jetstream { store_dir: \"{folder}\", sync_interval: always }")
    }

    /// One with this configuration, in which `{folder}` stands for a folder of its own.
    pub fn configured(configuration: &str) -> Result<Nats> {
        let mut nats = Nats::prepared(configuration)?;
        nats.again()?;
        Ok(nats)
    }

    /// As `configured`; it runs from `again` on.
    fn prepared(configuration: &str) -> Result<Nats> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_str().context("a path in UTF-8")?;
        std::fs::write(folder.path().join("nats.conf"), configuration.replace("{folder}", path))?;
        Ok(Nats { process: None, folder, port: 0 })
    }

    /// Where it listens, with `login` (empty, or `user:password@`) before the host.
    pub fn url(&self, login: &str) -> String {
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it, where it was if it ran before.
    pub fn again(&mut self) -> Result<()> {
        let any = -1;
        self.run("127.0.0.1", if self.port == 0 { any } else { self.port.into() })
    }

    /// The processor time that it has used so far.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.as_ref().context("it does not run")?.processor_time()
    }

    /// Stops its work without ending it, as a machine does that hangs.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.signal(Signal::CONT)
    }

    fn run(&mut self, host: &str, port: i32) -> Result<()> {
        let configuration = self.folder.path().join("nats.conf");
        if !Path::new(SERVER).exists() {
            bail!("{SERVER} is missing: `make setup` installs it");
        }
        let mut command = Command::new(SERVER);
        command.arg("--config").arg(configuration).args(["--addr", host, "--port", &port.to_string()]);
        let process = Process::spawn(command.stdin(Stdio::null()))?;
        while let Some(line) = process.logged() {
            if let Some((_, address)) = line.split_once("Listening for client connections on ") {
                let (_, port) = address.trim().rsplit_once(':').context("an address with a port")?;
                self.port = port.parse()?;
            }
            if line.contains("Server is ready") {
                self.process = Some(process);
                return Ok(());
            }
        }
        bail!("nats-server ended before it was ready:\n{}", process.kill())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that keep everything three times.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<Nats>,
}

impl NatsCluster {
    /// They sync always, and tell clients of no other servers.
    pub fn start() -> Result<NatsCluster> {
        let mut nats = NatsCluster::prepared()?;
        nats.servers.iter_mut().try_for_each(Nats::again)?;
        Ok(nats)
    }

    /// As `start`; each runs from [`Nats::again`] on.
    pub fn prepared() -> Result<NatsCluster> {
        let free = || Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let ports = (0..3).map(|_| free()).collect::<Result<Vec<u16>>>()?;
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let server = |(number, port)| {
            Nats::prepared(&format!(
                "server_name: n{number}\njetstream {{ store_dir: \"{{folder}}\", sync_interval: always }}\n\
                 cluster {{ name: postbell, listen: \"127.0.0.1:{port}\", routes: [{}], no_advertise: true }}",
                routes.join(", ")
            ))
        };
        Ok(NatsCluster { servers: ports.iter().enumerate().map(server).collect::<Result<_>>()? })
    }
}
