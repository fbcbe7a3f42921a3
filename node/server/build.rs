//! Builds Studio, the web interface in `studio/`, and lists its files for `http::studio` to embed.
//!
//! ```text
//!   studio/ ─copy─► OUT_DIR/studio ─npm ci, npm run build─► OUT_DIR/studio/dist ─► OUT_DIR/studio_files.rs
//! ```
//!
//! **What stays true.** The node builds without npm and without a network: where Studio cannot be built, a page that
//! says how to get it takes its place, and a warning says why. Nothing is written beside the sources. Packages are
//! installed without running their scripts, and again only when the lock file has changed.
//!
//! **What it does not do.** It checks no types and runs no tests of Studio: `cargo xtask test` does.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// What Studio is built from. Changes of anything else beside it do not count.
const SOURCES: [&str; 5] = ["src", "index.html", "build.mjs", "package.json", "package-lock.json"];

/// Names the installed packages: a copy of the lock file that they came from.
const INSTALLED: &str = "installed.lock";

/// Lines of a failed command that the warning repeats.
const TOLD_LINES_MAX: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=HOLDFAST_SKIP_STUDIO");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo names no CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo names no OUT_DIR")?);
    let sources = here.join("../../studio");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", sources.join(source).display());
    }
    let files = if env::var_os("HOLDFAST_SKIP_STUDIO").is_some_and(|value| !value.is_empty() && value != "0") {
        plain_page(&out)?
    } else {
        build(&sources, &out.join("studio")).or_else(|error| {
            println!("cargo:warning=Studio is left out: {error}");
            println!(
                "cargo:warning=To have it, install Node.js 18 or newer with npm, touch node/server/build.rs, build."
            );
            plain_page(&out)
        })?
    };
    fs::write(out.join("studio_files.rs"), table(&files)?)?;
    Ok(())
}

/// Builds Studio in a folder of its own; gives the files by the path under which they are served.
fn build(sources: &Path, workshop: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    fs::create_dir_all(workshop)?;
    for source in SOURCES {
        replace(&sources.join(source), &workshop.join(source))?;
    }
    let lock = fs::read(workshop.join("package-lock.json"))?;
    let installed = workshop.join(INSTALLED);
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        // Studio's types and tests need more packages; its build does not.
        let limits = ["--fetch-retries=1", "--fetch-timeout=30000", "--prefer-offline"];
        npm(workshop, &[&["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], &limits[..]].concat())?;
        fs::write(&installed, &lock)?;
    }
    npm(workshop, &["run", "build"])?;
    let mut files = Vec::new();
    collect(&workshop.join("dist"), "", &mut files)?;
    if !files.iter().any(|(path, _)| path == "index.html") {
        return Err("the build made no index.html.".into());
    }
    Ok(files)
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be started ({error})."))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let told = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("npm warn"))
        .take(TOLD_LINES_MAX)
        .collect::<Vec<_>>()
        .join(" / ");
    Err(format!("`npm {}` failed: {told}", arguments.first().copied().unwrap_or_default()).into())
}

/// Makes a copy equal to its source, a file or a folder.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        replace(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push((path, entry.path()));
        }
    }
    files.sort();
    Ok(())
}

/// The page that takes Studio's place.
fn plain_page(out: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let page = out.join("without-studio.html");
    fs::write(&page, include_str!("src/http/without_studio.html"))?;
    Ok(vec![("index.html".to_owned(), page)])
}

/// The files as Rust source, with a tag that changes when a file does.
fn table(files: &[(String, PathBuf)]) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("[\n");
    for (path, file) in files {
        let tag = fingerprint(&fs::read(file)?);
        let tag = format!("\"{tag:016x}\"");
        let file = file.to_str().ok_or("the build's folder has a name that is no UTF-8.")?;
        writeln!(text, "    File {{ path: {path:?}, tag: {tag:?}, bytes: include_bytes!({file:?}) }},")?;
    }
    text.push_str("]\n");
    Ok(text)
}

/// FNV-1a: the tag tells versions of a file apart and protects nothing.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
