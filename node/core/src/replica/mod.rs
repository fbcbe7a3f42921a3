//! Leader and followers: who leads, what crosses the wire between them, and when a follower takes over.
//!
//! ```text
//!   dialler (follower)                         listener (leader)
//!     Hello ─────────────────────────────────►   who, which protocol, a nonce         `handshake`
//!     ◄───────────────────────────── Challenge   a nonce
//!     Proof ─────────────────────────────────►   knows the secret
//!     ◄─────────────────── Welcome, or Refused   knows it too; why not
//!     ◄──────── databases, stretches, heartbeat  every frame with its epoch           `frame`, `message`
//!     receipts, heartbeat ───────────────────►
//! ```
//!
//! Must stay true:
//! * An [`epoch::Epoch`] has one leader. Whoever meets a greater one gives its own up, before it writes again.
//! * A node votes once per epoch, and remembers that it has before it says so (`role`).
//! * Nothing that arrives is believed before its checksum was, and nothing is read before its length was (`frame`).

pub mod epoch;
pub mod frame;
pub mod freshness;
pub mod handshake;
pub mod message;
pub mod role;
pub mod seeking;
pub mod feed;
pub mod lane;
pub mod roll;
pub mod heritage;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
