//! From what somebody wants to a final transaction: try it, show it, ask, sign, send, wait.

use crate::cli::PasswordArgs;
use crate::commands::configured_password;
use crate::home::Home;
use crate::keys::{self, KeyRole};
use crate::wallet::amount::btt;
use crate::wallet::args::{SendArgs, SendCommand};
use crate::wallet::client::Client;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use bttc_executor::genesis_header;
use bttc_types::{SecretKey, Transaction};
use eyre::{bail, eyre};
use jsonrpsee::rpc_params;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long a transaction may take to become final before the command gives up waiting.
const PATIENCE: Duration = Duration::from_secs(120);

/// Gas beyond the estimate; what is not used is not paid.
const GAS_MARGIN: u64 = 100_000;

/// Something that a command tells of its outcome.
pub(crate) enum Shown {
    /// Words, or a number.
    Text(String),
    /// Wei: in BTT for people, in hex in JSON.
    Coins(U256),
}

/// What somebody wants.
pub(crate) struct Intent {
    /// In words, for the person who is asked.
    pub(crate) words: String,
    /// The module, or who gets the coins.
    pub(crate) to: Address,
    /// Coins that go with it, wei.
    pub(crate) value: U256,
    /// The call, empty for coins alone.
    pub(crate) input: Vec<u8>,
}

/// A log of a receipt, as far as it is needed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReceiptLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

impl ReceiptLog {
    /// As the interfaces decode it.
    pub(crate) fn decode<E: alloy_sol_types::SolEvent>(&self, emitter: Address) -> Option<E> {
        if self.address != emitter {
            return None;
        }
        let log = alloy_primitives::LogData::new(self.topics.clone(), self.data.clone())?;
        E::decode_log_data(&log).ok()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    block_number: U64,
    status: U64,
    gas_used: U64,
    effective_gas_price: U256,
    logs: Vec<ReceiptLog>,
}

/// Who sends, and to which node.
pub(crate) struct Sender<'a> {
    args: &'a SendArgs,
    pub(crate) client: Client,
    key: SecretKey,
    chain_id: u64,
    /// The password that was given, for the home's other keys: a pipe can be read once.
    password: String,
}

impl<'a> Sender<'a> {
    /// Opens the key.
    ///
    /// # Errors
    /// When there is none, or the node is of another chain than the home.
    pub(crate) fn new(args: &'a SendArgs) -> eyre::Result<Self> {
        let home = Home::new(&args.read.home.home);
        let client = Client::new(args.read.rpc.as_deref(), &home)?;
        let chain_id = check_network(&client, &home, args.chain_id)?;
        check_head(&client)?;
        let configured = if args.key_file.is_none() { configured_password(&home)? } else { String::new() };
        let password = keys::password(&args.password, &configured, false)?;
        let secret = match &args.key_file {
            Some(path) => keys::load_file(path, &password)?,
            None => {
                let role = match KeyRole::parse(&args.from)? {
                    role @ (KeyRole::Owner | KeyRole::Reporting) => role,
                    other => bail!("the {} key does not send transactions: use owner or reporting", other.name()),
                };
                if !role.path(&home).exists() {
                    bail!("{} does not exist: name a key with --key-file", role.path(&home).display());
                }
                keys::load(&home, role, &password)?
            }
        };
        Ok(Self { args, client, key: SecretKey::from_bytes(&secret)?, chain_id, password })
    }

