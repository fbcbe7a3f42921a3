//! `holdfast keys`: makes keys, and the hashes that settings hold instead of them.
//!
//! A new key has 160 random bits, so that its plain SHA-256 hash can be kept without fear of guessing.
//! The key itself is printed once and stored nowhere.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use holdfast_core::access::api_key::{HASH_PREFIX, KeyDigest, MAX_KEY_BYTES, StoredKey};
use holdfast_core::access::role::{Role, Roles};
use holdfast_core::id::DatabaseName;
use serde_json::{Map, Value, json};

use crate::entropy;

/// What new keys start with, so that people and secret scanners recognise them.
const KEY_PREFIX: &str = "hf_";

/// The random part of a key: 160 bits, 32 characters.
const KEY_BYTES: usize = 20;

/// Letters and digits that cannot be mistaken for each other when read aloud or typed (Crockford's base 32).
const ALPHABET: [char; 32] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'j', 'k', 'm', 'n', 'p',
    'q', 'r', 's', 't', 'v', 'w', 'x', 'y', 'z',
];

/// Makes keys and hashes for the settings.
#[derive(Args, Debug)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    action: KeysAction,
}

#[derive(Subcommand, Debug)]
enum KeysAction {
    /// Make a new key and the settings that admit it
    New(NewArguments),
    /// Read a key from standard input and print its hash
    Hash,
}

#[derive(Args, Debug)]
struct NewArguments {
    /// What to call the key in settings and logs
    #[arg(long, default_value = "new-key")]
    name: String,
    /// A database that the key may use; repeat for more [default: all databases]
    #[arg(long = "database", value_name = "DATABASE", value_parser = database)]
    databases: Vec<String>,
    /// A right that the key has, such as READ_DOCUMENT; repeat for more [default: the four *_DOCUMENT roles]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
}

/// Runs the command; problems go to standard error and make the exit code 1 or 2.
pub(crate) fn run(args: KeysArguments) -> ExitCode {
    let outcome = match args.action {
        KeysAction::New(args) => print_new_key(&args),
        KeysAction::Hash => print_hash(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "holdfast keys: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_new_key(args: &NewArguments) -> io::Result<ExitCode> {
    let key = new_key();
    let digest = KeyDigest::of(&key).to_text();
    let entry = serde_json::to_string_pretty(&settings_entry(args, &digest))?;
    let mut out = io::stdout().lock();
    writeln!(out, "Key (shown once; give it to whoever shall use it):\n  {key}\n")?;
    writeln!(out, "Hash:\n  {digest}\n")?;
    writeln!(out, "Add this to Auth:ApiKeys in appsettings.json; the node needs the hash alone:\n{entry}")?;
    Ok(ExitCode::SUCCESS)
}

fn print_hash() -> io::Result<ExitCode> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        write!(io::stderr(), "Key: ")?;
        io::stderr().flush()?;
    }
    let mut line = String::new();
    // One byte more than the longest key and its line end, so that a longer one is noticed and not cut.
    let bound = u64::try_from(MAX_KEY_BYTES + 3).unwrap_or(u64::MAX);
    stdin.lock().take(bound).read_line(&mut line)?;
    match hash(&line) {
        Ok(digest) => {
            writeln!(io::stdout(), "{digest}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problem) => {
            writeln!(io::stderr(), "holdfast keys hash: {problem}")?;
            Ok(ExitCode::from(2))
        }
    }
}

fn hash(line: &str) -> Result<String, String> {
    let key = line.trim();
    let is_hash = key.get(..HASH_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(HASH_PREFIX));
    if is_hash {
        return Err("this already is a hash; put it into the settings as it is".to_owned());
    }
    StoredKey::parse(key).map(|stored| stored.digest().to_text()).map_err(|problem| format!("the key {problem}"))
}

fn settings_entry(args: &NewArguments, digest: &str) -> Value {
    let databases = if args.databases.is_empty() { vec!["*".to_owned()] } else { args.databases.clone() };
    let held: Roles = if args.roles.is_empty() {
        [Role::ReadDocument, Role::WriteDocument, Role::UpdateDocument, Role::DeleteDocument].into_iter().collect()
    } else {
        args.roles.iter().copied().collect()
    };
    let roles: Map<String, Value> =
        Role::ALL.into_iter().map(|role| (role.name().to_owned(), held.contains(role).into())).collect();
    json!({ "Name": args.name, "Key": digest, "Databases": databases, "Roles": roles })
}

fn new_key() -> String {
    let mut random = [0; KEY_BYTES];
    let (first, second) = (entropy::random_u128(), entropy::random_u128());
    let bytes = first.to_be_bytes().into_iter().chain(second.to_be_bytes());
    for (target, byte) in random.iter_mut().zip(bytes) {
        *target = byte;
    }
    key_text(random)
}

fn key_text(random: [u8; KEY_BYTES]) -> String {
    let mut key = KEY_PREFIX.to_owned();
    let (mut pending, mut bits) = (0_u32, 0);
    for byte in random {
        pending = pending << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let digit = usize::try_from(pending >> bits & 31).unwrap_or(0);
            key.push(ALPHABET.get(digit).copied().unwrap_or('0'));
        }
        pending &= (1 << bits) - 1;
    }
    key
}

