//! `bttc dev --import-chain`: a chain under Ethereum's rules, imported and served. It grows no further.

use super::{context, tell, until_stopped};
use crate::clock;
use crate::config::Config;
use crate::node::{pool_of, store_options};
use alloy_rlp::Decodable;
use bttc_executor::Executor;
use bttc_executor::ethereum::EthereumBlock;
use bttc_genesis::ChainSpec;
use bttc_node::HeadAccounts;
use bttc_pool::Pool;
use bttc_rpc::{BlockCache, NodeApi, NodeStatus};
use bttc_state::{MemoryStore, StateStore};
use bttc_types::{RecoveredTransaction, Transaction};
use eyre::{Context, bail};
use futures::future::BoxFuture;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Largest block that is read.
const MAX_BLOCK_BYTES: usize = 64 << 20;

/// The chain as the RPC server sees it.
struct ImportedChain {
    executor: Arc<Executor>,
    pool: Arc<Pool>,
    pending: broadcast::Sender<Arc<RecoveredTransaction>>,
}

/// Reads a genesis file in geth's form and executes the blocks of a file that has one after the other in RLP, as `geth export` writes it.
pub(super) fn open(config: &Config, genesis: &Path, blocks: &Path) -> eyre::Result<Arc<Executor>> {
    let text = std::fs::read(genesis).wrap_err_with(|| format!("cannot read {}", genesis.display()))?;
    let text = String::from_utf8(text).wrap_err_with(|| format!("{} is not a genesis file", genesis.display()))?;
    let spec = ChainSpec::ethereum(&text).wrap_err_with(|| format!("{} is not a genesis file", genesis.display()))?;
    let store = StateStore::open(Arc::new(MemoryStore::new()), store_options(config))?;
    let executor = Arc::new(Executor::open(Arc::new(store), Arc::new(spec))?);
    let begin = executor.head_hash()?;
    let file = File::open(blocks).wrap_err_with(|| format!("cannot read {}", blocks.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut place = 0;
    while let Some(bytes) = next_item(&mut reader).wrap_err_with(|| format!("{} at byte {place}", blocks.display()))? {
        let block = EthereumBlock::decode(&mut bytes.as_slice());
        let block = block.wrap_err_with(|| format!("{} has no block at byte {place}", blocks.display()))?;
        place += bytes.len();
        // Exports begin with the genesis block.
        if block.header.number == 0 {
            if block.header.hash_slow() != begin {
                bail!("the chain begins with block {}, the genesis file gives {begin}", block.header.hash_slow());
            }
            continue;
        }
        if block.header.number == 1 && block.header.parent_hash != begin {
            bail!("the chain begins after block {}, the genesis file gives {begin}", block.header.parent_hash);
        }
        let number = block.header.number;
        executor.import(block).wrap_err_with(|| format!("block {number} cannot be imported"))?;
    }
    Ok(executor)
}

/// The bytes of the next list; none at the end of the file.
fn next_item(reader: &mut impl BufRead) -> eyre::Result<Option<Vec<u8>>> {
    let Some(first) = reader.fill_buf()?.first().copied() else { return Ok(None) };
    let mut bytes = vec![0; 1 + usize::from(first.saturating_sub(0xf7))];
    reader.read_exact(&mut bytes).wrap_err("the file is cut off")?;
    let length = match first {
        0xc0..=0xf7 => usize::from(first - 0xc0),
        0xf8..=0xff => bytes.iter().skip(1).fold(0usize, |sum, byte| sum.saturating_mul(256) + usize::from(*byte)),
        _ => bail!("not a list"),
    };
    if length > MAX_BLOCK_BYTES {
        bail!("{length} bytes of a block, at most {MAX_BLOCK_BYTES}");
    }
    let read = reader.take(length as u64).read_to_end(&mut bytes)?;
    if read < length {
        bail!("the file is cut off");
    }
    Ok(Some(bytes))
}

/// Serves the chain until the user ends it.
pub(super) async fn serve(config: &Config, executor: Arc<Executor>) -> eyre::Result<()> {
    let pool = Arc::new(pool_of(config, &executor)?);
    let (heads, pending) = (broadcast::channel(1).0, broadcast::channel(super::SUBSCRIBER_LAG).0);
    let (chain_id, height) = (executor.spec().chain_id(), executor.head_header()?.number);
    let node = ImportedChain { executor: Arc::clone(&executor), pool: Arc::clone(&pool), pending: pending.clone() };
    let context = context(config, executor, pool, Arc::new(node), Arc::<BlockCache>::default(), heads, pending)?;
    let server = bttc_rpc::start(context).await?;
    let rpc = server.address();
    tell(&format!("bttc dev: imported chain {chain_id} up to block {height}, RPC http://{rpc} and ws://{rpc}\n"));
    until_stopped(server, std::future::pending()).await
}

impl NodeApi for ImportedChain {
    /// Transactions wait for ever: nobody makes blocks.
    fn submit(&self, transaction: Transaction) -> Result<alloy_primitives::B256, String> {
        let recovered =
            RecoveredTransaction::recover(transaction).map_err(|_| "invalid sender: bad signature".to_owned())?;
        let transaction = Arc::new(recovered);
        let accounts = HeadAccounts(Arc::clone(&self.executor));
        let added = self.pool.add(Arc::clone(&transaction), true, clock::now().mono_ms, &accounts);
        let added = added.map_err(|error| error.to_string())?;
        for transaction in Some(transaction).filter(|_| added.pending).into_iter().chain(added.promoted) {
            let _ = self.pending.send(transaction);
        }
        Ok(added.hash)
    }

    fn next_timestamp(&self) -> Option<u64> {
        // The chain is of another time.
        Some(self.executor.head_header().ok()?.timestamp.saturating_add(1))
    }

    fn status(&self) -> NodeStatus {
        let height = self.executor.store().head().map_or(0, |head| head.height);
        NodeStatus { height: height + 1, signing: "does not sign".into(), ..NodeStatus::default() }
    }

    fn peers(&self) -> BoxFuture<'static, serde_json::Value> {
        Box::pin(async { serde_json::json!([]) })
    }
}
