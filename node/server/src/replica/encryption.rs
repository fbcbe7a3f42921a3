//! Encryption between leader and followers: `Replication:Tls`, TLS 1.2 and 1.3 by rustls.
//!
//! A node shows its certificate where it listens, and checks the other's where it dials, against the certificates of
//! `CaPath`: those that sign, or the other's own. Files are read once, at start.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::replica::wire::{BoxedReader, BoxedWriter};
use crate::settings::sections::ReplicationTlsSettings;
use crate::tls::{TlsError, certificates, private_key};

/// How connections are encrypted; not at all by default.
#[derive(Clone, Default)]
pub struct Encryption {
    acceptor: Option<TlsAcceptor>,
    connector: Option<TlsConnector>,
    is_wanted: bool,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encryption").field("is_wanted", &self.is_wanted).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Reads the files that the settings name.
    pub fn load(settings: &ReplicationTlsSettings) -> Result<Self, TlsError> {
        if !settings.enabled {
            return Ok(Self::default());
        }
        let provider = Arc::new(ring::default_provider());
        let acceptor = match (&settings.certificate_path, &settings.key_path) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("Replication:Tls:CertificatePath", certificate)?;
                let key = private_key("Replication:Tls:KeyPath", key)?;
                let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_safe_default_protocol_versions()
                    .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
                    .map_err(TlsError::Unusable)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
            _ => None,
        };
        let connector = match &settings.ca_path {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("Replication:Tls:CaPath", path)? {
                    roots.add(certificate).map_err(TlsError::Unusable)?;
                }
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(TlsError::Unusable)?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some(TlsConnector::from(Arc::new(config)))
            }
            None => None,
        };
        Ok(Self { acceptor, connector, is_wanted: true })
    }

    /// Takes a connection that somebody has made.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<(BoxedReader, BoxedWriter)> {
        match (&self.acceptor, self.is_wanted) {
            (Some(acceptor), _) => {
                let (reader, writer) = tokio::io::split(acceptor.accept(stream).await?);
                Ok((Box::new(reader), Box::new(writer)))
            }
            (None, true) => Err(std::io::Error::other(
                "this node has no certificate to show: set Replication:Tls:CertificatePath and KeyPath",
            )),
            (None, false) => Ok(plain(stream)),
        }
    }

    /// Secures a connection that this node has made to `endpoint`.
    pub async fn connect(&self, endpoint: &str, stream: TcpStream) -> std::io::Result<(BoxedReader, BoxedWriter)> {
        match (&self.connector, self.is_wanted) {
            (Some(connector), _) => {
                let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
                let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
                let (reader, writer) = tokio::io::split(connector.connect(name, stream).await?);
                Ok((Box::new(reader), Box::new(writer)))
            }
            (None, true) => Err(std::io::Error::other(
                "there is nothing to check the other's certificate by: set Replication:Tls:CaPath",
            )),
            (None, false) => Ok(plain(stream)),
        }
    }
}

fn plain(stream: TcpStream) -> (BoxedReader, BoxedWriter) {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}
