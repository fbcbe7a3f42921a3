//! Requests of the very program that the node runs in: they carry no key, and hold every right.
//!
//! What stays true: the mark is an extension of a request, made in this process. Nothing that is read from a connection
//! becomes an extension, so nobody outside can send it.

use std::sync::Arc;

use axum::http::request::Parts;

use super::{AccessControl, Caller};

/// Marks a request as the program's own.
#[derive(Debug, Clone)]
pub(crate) struct InProcess(Caller);

impl InProcess {
    /// Who made a request, if it was the program.
    pub(super) fn of(parts: &Parts) -> Option<Caller> {
        parts.extensions.get::<Self>().map(|Self(caller)| caller.clone())
    }
}

impl AccessControl {
    /// The mark for requests of this program: they have the rights of the root key. `None` where there is no such key.
    pub(crate) fn in_process(&self) -> Option<InProcess> {
        let keys = self.current.load();
        let root = keys.ring.grants().iter().find(|grant| grant.is_root())?;
        Some(InProcess(Caller { grant: Arc::clone(root) }))
    }
}
