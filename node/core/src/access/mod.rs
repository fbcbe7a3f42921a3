//! Who may do what: keys, the roles they carry, the databases they reach.
//!
//! ```text
//! presented key ─► KeyRing::authenticate ─► Grant ─► Grant::may(role, database) ─► Allow | Deny(reason)
//! ```
//!
//! What stays true:
//! * Only digests of keys are held. Nothing here prints a key or a digest through `Debug`.
//! * A presented key is compared with *every* configured key, in constant time and without leaving early, so
//!   that neither the position of a key nor the length of a matching prefix can be measured.
//! * Whoever is asked about a grant answers with a reason that the caller may see: it names the database and
//!   the role, never another key.
//!
//! What it does not do: count requests, read settings files, or know about HTTP.

pub mod api_key;
pub mod grant;
pub mod key_ring;
pub mod replication_key;
pub mod role;
