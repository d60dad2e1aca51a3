//! `bttc light verify`: what a node says, checked from the genesis block on.

use crate::home::Home;
use crate::wallet::args::LightCommand;
use crate::wallet::client::Client;
use alloy_consensus::Header;
use alloy_primitives::{Bytes, U64};
use alloy_rlp::Decodable;
use bttc_executor::genesis_header;
use bttc_genesis::{LightClient, SetChange};
use bttc_types::Certificate;
use eyre::{Context, bail, eyre};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};

/// Runs a `light` command.
///
/// # Errors
/// When what the node gives does not prove itself.
pub(crate) fn run(command: LightCommand) -> eyre::Result<()> {
    let LightCommand::Verify { genesis, read } = command;
    let home = Home::new(&read.home.home);
    let spec = crate::commands::read_spec(&genesis.unwrap_or_else(|| home.genesis()))?;
    let genesis_hash = genesis_header(&spec)?.hash_slow();
    let client = Client::new(read.rpc.as_deref(), &home)?;
    let mut light = LightClient::new(&spec, genesis_hash)?;

    let height: U64 = client.ask("eth_blockNumber", rpc_params![])?;
    if height.is_zero() {
        bail!("the node is at the genesis block: there is nothing to verify yet");
    }
    let height: u64 = height.to();
    while light.epoch() < light.epoch_of(height) {
        let epoch = light.epoch() + 1;
        light.apply(&set_change(&client, epoch)?)?;
        if epoch.is_multiple_of(1_000) {
            eprintln!("epoch {epoch} of {}", light.epoch_of(height));
        }
    }
    let header = header(&client, height)?;
    if header.number != height {
        bail!("asked for block {height}, the node shows block {}", header.number);
    }
    light.verify_header(&header, &certificate(&client, height)?).map_err(|reason| eyre!("block {height}: {reason}"))?;

    let epoch = light.epoch_of(height);
    let set = light.set(epoch).ok_or_else(|| eyre!("the set of epoch {epoch} is not known"))?;
    if read.json {
        let shown = json!({
            "genesisHash": genesis_hash, "epoch": epoch, "height": height, "hash": header.hash_slow(),
            "stateRoot": header.state_root, "timestamp": header.timestamp, "validators": set.len(), "totalPower": set.total_power(),
        });
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("verified from genesis {genesis_hash} over {epoch} epochs");
    println!("block {height} {} is final", header.hash_slow());
    println!("state root {}", header.state_root);
    let age = (crate::clock::now().wall_ms / 1_000).saturating_sub(header.timestamp);
    println!("made {age} s ago by this machine's clock; if that is long, the node may hide what came later");
    println!("signed by the set of epoch {epoch}: {} validators, power {}", set.len(), set.total_power());
    Ok(())
}

fn set_change(client: &Client, epoch: u64) -> eyre::Result<SetChange> {
    let answer: Value = client.ask("bttc_setChange", rpc_params![U64::from(epoch)])?;
    if answer.is_null() {
        bail!("the node has no proof of the set of epoch {epoch}");
    }
    decode(&answer, "encoded").wrap_err_with(|| format!("the proof of the set of epoch {epoch}"))
}

fn certificate(client: &Client, height: u64) -> eyre::Result<Certificate> {
    let answer: Value = client.ask("bttc_certificate", rpc_params![U64::from(height)])?;
    decode(&answer, "encoded").wrap_err_with(|| format!("the certificate of block {height}"))
}

fn header(client: &Client, height: u64) -> eyre::Result<Header> {
    let answer: Value = client.ask("eth_getBlockByNumber", rpc_params![U64::from(height), false])?;
    // The block's own hash in the answer does not count: it is computed from the fields.
    serde_json::from_value(answer).wrap_err_with(|| format!("the header of block {height}"))
}

fn decode<T: Decodable>(answer: &Value, field: &str) -> eyre::Result<T> {
    let bytes: Bytes = serde_json::from_value(answer.get(field).cloned().unwrap_or_default())?;
    let mut rest = bytes.as_ref();
    let decoded = T::decode(&mut rest)?;
    if !rest.is_empty() {
        bail!("{} bytes follow it", rest.len());
    }
    Ok(decoded)
}
