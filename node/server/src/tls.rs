//! Encryption of `https://` addresses, from two PEM files.
//!
//! TLS 1.2 and 1.3 by rustls. Files are read once, at start: to renew a certificate, replace the
//! files and restart the node.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::sections::TlsSettings;

/// Largest PEM file.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: {path} cannot be read: {cause}; correct the path or let this user read it", path = path.display())]
    Unreadable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{key}: {path} holds no {expected}; write the path of a PEM file that does", path = path.display())]
    Empty {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// Certificate and key do not serve together.
    #[error(
        "a certificate and a key that the settings name cannot be used together: {0}; give the key that the certificate was made for"
    )]
    Unusable(rustls::Error),
}

/// Prepares encryption; `None` when the settings name no certificate.
pub fn load(settings: &TlsSettings) -> Result<Option<TlsAcceptor>, TlsError> {
    let (Some(certificate_file), Some(private_key_file)) = (&settings.certificate_file, &settings.private_key_file)
    else {
        return Ok(None);
    };
    let chain = certificates("Tls:CertificateFile", certificate_file)?;
    let key = private_key("Tls:PrivateKeyFile", private_key_file)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// The certificates of a PEM file that a setting names.
pub(crate) fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().unwrap_or_default();
    if chain.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::Empty { key, path, expected: "certificate" });
    }
    Ok(chain)
}

/// The private key of one.
pub(crate) fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The parser's own words may repeat what it read, so they stay unsaid.
    PrivateKeyDer::from_pem_slice(&read(key, path)?).map_err(|_| TlsError::Empty {
        key,
        path: path.to_owned(),
        expected: "private key without a password",
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|cause| TlsError::Unreadable { key, path: path.to_owned(), cause })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::load;
    use crate::settings::sections::TlsSettings;

    fn settings(certificate: PathBuf, key: PathBuf) -> TlsSettings {
        TlsSettings { certificate_file: Some(certificate), private_key_file: Some(key) }
    }

    #[test]
    fn a_file_that_does_not_serve_is_named_with_its_setting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.pem");
        let missing = load(&settings(path.clone(), path.clone())).err().unwrap().to_string();
        assert!(missing.contains("Tls:CertificateFile") && missing.contains("node.pem"), "{missing}");

        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        let swapped = load(&settings(path.clone(), path.clone())).err().unwrap().to_string();
        assert!(swapped.contains("Tls:PrivateKeyFile"), "{swapped}");

        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key_path = directory.path().join("key.pem");
        std::fs::write(&key_path, other.signing_key.serialize_pem()).unwrap();
        let foreign = load(&settings(path.clone(), key_path.clone())).err().unwrap().to_string();
        assert!(foreign.contains("cannot be used together"), "{foreign}");

        std::fs::write(&key_path, made.signing_key.serialize_pem()).unwrap();
        assert!(load(&settings(path, key_path)).unwrap().is_some());
    }

    #[test]
    fn without_files_there_is_no_encryption() {
        let none = TlsSettings { certificate_file: None, private_key_file: None };
        assert!(load(&none).unwrap().is_none());
    }
}
