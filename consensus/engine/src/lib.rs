//! The BFT engine: decides one block a height, never two, and never signs twice.
//!
//! # The protocol
//!
//! Tendermint, from the Malachite core (a pure state machine that asks for effects). Around it this crate adds what
//! the core leaves open: signing behind two guards, a write-ahead log, timers, block parts, proposer-based time, the
//! wait between heights, evidence, and block sync.
//!
//! # Shape
//!
//! [`Engine`] takes an [`Input`] and the time and returns [`Output`]s. It owns no thread, no clock, no socket; disks are
//! behind [`LogDisk`] and [`Guard`]. The node's shell and the simulation drive the same code.
//!
//! # Rules that must not be broken
//!
//! 1. Everything that a message or a commit follows from is in the log and flushed before either is returned.
//! 2. A signature is recorded in the guard before it is made; the guard refuses a second one for a step.
//! 3. After a failed flush nothing is signed or published until a restart ([`Engine::signing`] says why).
//! 4. A decided block is never decided again: if its commit fails the node halts, and the next start replays the log,
//!    decides the same block and commits it.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod config;
mod context;
mod error;
mod guard;
mod machine;
mod message;
mod record;
mod sync;
mod wal;

pub use config::{EngineConfig, Timing};
pub use error::Error;
pub use guard::{FileGuard, Guard, LastSigned, MemoryGuard, Step, may_sign, parse_guard};
pub use machine::{
    BlockVerdict, Engine, Event, HeadInfo, Held, Input, Now, Output, PeerKey, Signing, StartInfo, Verdict, VerdictOn,
};
pub use message::{BlocksRequest, CertificateVote, CertifiedBlock, Message, RoundVotes, decode_blocks, encode_blocks};
pub use record::WalRecord;
pub use sync::SYNC_BATCH;
pub use wal::{FileLog, LogDisk, Wal, WalContent};
