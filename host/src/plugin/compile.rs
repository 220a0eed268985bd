//! From a component to machine code: in this process or in a child of it, with a cache on disk.
//!
//! A cache file is named after the component's SHA-256 and everything that decides the code (wasmtime's version, its
//! configuration, the processor). It ends with the SHA-256 of what stands before. Machine code from outside is never
//! loaded: the folder must belong to this process's user and be writable by nobody else.

use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::PluginError;
use crate::clock;

/// Who compiles components.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// This process.
    #[default]
    InProcess,
    /// A child process, which a hostile component can exhaust without harm:
    /// `program compile-component INPUT OUTPUT MEMORY-BYTES CPU-SECONDS`, whose whole work is [`compile_child`].
    Child {
        /// The program to start.
        program: PathBuf,
        /// What the child may allocate, in bytes.
        memory_bytes: u64,
        /// What the child may compute, in seconds.
        cpu_seconds: u64,
    },
}

pub(super) struct Compiled {
    pub(super) code: Vec<u8>,
    pub(super) time: Duration,
    pub(super) cached: bool,
}

impl Compiled {
    #[expect(unsafe_code, reason = "what is compiled once is only mapped: only_what_was_cached_is_run, below")]
    pub(super) fn component(&self, engine: &Engine) -> Result<Component, PluginError> {
        // SAFETY: the bytes are wasmtime's own output: made by this process, by a child that runs the same program, or
        // read back, with their digest checked, from a folder that only this process's user can write.
        unsafe { Component::deserialize(engine, &self.code) }.map_err(failed)
    }
}

pub(super) fn compile(
    engine: &Engine,
    bytes: &[u8],
    sha256: &[u8; 32],
    compiler: &Compiler,
    cache: Option<&Path>,
) -> Result<Compiled, PluginError> {
    let folder = cache.filter(|folder| trusted(folder));
    let cached_file = folder.map(|folder| folder.join(file_name(engine, sha256)));
    if let Some(code) = cached_file.as_deref().and_then(read_cached) {
        return Ok(Compiled { code, time: Duration::ZERO, cached: true });
    }
    let (code, time) = clock::timed(|| match compiler {
        Compiler::InProcess => engine.precompile_component(bytes).map_err(failed),
        Compiler::Child { program, memory_bytes, cpu_seconds } => {
            compile_in_child(bytes, folder, program, *memory_bytes, *cpu_seconds)
        }
    });
    let code = code?;
    if let Some(file) = cached_file
        && let Err(error) = write_cached(&file, &code)
    {
        tracing::warn!(%error, file = %file.display(), "the compiled component was not cached");
    }
    Ok(Compiled { code, time, cached: false })
}

/// The whole work of the child process that [`Compiler::Child`] names: limits itself, compiles `input` to `output`.
///
/// # Errors
///
/// The component does not compile, or a file cannot be read or written. Going over a limit ends the process.
#[cfg(feature = "program")]
pub fn compile_child(input: &Path, output: &Path, memory_bytes: u64, cpu_seconds: u64) -> Result<(), PluginError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, limit) in [(Resource::Data, memory_bytes), (Resource::Cpu, cpu_seconds), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
            .map_err(|error| PluginError::Compile(format!("limits of the compiler: {error}")))?;
    }
    let bytes = std::fs::read(input).map_err(failed_file(input))?;
    let code =
        super::engine::compiling_engine().and_then(|engine| engine.precompile_component(&bytes)).map_err(failed)?;
    std::fs::write(output, code).map_err(failed_file(output))
}

/// What the two hand each other lies beside the cache: that may be all that can be written to.
fn compile_in_child(
    bytes: &[u8],
    beside: Option<&Path>,
    program: &Path,
    memory_bytes: u64,
    cpu_seconds: u64,
) -> Result<Vec<u8>, PluginError> {
    let folder = beside.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let folder = folder.map_err(|error| PluginError::Compile(format!("temporary folder: {error}")))?;
    let (input, output) = (folder.path().join("component.wasm"), folder.path().join("code"));
    std::fs::write(&input, bytes).map_err(failed_file(&input))?;
    let child = Command::new(program)
        .arg("compile-component")
        .args([&input, &output])
        .args([memory_bytes.to_string(), cpu_seconds.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(failed_file(program))?;
    if child.status.success() {
        return std::fs::read(&output).map_err(failed_file(&output));
    }
    let message = String::from_utf8_lossy(&child.stderr);
    let limits = format!("the compiler has {} MiB and {cpu_seconds} s of processor time", memory_bytes >> 20);
    Err(PluginError::Compile(match child.status.code() {
        Some(_) => message.lines().last().unwrap_or(&limits).trim().to_owned(),
        None => format!("{} ({limits})", child.status),
    }))
}

fn failed(error: wasmtime::Error) -> PluginError {
    PluginError::Compile(format!("{error:#}"))
}

fn failed_file(path: &Path) -> impl Fn(std::io::Error) -> PluginError {
    let path = path.display().to_string();
    move |error| PluginError::Compile(format!("{path}: {error}"))
}

fn file_name(engine: &Engine, sha256: &[u8; 32]) -> String {
    let mut compatibility = DigestHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let compatibility: [u8; 32] = compatibility.0.finalize().into();
    format!("{}-{}.cwasm", hex(sha256), hex(&compatibility[..8]))
}

/// A hasher whose result does not depend on the run.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes(digest[..8].try_into().expect("eight of 32 bytes"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[digit as usize]))
        .collect()
}

/// Whether the folder is there (it is made where it is not) and nobody else can write to it.
fn trusted(folder: &Path) -> bool {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let own = made.and_then(|()| {
        let (folder, own) = (std::fs::metadata(folder)?, std::fs::metadata("/proc/self")?);
        Ok(folder.uid() == own.uid() && folder.mode() & 0o022 == 0)
    });
    match own {
        Ok(true) => true,
        Ok(false) => {
            tracing::warn!(folder = %folder.display(), "others can write here; components are compiled anew");
            false
        }
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no cache; components are compiled anew");
            false
        }
    }
}

fn read_cached(file: &Path) -> Option<Vec<u8>> {
    let mut code = std::fs::read(file).ok()?;
    let digest = code.split_off(code.len().checked_sub(32)?);
    (Sha256::digest(&code).as_slice() == digest).then_some(code)
}

fn write_cached(file: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().expect("a file in the cache folder");
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(code)?;
    temporary.write_all(&Sha256::digest(code))?;
    temporary.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What is mapped as code is what was written, in a folder that nobody else can write to.
    #[test]
    fn only_what_was_cached_is_run() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("code");
        assert_eq!(read_cached(&file), None);
        write_cached(&file, b"code")?;
        assert_eq!(read_cached(&file).as_deref(), Some(&b"code"[..]));
        let whole = std::fs::read(&file)?;
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            std::fs::write(&file, &altered)?;
            assert_eq!(read_cached(&file), None, "byte {position} was altered");
            std::fs::write(&file, &whole[..position])?;
            assert_eq!(read_cached(&file), None, "it was cut at byte {position}");
        }
        for (mode, expected) in [(0o700, true), (0o755, true), (0o770, false), (0o702, false)] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode))?;
            assert_eq!(trusted(folder.path()), expected, "{mode:o}");
        }
        Ok(())
    }
}
