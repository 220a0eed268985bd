//! The `postbell` program: run to its end, or as a server that ends with the test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{PATIENCE, compiled_plugins, watchdog};

/// Says where the program is to keep compiled plugins.
const CACHE: &str = "POSTBELL_CACHE";

/// What a run of the program gave.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// Runs the program to its end; an error if it does not come to one.
pub fn run<S: Into<OsString>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Result<Finished> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut process = Process::spawn(Command::new(program).args(arguments).stdin(Stdio::null()))?;
    let mut stdout = String::new();
    while let Some(line) = process.line()? {
        stdout.push_str(&line);
        stdout.push('\n');
    }
    let (status, stderr) = process.end()?;
    Ok(Finished { code: status.code().unwrap_or(-1), stdout, stderr })
}

/// A running `postbell serve`. Dropping it stops it as an operator would, and fails the test if it does not end with 0
/// or if it logged an error.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    /// Where mail clients connect.
    pub clients: SocketAddr,
    /// Where sources and operators connect.
    pub admin: SocketAddr,
    start: Start,
}

/// How to start a [`Server`]. Its folder goes when the last clone of this and the server are dropped.
#[derive(Clone, Debug)]
pub struct Start {
    program: String,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    folder: Arc<TempDir>,
}

impl Start {
    /// `serve --demo` without its own traffic, on free ports, with a data directory of its own.
    pub fn demo(program: &str) -> Result<Start> {
        let folder = tempfile::tempdir()?;
        let start = Start::new(program, folder).with("--demo").with("--no-traffic");
        let start = start.with("--listen").with("127.0.0.1:0").with("--admin-listen").with("127.0.0.1:0");
        let data = start.folder.path().join("data");
        Ok(start.with("--data").with(data))
    }

    /// `serve --config` with this configuration, in which `{folder}` stands for a folder of the test's own.
    pub fn configured(program: &str, configuration: &str) -> Result<Start> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("postbell.toml");
        std::fs::write(&file, configuration.replace("{folder}", folder.path().to_str().context("a path in UTF-8")?))?;
        Ok(Start::new(program, folder).with("--config").with(file))
    }

    fn new(program: &str, folder: TempDir) -> Start {
        let arguments = ["serve", "--log-format", "json"].map(OsString::from).into();
        Start { program: program.into(), arguments, environment: Vec::new(), folder: Arc::new(folder) }
    }

    /// Where the configuration is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the configuration.
    pub fn file(self, name: &str, content: &str) -> Result<Start> {
        std::fs::write(self.folder.path().join(name), content)?;
        Ok(self)
    }

    /// One more argument.
    pub fn with(mut self, argument: impl Into<OsString>) -> Start {
        self.arguments.push(argument.into());
        self
    }

    /// Lets another program start it, such as one that takes something from it.
    pub fn under(mut self, program: &str, arguments: &[&str]) -> Start {
        let started = std::mem::replace(&mut self.program, program.into());
        let arguments = arguments.iter().map(OsString::from).chain([started.into()]);
        self.arguments.splice(0..0, arguments);
        self
    }

    /// An environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A setting of the demo's plugin.
    pub fn set(self, key: &str, value: impl std::fmt::Display) -> Start {
        self.with("--set").with(format!("{key}={value}"))
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(self) -> Result<Server> {
        let process = self.spawn()?;
        self.ready(process)
    }

    /// As `start`, for one that waits for something: once it has logged this text, `then` brings it. Fails if it does not
    /// wait.
    pub fn start_once_logged(self, text: &str, then: impl FnOnce() -> Result<()>) -> Result<Server> {
        let process = self.spawn()?;
        loop {
            let line = process.logged().with_context(|| format!("it did not log {text:?}"))?;
            if line.contains(text) {
                break;
            }
            ensure!(!line.contains("\"ready "), "it was ready, and had not logged {text:?}");
        }
        then()?;
        self.ready(process)
    }

    fn ready(self, mut process: Process) -> Result<Server> {
        while let Some(line) = process.line()? {
            let Some(facts) = line.strip_prefix("postbell ready ") else { continue };
            let (clients, admin) = (address(facts, "clients")?, address(facts, "admin")?);
            return Ok(Server { process: Some(process), clients, admin, start: self });
        }
        let (status, stderr) = process.end()?;
        bail!("the server ended before it was ready, {status}:\n{stderr}")
    }

    /// Starts the server and kills it once it has logged so many lines, or is ready if that comes first.
    pub fn start_and_kill(&self, lines: u64) -> Result<()> {
        let process = self.spawn()?;
        for _ in 0..lines {
            if process.logged().is_none_or(|line| line.contains("\"ready ")) {
                break;
            }
        }
        refuse_errors(process.kill()).map(drop)
    }

    fn spawn(&self) -> Result<Process> {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(&self.program);
        Process::spawn(command.args(&self.arguments).envs(environment).stdin(Stdio::null()))
    }
}

