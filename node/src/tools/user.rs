//! What users of the bridge do: look, deposit, withdraw, claim.

use super::args::{ClaimArgs, DepositArgs, StatusArgs, WithdrawArgs};
use super::root_wallet::{RootWallet, account};
use crate::home::Home;
use crate::wallet::{Client, Intent, ReadArgs, Sender, Shown};
use alloy_primitives::utils::{format_units, parse_units};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::{SolCall, SolEvent};
use bttc_bridge_types::NATIVE_COIN;
use bttc_genesis::BRIDGE_ADDRESS;
use bttc_modules::interfaces::IBridge;
use bttc_root_chains::contracts::{EvmGateway, PlainToken};
use bttc_root_chains::to_base58;
use eyre::{bail, eyre};
use jsonrpsee::rpc_params;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    root: Address,
    wrapped: Address,
    symbol: String,
    decimals: U64,
    mapped: bool,
    locked: U256,
    minted: U256,
    parked: U256,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    name: String,
    root_chain_id: U64,
    gateway: Address,
    deposit_nonce: U64,
    withdrawals: U64,
    paused: bool,
    tokens: Vec<Token>,
    #[serde(default)]
    watched: Value,
}

impl Chain {
    /// TRON is told by its ids; its accounts are shown in its way.
    fn shown(&self, address: Address) -> String {
        let id: u64 = self.root_chain_id.to();
        let tron = matches!(id, 728_126_428 | 0xcd86_90dc | 0x94a9_059e) || self.name == "tron";
        if tron { to_base58(address) } else { address.to_string() }
    }
}

fn chains(client: &Client) -> eyre::Result<Vec<Chain>> {
    client.ask("bttc_rootChains", rpc_params![])
}

/// Prints what may come from elsewhere without letting it steer the terminal.
fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}

fn units(amount: U256, token: &Token) -> String {
    format!("{} {}", format_units(amount, token.decimals.to::<u8>()).unwrap_or_default(), plain(&token.symbol))
}

fn parse(text: &str, token: &Token) -> eyre::Result<U256> {
    let wrong =
        || eyre!("{text:?} is no amount: write {} like 12.5, or smallest units like 10wei", plain(&token.symbol));
    if let Some(smallest) = text.strip_suffix("wei") {
        return smallest.trim().parse().map_err(|_| wrong());
    }
    if text.contains(',') || text.starts_with('-') {
        return Err(wrong());
    }
    let parsed = parse_units(text, token.decimals.to::<u8>()).map_err(|_| wrong())?;
    Ok(parsed.get_absolute())
}

/// `bridge tokens`.
pub(crate) fn tokens(read: &ReadArgs) -> eyre::Result<()> {
    let client = Client::new(read.rpc.as_deref(), &Home::new(&read.home.home))?;
    if read.json {
        let all: Value = client.ask("bttc_rootChains", rpc_params![])?;
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for chain in chains(&client)? {
        println!("{} (chain {}), gateway {}", plain(&chain.name), chain.root_chain_id, chain.shown(chain.gateway));
        for token in &chain.tokens {
            let root = if token.root == NATIVE_COIN { "its coin".to_owned() } else { chain.shown(token.root) };
            let mapped = if token.mapped { "" } else { "  (no further deposits)" };
            println!("  {:10} {}  root {root}{mapped}", plain(&token.symbol), token.wrapped);
            println!(
                "             locked {}, in circulation {}, parked {}",
                units(token.locked, token),
                units(token.minted, token),
                units(token.parked, token)
            );
        }
    }
    Ok(())
}

fn find_chain<'a>(chains: &'a [Chain], name: &str) -> eyre::Result<&'a Chain> {
    chains.iter().find(|chain| chain.name == name || chain.root_chain_id.to::<u64>().to_string() == name).ok_or_else(
        || {
            let names: Vec<String> = chains.iter().map(|chain| plain(&chain.name)).collect();
            eyre!("there is no root chain {name:?}: the bridge knows {}", names.join(", "))
        },
    )
}