    /// The password of the home's keys: the one that was given, unless that opened a key from elsewhere.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn home_password(&self) -> eyre::Result<String> {
        if self.args.key_file.is_none() {
            return Ok(self.password.clone());
        }
        let home = Home::new(&self.args.read.home.home);
        keys::password(&PasswordArgs::default(), &configured_password(&home)?, false)
    }

    /// Address of the key.
    pub(crate) fn address(&self) -> Address {
        self.key.address()
    }

    /// Does it, and prints what came of it; `describe` adds words and JSON fields from the logs.
    ///
    /// # Errors
    /// With the module's own reason when it would fail.
    pub(crate) fn send(
        &self,
        intent: &Intent,
        describe: impl Fn(&[ReceiptLog]) -> Vec<(&'static str, Shown)>,
    ) -> eyre::Result<()> {
        let call = json!({
            "from": self.address(),
            "to": intent.to,
            "value": intent.value,
            "input": Bytes::from(intent.input.clone()),
        });
        let result: Bytes = self.client.ask("eth_call", rpc_params![&call, "pending"])?;
        let gas: U64 = self.client.ask("eth_estimateGas", rpc_params![&call])?;
        // What the estimate saw may have changed when the transaction is executed: an entry more may be mature by then.
        let gas_limit = (gas.to::<u64>().saturating_mul(5) / 4).saturating_add(GAS_MARGIN);
        let (max_fee, tip) = self.fees()?;
        let cost = U256::from(max_fee).saturating_mul(U256::from(gas_limit));
        let balance: U256 = self.client.ask("eth_getBalance", rpc_params![self.address(), "latest"])?;
        if balance < intent.value.saturating_add(cost) {
            bail!(
                "{} has {}, and up to {} is needed",
                self.address(),
                btt(balance),
                btt(intent.value.saturating_add(cost))
            );
        }
        let most = self.args.max_fee.wei()?;
        if cost > most {
            bail!("by what the node says the fee could be {}, more than --max-fee {}", btt(cost), btt(most));
        }
        let chain_id = self.chain_id;
        let nonce: U64 = self.client.ask("eth_getTransactionCount", rpc_params![self.address(), "pending"])?;
        eprintln!("{}", intent.words);
        eprintln!("  from     {}", self.address());
        eprintln!("  value    {}", btt(intent.value));
        eprintln!("  fee      at most {} ({gas_limit} gas)", btt(cost));
        eprintln!("  chain    {chain_id}, nonce {nonce}");
        if self.args.dry_run {
            eprintln!("It would succeed. Nothing was sent.");
            self.print(&json!({
                "dryRun": true, "from": self.address(), "to": intent.to, "value": intent.value,
                "input": Bytes::from(intent.input.clone()), "gas": gas, "maxFeePerGas": U256::from(max_fee), "result": result,
            }))?;
            return Ok(());
        }
        self.confirm()?;
        let transaction = TxEip1559 {
            chain_id,
            nonce: nonce.to(),
            gas_limit,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(intent.to),
            value: intent.value,
            access_list: Default::default(),
            input: intent.input.clone().into(),
        };
        let encoded = Bytes::from(sign(transaction, &self.key).encoded_2718());
        let hash: B256 = self.client.ask("eth_sendRawTransaction", rpc_params![encoded])?;
        eprintln!("  sent     {hash}");
        let Some(receipt) = self.wait(hash)? else {
            self.print(&json!({ "transactionHash": hash, "status": "unknown" }))?;
            bail!("{hash} is not known to be final after {} s: look for it before you send again", PATIENCE.as_secs());
        };
        if receipt.status.is_zero() {
            let why = if receipt.gas_used.to::<u64>() >= gas_limit / 64 * 63 {
                "it ran out of gas"
            } else {
                "it failed there"
            };
            bail!("the transaction {hash} is in block {}, but {why}", receipt.block_number);
        }
        let fee = receipt.effective_gas_price.saturating_mul(U256::from(receipt.gas_used));
        eprintln!("Final in block {}, fee {}.", receipt.block_number, btt(fee));
        let mut shown = json!({
            "transactionHash": hash, "blockNumber": receipt.block_number, "gasUsed": receipt.gas_used, "fee": fee,
        });
        for (name, value) in describe(&receipt.logs) {
            let (text, value) = match value {
                Shown::Text(text) => (text.clone(), json!(text)),
                Shown::Coins(wei) => (btt(wei), json!(wei)),
            };
            eprintln!("  {name:8} {text}");
            if let Some(object) = shown.as_object_mut() {
                object.insert(name.to_owned(), value);
            }
        }
        self.print(&shown)
    }

    fn print(&self, value: &Value) -> eyre::Result<()> {
        if self.args.read.json {
            println!("{}", serde_json::to_string_pretty(value)?);
        }
        Ok(())
    }

    /// Fee cap and tip: a cap of twice the base fee outlasts some full blocks.
    fn fees(&self) -> eyre::Result<(u128, u128)> {
        let head: Value = self.client.ask("eth_getBlockByNumber", rpc_params!["latest", false])?;
        let base: U256 = serde_json::from_value(head.get("baseFeePerGas").cloned().unwrap_or_default())
            .map_err(|_| eyre!("the node's blocks have no base fee"))?;
        let tip: U256 = self.client.ask("eth_maxPriorityFeePerGas", rpc_params![])?;
        let cap = base.saturating_mul(U256::from(2)).saturating_add(tip);
        Ok((cap.saturating_to(), tip.saturating_to()))
    }

    fn confirm(&self) -> eyre::Result<()> {
        if self.args.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("nobody can be asked here: repeat with --yes to send it, or --dry-run to only try it");
        }
        eprint!("Send it? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing was sent");
        }
        Ok(())
    }

    /// Waits for the receipt; nothing when it did not come in time. A node that does not answer now may do so later, and the
    /// transaction is on its way.
    fn wait(&self, hash: B256) -> eyre::Result<Option<Receipt>> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let receipt = self.client.ask::<Option<Receipt>>("eth_getTransactionReceipt", rpc_params![hash]);
            if let Ok(Some(receipt)) = receipt {
                return Ok(Some(receipt));
            }
            let status = self.client.ask::<Value>("bttc_transactionStatus", rpc_params![hash]).unwrap_or_default();
            if status.get("status").and_then(Value::as_str) == Some("dropped") {
                bail!("the node dropped the transaction {hash}: {}", status.get("reason").cloned().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(None)
    }
}

