//! Where the `holdfast` under test is: built once, in the profile of the tests.
//!
//! `HOLDFAST_BIN` names another one, to try a release as it will be shipped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program, built if it was not.
pub fn holdfast() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("HOLDFAST_BIN") {
        Some(path) => std::path::absolute(path).expect("HOLDFAST_BIN names a file"),
        None => built(),
    })
}

fn built() -> PathBuf {
    // Tests are in `target/{profile}/deps`, programs beside that folder.
    let this = std::env::current_exe().expect("a test knows where it is");
    let profile = this.parent().and_then(Path::parent).expect("a test is in target/{profile}/deps").to_owned();
    let program = profile.join(format!("holdfast{}", std::env::consts::EXE_SUFFIX));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "holdfast", "--bin", "holdfast"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(target) = profile.parent() {
        build.arg("--target-dir").arg(target);
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // What cargo tells a test about itself would make build scripts believe that their surroundings have changed.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    let is_built = build.status().is_ok_and(|status| status.success());
    assert!(is_built && program.is_file(), "{} could not be built", program.display());
    program
}