/// `bridge status`.
pub(crate) fn status(args: &StatusArgs) -> eyre::Result<()> {
    let client = Client::new(args.read.rpc.as_deref(), &Home::new(&args.read.home.home))?;
    let all = chains(&client)?;
    if let (Some(name), Some(nonce)) = (&args.chain, args.deposit) {
        let chain = find_chain(&all, name)?;
        let found: Value =
            client.ask("bttc_depositStatus", rpc_params![chain.root_chain_id, chain.gateway, U64::from(nonce)])?;
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let state: Value = client.ask("bttc_bridgeState", rpc_params![])?;
    if args.read.json {
        let chains: Value = client.ask("bttc_rootChains", rpc_params![])?;
        println!("{}", serde_json::to_string_pretty(&json!({ "bridge": state, "rootChains": chains }))?);
        return Ok(());
    }
    let number = |name: &str| {
        state.get(name).and_then(|value| serde_json::from_value::<U64>(value.clone()).ok()).unwrap_or_default()
    };
    println!("set {} in force, next {}, {} checkpoints", number("setId"), number("nextSetId"), number("checkpoints"));
    if state.get("halted") == Some(&Value::Bool(true)) {
        println!("HALTED: more than a third of the power stands accused; governance decides");
    }
    for chain in all.iter().filter(|chain| args.chain.as_ref().is_none_or(|name| chain.name == *name)) {
        let seen: U64 = chain
            .watched
            .get("deposits")
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or(chain.deposit_nonce);
        println!(
            "{}: {} deposits applied, {} seen, {} withdrawals{}",
            plain(&chain.name),
            chain.deposit_nonce,
            seen,
            chain.withdrawals,
            if chain.paused { ", PAUSED" } else { "" }
        );
        if let Some(alarm) = chain.watched.get("alarm").and_then(Value::as_str) {
            println!("  ALARM: {}", plain(alarm));
        }
    }
    Ok(())
}

/// A token by symbol or by one of its addresses.
fn find_token<'a>(chains: &'a [Chain], name: &str) -> eyre::Result<(&'a Chain, &'a Token)> {
    let address = account(name).ok();
    let mut found =
        chains.iter().flat_map(|chain| chain.tokens.iter().map(move |token| (chain, token))).filter(|(_, token)| {
            token.symbol == name || address.is_some_and(|address| address == token.wrapped || address == token.root)
        });
    let first = found.next().ok_or_else(|| eyre!("there is no token {name:?}: see `bttc bridge tokens`"))?;
    if found.next().is_some() {
        bail!("several tokens are {name:?}: name the address");
    }
    Ok(first)
}

/// `bridge withdraw`.
pub(crate) fn withdraw(args: &WithdrawArgs) -> eyre::Result<()> {
    let sender = Sender::new(&args.send)?;
    let all = chains(&sender.client)?;
    let (chain, token) = find_token(&all, &args.token)?;
    let (amount, fee) = (parse(&args.amount, token)?, parse(&args.fee, token)?);
    let recipient = account(&args.recipient)?;
    let words = format!(
        "Withdraw {} to {} on {}, {} of it for whoever brings the claim",
        units(amount, token),
        chain.shown(recipient),
        plain(&chain.name),
        units(fee, token)
    );
    let call = IBridge::withdrawCall { token: token.wrapped, amount, recipient, relayerFee: fee };
    let intent = Intent { words, to: BRIDGE_ADDRESS, value: U256::ZERO, input: call.abi_encode() };
    sender.send(&intent, |logs| {
        let found = logs.iter().find_map(|log| log.decode::<IBridge::Withdrawn>(BRIDGE_ADDRESS));
        found.map_or(Vec::new(), |event| {
            vec![("index", Shown::Text(event.index.to_string())), ("tree", Shown::Text(event.treeId.to_string()))]
        })
    })
}

/// Lets a gateway take so much of a token.
pub(super) async fn allow(wallet: &RootWallet, token: Address, spender: Address, amount: U256) -> eyre::Result<()> {
    let allowed = wallet.look(token, &PlainToken::allowanceCall { owner: wallet.address(), spender }).await?;
    if allowed >= amount {
        return Ok(());
    }
    if !allowed.is_zero() {
        // USDT wants an allowance to be zero before it is set.
        wallet.call(token, 0, &PlainToken::approveCall { spender, value: U256::ZERO }).await?;
    }
    wallet.call(token, 0, &PlainToken::approveCall { spender, value: amount }).await?;
    Ok(())
}

