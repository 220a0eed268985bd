//! How guests are compiled: for the component that is built in, and for those of the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// SIMD for quick-xml's searching; a small stack, because the guest bounds its recursion; an initial memory that holds a
/// small tenant without growing. Functions are compiled into their callers more readily than natively (225), because each
/// begins with a look at the epoch that may stop it: requests take a tenth less, and the component is a sixth larger.
const RUSTFLAGS: &str = "-C target-feature=+simd128 -C link-arg=-zstack-size=65536 -C link-arg=--initial-memory=262144 \
                         -C llvm-args=-inline-threshold=700";

/// `component/` beside the profiles' folders, so that all profiles share one build of the guest.
pub fn target_folder(out: &Path) -> PathBuf {
    out.ancestors().nth(4).expect("OUT_DIR is TARGET/PROFILE/build/NAME/out").join("component")
}

/// Compiles a package of the workspace and makes a component of it.
pub fn component(workspace: &Path, target_folder: &Path, package: &str) -> Vec<u8> {
    let core = module(workspace, target_folder, package);
    wit_component::ComponentEncoder::default()
        .module(&core)
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap_or_else(|error| panic!("{package} does not make a component: {error:#}"))
}

/// The module that the compiler makes of a package of the workspace.
pub fn module(workspace: &Path, target_folder: &Path, package: &str) -> Vec<u8> {
    let mut cargo = guest_cargo();
    cargo
        .current_dir(workspace)
        .args(["build", "--lib", "--profile=component", "--target", TARGET])
        .arg(format!("--package={package}"))
        .arg("--target-dir")
        .arg(target_folder)
        .env("RUSTFLAGS", RUSTFLAGS);
    let status = cargo.status().unwrap_or_else(|error| panic!("{cargo:?} does not start: {error}"));
    assert!(status.success(), "{package} does not compile ({cargo:?}: {status})");
    let module = target_folder.join(TARGET).join(format!("component/{}.wasm", package.replace('-', "_")));
    std::fs::read(&module).unwrap_or_else(|error| panic!("{}: {error}", module.display()))
}

/// The cargo that can compile for wasm32: the one of this build where its toolchain has the target, else Debian's, which
/// brings the standard library as source.
fn guest_cargo() -> Command {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    if has_target(Path::new(&rustc)) {
        let mut cargo = clean(Command::new(env::var_os("CARGO").expect("cargo sets CARGO")));
        cargo.env("RUSTC", rustc);
        return cargo;
    }
    let (debian_cargo, debian_rustc) = (Path::new("/usr/bin/cargo"), Path::new("/usr/bin/rustc"));
    let linker = Path::new("/usr/bin/wasm-ld-19");
    if [debian_cargo, debian_rustc, linker].iter().all(|program| program.exists()) {
        let mut cargo = clean(Command::new(debian_cargo));
        cargo
            .args(["-Z", "build-std=std,panic_abort"])
            .env("RUSTC", debian_rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        return cargo;
    }
    panic!(
        "no Rust compiler for {TARGET} here: run `make setup`, or `rustup target add {TARGET}`, or build without the \
         feature `bundled-plugin`"
    );
}

fn has_target(rustc: &Path) -> bool {
    let Ok(output) = Command::new(rustc).args(["--print=target-libdir", "--target", TARGET]).output() else {
        return false;
    };
    let folder = String::from_utf8_lossy(&output.stdout);
    std::fs::read_dir(folder.trim())
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

/// Without what the outer build says of its own compiler: flags, wrappers (clippy's among them), toolchain, target.
fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("RUSTC")
            || name_text.starts_with("CARGO_BUILD_")
            || name_text.starts_with("CARGO_PROFILE_")
            || ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CLIPPY_ARGS"].contains(&&*name_text)
        {
            command.env_remove(&name);
        }
    }
    command
}
