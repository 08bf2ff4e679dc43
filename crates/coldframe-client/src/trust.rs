//! Whose certificates are believed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::Why;

/// Authorities that may vouch for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or else of the system's store.
    #[default]
    System,
    /// Those of a PEM file alone, which a variable of the environment names.
    File { variable: &'static str, path: PathBuf },
}

impl Trust {
    /// The file that the variable names, or else the system's.
    pub fn from_variable(variable: &'static str, get: impl Fn(&str) -> Option<String>) -> Self {
        let path = get(variable).filter(|path| !path.is_empty());
        path.map_or(Self::System, |path| Self::File { variable, path: path.into() })
    }

    /// Reads the authorities: takes the disk's time.
    pub(crate) fn config(&self) -> Result<ClientConfig, Why> {
        let found = match self {
            Self::System => rustls_native_certs::load_native_certs(),
            Self::File { path, .. } => rustls_native_certs::load_certs_from_paths(Some(path), None),
        };
        let unread = |error: io::Error| Why::Roots { trust: self.to_string(), error };
        let mut roots = RootCertStore::empty();
        // The system's store may hold what this library can't use, beside what it can.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let error = found.errors.into_iter().next();
            let error = error.map_or_else(
                || io::Error::new(io::ErrorKind::InvalidData, "they hold no certificate"),
                io::Error::other,
            );
            return Err(unread(error));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Why::Tls)?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Where the authorities come from, as an operator would look for it.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match self {
            Self::File { variable, path } => write!(f, "{variable} ({})", path.display()),
            Self::System => match ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, set(name))) {
                [(name, Some(path)), _] | [_, (name, Some(path))] => write!(f, "{name} ({path})"),
                _ => f.write_str("the system's certificate store"),
            },
        }
    }
}
