//! The HTTP door: what every request passes before a handler sees it, and the one shape of every error.
//!
//! ```text
//! request ─► request_id ─► route ─► access (key, rate_limit, database) ─► extract (path, parameters, body) ─► handler
//!                ▲                                                                                              │
//!                └────────────────────── response, or error as problem+json ◄──────────────────────────────────┘
//! ```

pub mod access;
pub mod error;
pub mod extract;
pub mod parameters;
pub mod rate_limit;
pub mod request_id;
