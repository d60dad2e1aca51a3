//! Several endpoints of one chain, of which enough must say the same.

use crate::chain::{BlockRef, ChainKind, DepositLog, GatewayState, RootChain};
use crate::{Endpoint, EndpointAddress, Error, EvmClient, TronClient};
use alloy_primitives::{Address, B256};
use bttc_bridge_types::{GatewayId, accumulate};
use futures::future::join_all;
use std::time::Duration;

/// Blocks of the first query for logs.
const FIRST_CHUNK: u64 = 2_000;
/// Most blocks of a query.
const MAX_CHUNK: u64 = 50_000;
/// Most queries in one look, so that a look ends.
const QUERIES: usize = 16;

/// How a root chain is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// For messages.
    pub name: String,
    /// Its protocol.
    pub kind: ChainKind,
    /// The id that its endpoints must serve.
    pub chain_id: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointAddress>,
    /// How many must agree.
    pub quorum: usize,
    /// Blocks that must lie above a finalized one.
    pub extra_depth: u64,
    /// Budget of one request.
    pub timeout: Duration,
}

/// The endpoints of a chain.
#[derive(Debug)]
pub struct Quorum {
    config: QuorumConfig,
    chains: Vec<RootChain>,
    /// Blocks of a query, as the most modest endpoint takes them.
    chunk: u64,
}

/// How far a gateway's deposits have been read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// The last final block that was read.
    pub block: BlockRef,
    /// Deposits up to it.
    pub nonce: u64,
    /// Their running hash.
    pub acc: B256,
}

impl Quorum {
    /// Clients for all endpoints.
    ///
    /// # Errors
    /// [`Error::BadAddress`], or a quorum that cannot be reached.
    pub fn new(config: QuorumConfig) -> Result<Self, Error> {
        let mut chains = Vec::new();
        for address in &config.endpoints {
            let endpoint = Endpoint::new(address, config.timeout)?;
            chains.push(match config.kind {
                ChainKind::Evm => RootChain::Evm(EvmClient::new(endpoint, config.extra_depth)),
                ChainKind::Tron => RootChain::Tron(TronClient::new(endpoint)),
            });
        }
        if config.quorum == 0 || config.quorum > chains.len() {
            let reasons = format!("{} endpoints are configured", chains.len());
            return Err(Error::NoQuorum { alike: 0, needed: config.quorum, reasons });
        }
        Ok(Self { config, chains, chunk: FIRST_CHUNK })
    }

    /// Its settings.
    pub fn config(&self) -> &QuorumConfig {
        &self.config
    }

    /// The clients.
    pub fn chains(&self) -> &[RootChain] {
        &self.chains
    }

    fn too_few(&self, alike: usize, errors: &[Error]) -> Error {
        let mut reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        reasons.dedup();
        Error::NoQuorum { alike, needed: self.config.quorum, reasons: reasons.join("; ") }
    }

    /// Asks all endpoints for their chain's id. One that serves another chain is an alarm; silent ones are not.
    ///
    /// # Errors
    /// [`Error::WrongChain`] or [`Error::NoQuorum`].
    pub async fn identify(&self) -> Result<(), Error> {
        let answers = join_all(self.chains.iter().map(RootChain::chain_id)).await;
        let (mut right, mut errors) = (0, Vec::new());
        for (chain, answer) in self.chains.iter().zip(answers) {
            match answer {
                Ok(got) if got == self.config.chain_id => right += 1,
                Ok(got) => {
                    let endpoint = chain.name().to_owned();
                    return Err(Error::WrongChain { endpoint, expected: self.config.chain_id, got });
                }
                Err(error) => errors.push(error),
            }
        }
        if right >= self.config.quorum { Ok(()) } else { Err(self.too_few(right, &errors)) }
    }

