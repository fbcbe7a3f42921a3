//! Who calls as a peer: a node that shows the cluster's secret, and with which sync is not switched off here.
//!
//! Must stay true: the secret is looked at first, so that nobody without it learns which peers there are. A node that says
//! its name in the body alone, as those of another make do, is looked up by the handlers that read it.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use holdfast_core::id::NodeName;

use crate::databases::Asker;
use crate::http::access::{AccessControl, MayReplicate};
use crate::http::error::ApiError;
use crate::http::refusal::unavailable;
use crate::sync::Sync;
use crate::sync::peer_client::{CALLER_HEADER, PEER_INACTIVE};

/// A node of this cluster that is not switched off here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromPeer;

impl<S> FromRequestParts<S> for FromPeer
where
    S: Send + std::marker::Sync,
    Arc<AccessControl>: FromRef<S>,
    Arc<Sync>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        MayReplicate::from_request_parts(parts, state).await?;
        let said = parts.headers.get(CALLER_HEADER).and_then(|name| name.to_str().ok());
        if let Some(caller) = said.and_then(|name| NodeName::parse(name).ok()) {
            not_switched_off(&Arc::<Sync>::from_ref(state), &caller)?;
        }
        Ok(Self)
    }
}

/// A peer that brings something, while this node takes in what peers bring: a follower takes it from its leader alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BringingPeer;

impl<S> FromRequestParts<S> for BringingPeer
where
    S: Send + std::marker::Sync,
    Arc<AccessControl>: FromRef<S>,
    Arc<Sync>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        FromPeer::from_request_parts(parts, state).await?;
        takes_from_peers(&Arc::<Sync>::from_ref(state))?;
        Ok(Self)
    }
}

/// Refuses what peers bring while the gate is closed to them.
pub(crate) fn takes_from_peers(sync: &Sync) -> Result<(), ApiError> {
    sync.databases().at_gate(Asker::Peer).map_err(unavailable)
}

/// Refuses a node with which sync is switched off. Its operations wait in its log until it is switched on again.
pub(crate) fn not_switched_off(sync: &Sync, caller: &NodeName) -> Result<(), ApiError> {
    if !sync.is_switched_off(caller) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        PEER_INACTIVE,
        format!(
            "Sync with '{caller}' is switched off on this node, '{}', both ways (IsActive is false). 'holdfast peers add \
             {caller} URL' here switches it on.",
            sync.origin().node
        ),
    ))
}