fn address(facts: &str, name: &str) -> Result<SocketAddr> {
    let url = facts.split(' ').find_map(|fact| fact.strip_prefix(name)?.strip_prefix('='));
    let value = url.and_then(|url| url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")));
    value.with_context(|| format!("no {name} address in {facts:?}"))?.parse().context("an address with a port")
}

impl Server {
    /// The demo with its own defaults.
    pub fn demo(program: &str) -> Result<Server> {
        Start::demo(program)?.start()
    }

    /// The folder that holds everything the server writes.
    pub fn folder(&self) -> &Path {
        self.start.folder.path()
    }

    /// What starts it again, on the same folder.
    pub fn again(&self) -> Start {
        self.start.clone()
    }

    /// Ends the server as a crash would, in the middle of whatever it does, and gives what it logged.
    pub fn kill(mut self) -> Result<String> {
        refuse_errors(self.process.take().context("the server has ended")?.kill())
    }

    /// As `kill`, for a test that provokes errors.
    pub fn kill_whatever_it_logged(mut self) -> String {
        self.process.take().map(Process::kill).unwrap_or_default()
    }

    /// The most memory that it has used so far, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let id = self.process.as_ref().context("the server has ended")?.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.context("a peak")?.parse::<u64>()? * 1024)
    }

    /// Reads the log on, up to and with the next line that has this in it.
    pub fn until_logged(&self, text: &str) -> Result<String> {
        let process = self.process.as_ref().context("the server has ended")?;
        let lines = std::iter::from_fn(|| process.logged());
        lines.into_iter().find(|line| line.contains(text)).with_context(|| format!("nothing logged has {text:?}"))
    }

    /// Tells the server to read its configuration again.
    pub fn hang_up(&self) -> Result<()> {
        self.process.as_ref().context("the server has ended")?.signal(Signal::HUP)
    }

    /// The memory that the server has, in bytes, as Linux counts it.
    pub fn resident_bytes(&self) -> Result<u64> {
        let id = self.process.as_ref().context("the server has ended")?.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a line of Linux")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// The names of its threads, of which Linux keeps the first fifteen bytes.
    pub fn threads(&self) -> Result<Vec<String>> {
        let id = self.process.as_ref().context("the server has ended")?.child.id();
        let threads = std::fs::read_dir(format!("/proc/{id}/task"))?;
        // One that ends meanwhile has no name.
        Ok(threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok()).collect())
    }

    /// The processor time that it has used so far.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.as_ref().context("the server has ended")?.processor_time()
    }

    /// Stops its work without ending it, as a machine does that hangs.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().context("the server has ended")?.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().context("the server has ended")?.signal(Signal::CONT)
    }

    /// Tells the server to end, as an operator would.
    pub fn terminate(&self) -> Result<()> {
        self.process.as_ref().context("the server has ended")?.signal(Signal::TERM)
    }

    /// Ends the server in good order and gives what it logged.
    pub fn stop(mut self) -> Result<String> {
        self.end()
    }

    /// As `stop`, for a test that provokes errors.
    pub fn stop_whatever_it_logged(mut self) -> Result<String> {
        self.end_whatever_it_logged()
    }

    fn end(&mut self) -> Result<String> {
        refuse_errors(self.end_whatever_it_logged()?)
    }

    fn end_whatever_it_logged(&mut self) -> Result<String> {
        let mut process = self.process.take().context("the server has ended")?;
        process.signal(Signal::TERM)?;
        while process.line()?.is_some() {}
        let (status, log) = process.end()?;
        if status.code() != Some(0) {
            bail!("the server ended with {status}:\n{log}");
        }
        Ok(log)
    }
}