fn database(text: &str) -> Result<String, String> {
    if text.trim() == "*" {
        return Ok("*".to_owned());
    }
    DatabaseName::parse(text).map(|name| name.to_string()).map_err(|refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        keys: KeysArguments,
    }

    fn new_args(line: &[&str]) -> Result<NewArguments, clap::Error> {
        let words = ["keys", "new"].iter().chain(line);
        match Line::try_parse_from(words)?.keys.action {
            KeysAction::New(args) => Ok(args),
            KeysAction::Hash => panic!("another command"),
        }
    }

    #[test]
    fn a_new_key_has_160_bits_and_is_not_guessable() {
        let (one, two) = (new_key(), new_key());
        assert_ne!(one, two);
        assert_eq!(one.len(), KEY_PREFIX.len() + KEY_BYTES * 8 / 5);
        assert!(!StoredKey::parse(&one).unwrap().is_guessable());
        assert_eq!(key_text([0xff; KEY_BYTES]), format!("hf_{}", "z".repeat(32)));
        assert_eq!(key_text([0; KEY_BYTES]), format!("hf_{}", "0".repeat(32)));
    }

    #[test]
    fn the_settings_hold_the_hash_and_the_chosen_rights() {
        let line = ["--name", "till", "--database", "Shop", "--role", "read_document"];
        let args = new_args(&line).unwrap();
        let entry = settings_entry(&args, &KeyDigest::of("k").to_text());
        assert_eq!(entry["Name"], "till");
        assert!(entry["Key"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(entry["Databases"], json!(["shop"]));
        assert_eq!(entry["Roles"]["READ_DOCUMENT"], true);
        assert_eq!(entry["Roles"]["DELETE_DB"], false);
        assert_eq!(entry["Roles"].as_object().unwrap().len(), Role::ALL.len());
    }

    #[test]
    fn without_choices_a_key_handles_documents_everywhere_and_no_databases() {
        let entry = settings_entry(&new_args(&[]).unwrap(), "sha256:");
        assert_eq!(entry["Databases"], json!(["*"]));
        assert_eq!(entry["Roles"]["DELETE_DOCUMENT"], true);
        assert_eq!(entry["Roles"]["ADD_DB"], false);
    }

    #[test]
    fn unknown_roles_and_bad_database_names_are_refused() {
        assert!(new_args(&["--role", "ADMIN"]).is_err());
        assert!(new_args(&["--database", "a/b"]).is_err());
    }

    #[test]
    fn a_key_is_hashed_without_its_line_end_and_a_hash_is_not_hashed_again() {
        assert_eq!(hash("abc\r\n").unwrap(), KeyDigest::of("abc").to_text());
        assert!(hash(&KeyDigest::of("abc").to_text()).unwrap_err().contains("already"));
        assert!(hash(" \n").unwrap_err().contains("empty"));
    }
}
