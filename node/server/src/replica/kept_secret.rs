//! `replica-secret.json` in the data directory: a secret that an operator gave with a role, in place of the settings'.
//!
//! It lies apart from `replica.json`, so that what is shown to others when help is wanted holds no secret, and only the
//! node's own user may read it (on Windows: whoever may read the directory, which holds every document too). It goes with
//! the role, and when the settings name another secret than they did.

use std::fmt;
use std::path::PathBuf;

use holdfast_core::replica::handshake::fingerprint;
use holdfast_storage::layout::{DataDirectory, write_private};
use serde::Deserialize;
use serde_json::json;

use crate::replica::kept::KeptError;
use crate::settings::secret::Secret;

const FILE_NAME: &str = "replica-secret.json";
const FORMAT: u32 = 1;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024;

/// The file.
#[derive(Clone)]
pub struct KeptSecret {
    path: PathBuf,
    /// What the settings name, told from another without being kept.
    over: String,
    settings: Secret,
}

/// As much as every format has.
#[derive(Deserialize)]
struct Written {
    format: u32,
}

#[derive(Deserialize)]
struct Stored {
    secret: Secret,
    over: String,
}

impl KeptSecret {
    /// The file of a data directory, beside the secret that the settings name.
    pub fn of(directory: &DataDirectory, settings: Secret) -> Self {
        let over = fingerprint(settings.expose().as_bytes());
        Self { path: directory.path().join(FILE_NAME), over, settings }
    }

    /// The secret in force: the one that was given, or the settings'.
    pub fn read(&self) -> Result<Secret, KeptError> {
        let file = |source| KeptError::File { path: self.path.clone(), source };
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(self.settings.clone()),
            Ok(about) if about.len() > FILE_BYTES_MAX => return Err(self.content("it is too long")),
            Ok(_) => {}
            Err(error) => return Err(file(error)),
        }
        let bytes = std::fs::read(&self.path).map_err(file)?;
        // What is wrong is not quoted: it may be the secret.
        let unreadable = |_| self.content("it is no such file");
        let written: Written = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if written.format > FORMAT {
            return Err(self.content("a newer Holdfast has written it: start that one"));
        }
        let stored: Stored = serde_json::from_slice(&bytes).map_err(unreadable)?;
        Ok(if stored.over == self.over { stored.secret } else { self.settings.clone() })
    }

    /// Keeps a secret durably in place of the settings', or goes back to those. Gives the one in force.
    pub fn write(&self, secret: Option<Secret>) -> Result<Secret, KeptError> {
        match secret {
            Some(secret) => {
                let stored = json!({"format": FORMAT, "secret": secret.expose(), "over": self.over});
                write_private(&self.path, stored.to_string().as_bytes())?;
                Ok(secret)
            }
            None => {
                let removed = std::fs::remove_file(&self.path);
                match removed {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        Err(KeptError::File { path: self.path.clone(), source })
                    }
                    _ => Ok(self.settings.clone()),
                }
            }
        }
    }

    fn content(&self, reason: &str) -> KeptError {
        KeptError::Content { path: self.path.clone(), reason: reason.to_owned() }
    }
}

impl fmt::Debug for KeptSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_core::id::NodeName;
    use holdfast_storage::layout::Arrival;

    use super::*;

    fn of(directory: &DataDirectory, settings: &str) -> KeptSecret {
        KeptSecret::of(directory, Secret::new(settings))
    }

    #[test]
    fn a_given_secret_is_kept_until_the_settings_name_another_or_it_is_given_up() {
        let home = tempfile::tempdir().unwrap();
        let arrival = Arrival { incarnation: 1, holder: "a test" };
        let directory = DataDirectory::open(home.path(), &NodeName::parse("n").unwrap(), arrival).unwrap();
        assert_eq!(of(&directory, "first").read().unwrap().expose(), "first");
        of(&directory, "first").write(Some(Secret::new("given"))).unwrap();
        assert_eq!(of(&directory, "first").read().unwrap().expose(), "given");
        assert_eq!(of(&directory, "second").read().unwrap().expose(), "second", "the settings were changed");
        assert_eq!(of(&directory, "first").write(None).unwrap().expose(), "first");
        assert_eq!(of(&directory, "first").read().unwrap().expose(), "first");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_it_and_no_error_tells_it() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let arrival = Arrival { incarnation: 1, holder: "a test" };
        let directory = DataDirectory::open(home.path(), &NodeName::parse("n").unwrap(), arrival).unwrap();
        let kept = of(&directory, "");
        kept.write(Some(Secret::new("very-private"))).unwrap();
        let path = home.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, r#"{"format": 1, "secret": {"very-private": 1}, "over": ""}"#).unwrap();
        let told = kept.read().unwrap_err().to_string();
        assert!(told.contains(FILE_NAME) && !told.contains("very-private"), "{told}");
        std::fs::write(&path, r#"{"format": 2, "secret": "very-private", "over": ""}"#).unwrap();
        assert!(kept.read().unwrap_err().to_string().contains("newer"));
    }
}