/// The log, if it tells of no error.
fn refuse_errors(log: String) -> Result<String> {
    match log.lines().find(|line| is_error(line)) {
        Some(line) => bail!("the server logged an error: {line}"),
        None => Ok(log),
    }
}

/// Whether a line of the log tells of an error: no test here provokes one.
fn is_error(line: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(entry) => entry["level"] == "ERROR",
        Err(_) => line.contains("panicked at"),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.process.take().map(Process::kill).unwrap_or_default();
            eprintln!("the server's log:\n{log}");
        } else if self.process.is_some() {
            self.end().unwrap_or_else(|error| panic!("{error:#}"));
        }
    }
}

/// The processor time that all threads of a process have used so far, as Linux counts it: in hundredths of a second.
pub fn processor_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    // After the name: proc_pid_stat(5) counts the time in user mode as 14, and that in the kernel as 15.
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = times.sum::<Result<u64, _>>().context("two times")?;
    // A tick is a hundredth of a second wherever Linux runs today (USER_HZ).
    Ok(Duration::from_millis(ticks * 10))
}

/// A child process whose output is read as it comes, so that it never blocks on a full pipe.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    logged: Receiver<String>,
    /// All that it logged, once it has ended and nobody else writes there.
    stderr: Receiver<String>,
}

impl Process {
    /// As [`processor_time`].
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.child.id())
    }

    /// Starts a command whose input the caller has decided.
    pub fn spawn(command: &mut Command) -> Result<Process> {
        watchdog::watched();
        let described = format!("{command:?}");
        if command.get_envs().all(|(name, _)| name != CACHE) {
            command.env(CACHE, compiled_plugins());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {described}"))?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (sender, logged) = channel();
        let (all, whole) = channel();
        thread::spawn(move || {
            let (mut text, mut line) = (String::new(), Vec::new());
            // What was read before an error is still worth showing.
            while stderr.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let read = String::from_utf8_lossy(&line).into_owned();
                text.push_str(&read);
                // An error means that nobody waits for lines.
                let _ = sender.send(read);
                line.clear();
            }
            let _ = all.send(text);
        });
        Ok(Process { child, lines, logged, stderr: whole })
    }

    /// The standard input, if it is piped and was not taken before.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The next line of standard output; none at its end. Kills the process if it stays silent.
    pub fn line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE * 2) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("it neither says anything nor ends:\n{}", self.kill_child())),
        }
    }

    /// The next line of standard error; none at its end, or if it stays silent.
    pub(crate) fn logged(&self) -> Option<String> {
        self.logged.recv_timeout(PATIENCE).ok()
    }

    /// Waits for the end of a process that has closed its standard output.
    pub fn end(mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait()?;
        Ok((status, self.collect_stderr()))
    }

    /// Ends it as an operator would; gives what it logged. It must end with 0 and have logged no error.
    pub fn terminate(mut self) -> Result<String> {
        self.signal(Signal::TERM)?;
        while self.line()?.is_some() {}
        let (status, log) = self.end()?;
        if !status.success() {
            bail!("it ended with {status}:\n{log}");
        }
        refuse_errors(log)
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(mut self) -> String {
        self.kill_child()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        Ok(kill_process(id, signal)?)
    }

    fn kill_child(&mut self) -> String {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.collect_stderr()
    }

    fn collect_stderr(&self) -> String {
        // What it started, and left behind, may hold its end of the pipe.
        self.stderr.recv_timeout(PATIENCE).unwrap_or_default()
    }
}

/// What a test leaves behind that fails, ends with it.
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and been waited for, before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
