//! Nodes as their users have them: real processes on real disks, killed, cut off, filled up and led astray.
//!
//! Each test is a story and has nodes of its own on free ports. `HOLDFAST_WORLDS=50` makes the long run of those that
//! depend on chance.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Processes are stopped and held by signals, which Windows does not have.
#![cfg(unix)]

mod ledger;

mod cache;
mod cache_status;
mod chain;
mod conflicts;
mod consistency;
mod counted_once;
mod contact;
mod damage;
mod dropped_database;
mod falsified;
mod full_disk;
mod json_only;
mod keys;
mod kills;
mod namesakes;
mod one_way;
mod proof;
mod passive;
mod poison;
mod queries;
mod replicas;
mod replicas_abroad;
mod replicas_away;
mod replicas_bootstrap;
mod replicas_cache;
mod replicas_cli;
mod replicas_groups;
mod replicas_kept;
mod replicas_reads;
mod replicas_sync;
mod replicas_strangers;
mod replicas_voters;
mod returns;
mod selection;
mod silence;
mod start_and_stop;
mod tombstones;
mod troubled_peers;
mod two_nodes;