    /// The highest block that enough endpoints call final, and enough of them by the same hash.
    ///
    /// # Errors
    /// [`Error::NoQuorum`] or [`Error::Disagree`].
    pub async fn finalized(&self) -> Result<BlockRef, Error> {
        let answers = join_all(self.chains.iter().map(RootChain::finalized)).await;
        let (mut heads, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(head) => heads.push(head),
                Err(error) => errors.push(error),
            }
        }
        heads.sort_by_key(|head| std::cmp::Reverse(head.height));
        let Some(head) = heads.get(self.config.quorum - 1) else {
            return Err(self.too_few(heads.len(), &errors));
        };
        let hash = self.agreed(head.height, |chain| chain.block_hash(head.height)).await?;
        Ok(BlockRef { height: head.height, hash })
    }

    /// What enough endpoints answer alike. Two different answers are a disagreement whatever their number.
    async fn agreed<'a, T, F>(&'a self, height: u64, ask: impl Fn(&'a RootChain) -> F) -> Result<T, Error>
    where
        T: PartialEq,
        F: Future<Output = Result<T, Error>>,
    {
        let answers = join_all(self.chains.iter().map(ask)).await;
        let (mut agreed, mut alike, mut errors) = (None, 0, Vec::new());
        for answer in answers {
            match (answer, &agreed) {
                (Ok(answer), None) => {
                    agreed = Some(answer);
                    alike = 1;
                }
                (Ok(answer), Some(first)) if answer == *first => alike += 1,
                (Ok(_), Some(_)) => {
                    let what = format!("what is at block {height} of {}", self.config.name);
                    return Err(Error::Disagree { what });
                }
                (Err(error), _) => errors.push(error),
            }
        }
        match agreed {
            Some(answer) if alike >= self.config.quorum => Ok(answer),
            _ => match errors.iter().find(|error| matches!(error, Error::TooMuch { .. })) {
                Some(error) => Err(error.clone()),
                None => Err(self.too_few(alike, &errors)),
            },
        }
    }

    /// Where a gateway stands, by each endpoint that answers.
    async fn states(&self, gateway: Address) -> Result<Vec<GatewayState>, Error> {
        let answers = join_all(self.chains.iter().map(|chain| chain.gateway(gateway))).await;
        let (mut states, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(state) => states.push(state),
                Err(error) => errors.push(error),
            }
        }
        if states.len() >= self.config.quorum { Ok(states) } else { Err(self.too_few(states.len(), &errors)) }
    }

    /// Reads on: the deposits since `progress` in blocks that are final, checked against the running hash of the gateway by
    /// every endpoint. Gives them with how far was read and where the gateway stands; `progress` itself changes only when all
    /// is well.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_alarm`] tells which need a person.
    pub async fn read_deposits(
        &mut self,
        bridge: B256,
        at: GatewayId,
        progress: &mut Progress,
    ) -> Result<(Vec<DepositLog>, GatewayState), Error> {
        if progress.block.hash != B256::ZERO {
            let height = progress.block.height;
            let now = self.agreed(height, |chain| chain.block_hash(height)).await?;
            if now != progress.block.hash {
                return Err(Error::FinalityChanged { height, before: progress.block.hash, now });
            }
        }
        // The states first: what they count must be in the blocks that are read after them.
        let states = self.states(at.gateway).await?;
        let head = self.finalized().await?;
        let mut found = Vec::new();
        let mut next = progress.clone();
        let mut queries = 0;
        while next.block.height < head.height && queries < QUERIES {
            queries += 1;
            let from = next.block.height + 1;
            let to = head.height.min(from.saturating_add(self.chunk - 1));
            let answer = self.agreed(to, |chain| chain.deposits(at.gateway, from, to)).await;
            let mut logs = match answer {
                Ok(logs) => logs,
                Err(Error::TooMuch { .. }) if self.chunk > 1 => {
                    self.chunk = (self.chunk / 2).max(1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.chunk = (self.chunk.saturating_mul(5) / 4).clamp(1, MAX_CHUNK);
            logs.sort_by_key(|log| log.deposit.nonce);
            for log in logs {
                let nonce = next.nonce + 1;
                let acc = accumulate(next.acc, log.deposit.hash(bridge, at));
                if log.deposit.nonce != nonce || log.acc != acc {
                    let reason = format!("deposit {nonce} in block {} is missing or altered", log.block.height);
                    return Err(Error::Accumulator { gateway: at.gateway, reason });
                }
                (next.nonce, next.acc) = (nonce, acc);
                found.push(log);
            }
            let hash =
                if to == head.height { head.hash } else { self.agreed(to, |chain| chain.block_hash(to)).await? };
            next.block = BlockRef { height: to, hash };
        }
        let complete = next.block.height >= head.height;
        for state in &states {
            let acc = if state.deposits == next.nonce {
                Some(next.acc)
            } else if state.deposits == progress.nonce {
                Some(progress.acc)
            } else {
                found.iter().find(|log| log.deposit.nonce == state.deposits).map(|log| log.acc)
            };
            match acc {
                Some(acc) if acc != state.acc => {
                    let reason = format!("the running hash after deposit {} is another one", state.deposits);
                    return Err(Error::Accumulator { gateway: at.gateway, reason });
                }
                None if state.deposits > next.nonce && complete => {
                    let reason = format!("the gateway counts {} deposits, logs show {}", state.deposits, next.nonce);
                    return Err(Error::Accumulator { gateway: at.gateway, reason });
                }
                _ => {}
            }
        }
        // The least advanced state: what it says was done is done by all.
        let state = states.into_iter().min_by_key(|state| (state.deposits, state.commands, state.last_seq));
        let state = state.ok_or_else(|| self.too_few(0, &[]))?;
        *progress = next;
        Ok((found, state))
    }
}