/// `bridge deposit`.
pub(crate) fn deposit(args: &DepositArgs) -> eyre::Result<()> {
    let client = Client::new(args.read.rpc.as_deref(), &Home::new(&args.read.home.home))?;
    let all = chains(&client)?;
    let key = super::root_key(&args.read.home.home, args.root.key_file.as_deref(), &args.root.password)?;
    super::runtime()?.block_on(async {
        let wallet = RootWallet::connect(&args.root.chain, key).await?;
        let of_chain: Vec<Chain> =
            all.iter().filter(|chain| chain.root_chain_id.to::<u64>() == wallet.chain_id).cloned().collect();
        let (chain, token) = find_token(&of_chain, &args.token)?;
        let amount = parse(&args.amount, token)?;
        let done = if token.root == NATIVE_COIN {
            let value = u64::try_from(amount).map_err(|_| eyre!("so much at once is not supported here"))?;
            wallet.call(chain.gateway, value, &EvmGateway::depositNativeCall { recipient: args.recipient }).await?
        } else {
            allow(&wallet, token.root, chain.gateway, amount).await?;
            let call = EvmGateway::depositCall { token: token.root, amount, recipient: args.recipient };
            wallet.call(chain.gateway, 0, &call).await?
        };
        eprintln!("deposited {} on {} in {}", units(amount, token), plain(&chain.name), done.hash);
        if args.read.json {
            println!("{}", json!({ "transaction": done.hash, "amount": amount, "token": token.wrapped }));
        }
        Ok(())
    })
}

/// `bridge claim`.
pub(crate) fn claim(args: &ClaimArgs) -> eyre::Result<()> {
    let client = Client::new(args.read.rpc.as_deref(), &Home::new(&args.read.home.home))?;
    let all = chains(&client)?;
    let key = super::root_key(&args.read.home.home, args.root.key_file.as_deref(), &args.root.password)?;
    super::runtime()?.block_on(async {
        let wallet = RootWallet::connect(&args.root.chain, key).await?;
        let chain = all
            .iter()
            .find(|chain| chain.root_chain_id.to::<u64>() == wallet.chain_id)
            .ok_or_else(|| eyre!("the ledger has no gateway on chain {}", wallet.chain_id))?;
        let claimed = EvmGateway::isClaimedCall { treeId: args.tree, index: args.index };
        if wallet.look(chain.gateway, &claimed).await? {
            let call = EvmGateway::releaseCall { treeId: args.tree, index: args.index };
            let done = wallet.call(chain.gateway, 0, &call).await?;
            eprintln!("released what was left, in {}", done.hash);
            return Ok(());
        }
        let progress = wallet.look(chain.gateway, &EvmGateway::progressCall {}).await?;
        let (tree, index) = (U64::from(args.tree), U64::from(args.index));
        let seq = U64::from(progress.lastSeq);
        let proof: Value =
            client.ask("bttc_withdrawalProof", rpc_params![chain.root_chain_id, chain.gateway, tree, index, seq])?;
        let siblings: Vec<B256> = serde_json::from_value(proof.get("proof").cloned().unwrap_or_default())
            .map_err(|_| eyre!("no checkpoint that the gateway knows holds this withdrawal yet"))?;
        let proof = <[B256; 32]>::try_from(siblings).map_err(|_| eyre!("the node's proof has not 32 siblings"))?;
        let event = find_withdrawal(&client, chain, args.tree, args.index)?;
        let call = EvmGateway::claimCall {
            treeId: args.tree,
            index: args.index,
            token: event.token,
            sender: event.sender,
            recipient: event.recipient,
            amount: event.amount,
            relayerFee: event.relayerFee,
            proof,
        };
        let done = wallet.call(chain.gateway, 0, &call).await?;
        eprintln!("claimed for {} in {}", chain.shown(event.recipient), done.hash);
        Ok(())
    })
}

/// The withdrawal's log, looked for from the head back.
fn find_withdrawal(client: &Client, chain: &Chain, tree: u32, index: u64) -> eyre::Result<IBridge::Withdrawn> {
    let head: U64 = client.ask("eth_blockNumber", rpc_params![])?;
    let word = |number: u64| B256::from(U256::from(number));
    let topics = json!([
        IBridge::Withdrawn::SIGNATURE_HASH,
        word(chain.root_chain_id.to()),
        chain.gateway.into_word(),
        word(index)
    ]);
    let mut to: u64 = head.to();
    loop {
        let from = to.saturating_sub(4_999);
        let filter = json!({
            "address": BRIDGE_ADDRESS, "topics": topics, "fromBlock": U64::from(from), "toBlock": U64::from(to),
        });
        let logs: Vec<Value> = client.ask("eth_getLogs", rpc_params![filter])?;
        for log in logs {
            let topics: Vec<B256> = serde_json::from_value(log.get("topics").cloned().unwrap_or_default())?;
            let data: Bytes = serde_json::from_value(log.get("data").cloned().unwrap_or_default())?;
            let data = alloy_primitives::LogData::new_unchecked(topics, data);
            let event = IBridge::Withdrawn::decode_log_data(&data)?;
            if event.treeId == tree {
                return Ok(event);
            }
        }
        if from == 0 {
            bail!("the node has no log of this withdrawal (any more)");
        }
        to = from - 1;
    }
}
