//! The transaction pool as its users see it.

mod basics;
mod delegated;
mod local;
mod queued;
mod room;
mod scale;
mod support;
