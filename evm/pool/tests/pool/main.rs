//! The transaction pool as its users see it.

mod basics;
mod local;
mod queued;
mod scale;
mod support;