/// Runs `send`.
///
/// # Errors
/// In words.
pub(crate) fn run(command: &SendCommand) -> eyre::Result<()> {
    let words = format!("Send {} to {}", btt(command.amount.wei()?), command.recipient);
    let intent = Intent { words, to: command.recipient, value: command.amount.wei()?, input: Vec::new() };
    Sender::new(&command.send)?.send(&intent, |_| Vec::new())
}

/// Signs a transaction.
pub(crate) fn sign(transaction: TxEip1559, key: &SecretKey) -> Transaction {
    let signature = key.sign(transaction.signature_hash());
    let (rs, v) = signature.as_bytes().split_at(64);
    let (r, s) = rs.split_at(32);
    let signature = alloy_primitives::Signature::new(
        U256::from_be_slice(r),
        U256::from_be_slice(s),
        v.first().is_some_and(|v| *v == 1),
    );
    transaction.into_signed(signature).into()
}

/// The chain id to sign for. It comes from the home's genesis file or the command line: a node could name another chain, and
/// the signature would be good there.
fn check_network(client: &Client, home: &Home, named: Option<u64>) -> eyre::Result<u64> {
    let theirs: U64 = client.ask("eth_chainId", rpc_params![])?;
    let ours = if home.genesis().exists() {
        let spec = crate::commands::read_spec(&home.genesis())?;
        let genesis = genesis_header(&spec)?.hash_slow();
        let status: Value = client.ask("bttc_status", rpc_params![])?;
        let other = status.get("genesisHash").and_then(Value::as_str).unwrap_or_default();
        if other.parse() != Ok(genesis) {
            bail!("the node's network has the genesis block {other}, the home directory's {genesis}");
        }
        spec.chain_id()
    } else {
        named.ok_or_else(|| eyre!("which network? name its --chain-id, or a --home with its genesis file"))?
    };
    if theirs.to::<u64>() != ours {
        bail!("the node is of the chain {theirs}, not of {ours}");
    }
    Ok(ours)
}

/// A node that is behind shows the state of long ago, and would judge by it.
fn check_head(client: &Client) -> eyre::Result<()> {
    let syncing: Value = client.ask("eth_syncing", rpc_params![])?;
    if syncing != Value::Bool(false) {
        bail!(
            "the node is behind the network and shows an old state: wait until it has caught up, or name another one"
        );
    }
    Ok(())
}
