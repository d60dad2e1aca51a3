//! Commands for owners, delegators and voters, and the light client: everything that talks to a running node.

mod amount;
mod args;
mod client;
mod gov;
mod light;
mod proofs;
mod send;
mod stake;

pub(crate) use amount::Amount;
pub(crate) use args::{GovCommand, LightCommand, ReadArgs, SendArgs, SendCommand, StakeCommand};
pub(crate) use client::Client;
pub(crate) use gov::run as run_gov;
pub(crate) use light::run as run_light;
pub(crate) use send::{Intent, Sender, Shown, run as run_send, sign};
pub(crate) use stake::run as run_stake;
