//! The library for C: its header is what cbindgen makes, programs compile without a warning, and bad input does no harm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use postbell_tests::swaps;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// The library that was built with the tests, because they depend on it.
fn library() -> Result<PathBuf> {
    // Without a use of it, it would not be built.
    ensure!(!capi::postbell_version().is_null());
    let tests = std::env::current_exe()?;
    let library = tests.parent().context("a folder")?.join("libpostbell_capi.so");
    ensure!(library.exists(), "{} is not there", library.display());
    Ok(library)
}

/// A folder into which the library is installed.
fn installed() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut install = Command::new(root().join("scripts/install-capi"));
    succeeded(install.arg(folder.path()).arg(library()?))?;
    Ok(folder)
}

/// Compiles a program against an installed library, with the flags that pkg-config says.
fn compile(source: &Path, installed: &Path) -> Result<PathBuf> {
    let mut flags = Command::new("pkg-config");
    let flags = succeeded(
        flags.env("PKG_CONFIG_PATH", installed.join("lib/pkgconfig")).args(["--cflags", "--libs", "postbell"]),
    )?;
    let program = installed.join("program");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-D_POSIX_C_SOURCE=200809L"]);
    compiler.arg("-o").arg(&program).arg(source).args(flags.split_whitespace());
    compiler.arg(format!("-Wl,-rpath,{}", installed.join("lib").display()));
    succeeded(&mut compiler)?;
    Ok(program)
}

/// What a program prints that must end with 0.
fn succeeded(command: &mut Command) -> Result<String> {
    postbell_tests::watchdog::watched();
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

/// The program with its arguments: two versions of a plugin, and a place for a journal.
fn with_arguments<'c>(command: &'c mut Command, folder: &Path) -> Result<&'c mut Command> {
    for version in ["first", "answers"] {
        std::fs::write(folder.join(version), swaps::guest(version))?;
        command.arg(folder.join(version));
    }
    Ok(command.arg(folder.join("journal")))
}

#[test]
fn the_header_is_what_the_sources_say() -> Result<()> {
    let capi = root().join("host/capi");
    let config = cbindgen::Config::from_file(capi.join("cbindgen.toml")).map_err(anyhow::Error::msg)?;
    let made = cbindgen::Builder::new().with_crate(&capi).with_config(config).generate()?;
    let mut header = Vec::new();
    made.write(&mut header);
    expect_test::expect_file![capi.join("include/postbell.h")].assert_eq(std::str::from_utf8(&header)?);
    Ok(())
}

#[test]
fn a_program_in_c_embeds_it_and_bad_input_does_no_harm() -> Result<()> {
    let installed = installed()?;
    let program = compile(&root().join("tests/c/embedding.c"), installed.path())?;
    let printed = succeeded(with_arguments(&mut Command::new(program), installed.path())?)?;
    assert_eq!(printed, "all of it\n");
    Ok(())
}

#[test]
fn misuse_in_c_is_refused_whatever_thread_or_callback_it_comes_from() -> Result<()> {
    let installed = installed()?;
    let program = compile(&root().join("tests/c/misuse.c"), installed.path())?;
    let plugin = installed.path().join("first");
    std::fs::write(&plugin, swaps::guest("first"))?;
    let printed = succeeded(Command::new(program).arg(plugin))?;
    assert_eq!(printed, "all of it\n");
    Ok(())
}

/// Where valgrind is installed (`make setup` does), the same program under it: no error, no block that is lost for good.
#[test]
fn it_neither_loses_memory_nor_reads_what_is_not_its_own() -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed");
        return Ok(());
    }
    let installed = installed()?;
    let program = compile(&root().join("tests/c/embedding.c"), installed.path())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
    ]);
    let printed = succeeded(with_arguments(valgrind.arg(program), installed.path())?)?;
    assert_eq!(printed, "all of it\n");
    Ok(())
}

#[test]
fn the_block_of_the_readme_runs() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let block = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).context("a block of C")?;
    assert_eq!(block, std::fs::read_to_string(root().join("tests/readme/embed.c"))?);
    let installed = installed()?;
    let printed = succeeded(&mut Command::new(compile(&root().join("tests/readme/embed.c"), installed.path())?))?;
    ensure!(printed.starts_with("HTTP ") && printed.ends_with("\nend: 0 \n"), "{printed}");
    Ok(())
}
