//! What governance orders of the bridge, and what a genesis file begins it with.

use super::checkpoints;
use super::records::{Gateway, Token, bridge};
use super::{accusations, known, units};
use crate::interfaces::IGovernance;
use crate::numbers::{Checked, narrow};
use crate::staking::records::Member;
use crate::{Fault, Host, wrapped};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolValue;
use bttc_bridge_types::{Command, GatewayId, MAX_LOCKED, first_accumulator};
use bttc_genesis::{BTT_ADDRESS, ChainSpec, wrapped_address};

/// Gateways that there can be: each checkpoint names all of them.
pub const MAX_GATEWAYS: u64 = 64;
/// Tokens of one gateway.
pub const MAX_TOKENS: u64 = 256;

/// What a token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// On the root chain.
    pub root: Address,
    /// Name here.
    pub name: String,
    /// Symbol here.
    pub symbol: String,
    /// As there.
    pub decimals: u8,
    /// Smallest transfer.
    pub minimum: U256,
    /// What may cross in one window whatever is locked.
    pub floor: U256,
    /// It is TRON's BTT.
    pub native: bool,
}

/// An operation on the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add a gateway that was deployed with a set of the ledger.
    Register {
        /// Where.
        at: GatewayId,
        /// Name for people.
        name: String,
        /// The set.
        set_id: u64,
    },
    /// Take and release a token, here and there.
    Map(GatewayId, TokenTerms),
    /// Take no further deposits of a token.
    Unmap(GatewayId, Address),
    /// Change a token's limits, here and there.
    Limit(GatewayId, Address, U256, U256),
    /// Stop a gateway, here and there.
    Pause(GatewayId),
    /// Let it go on.
    Unpause(GatewayId),
    /// Run another implementation there.
    Upgrade(GatewayId, Address),
    /// Drop an accusation.
    Dismiss(u32),
    /// Carry all open accusations out although the bridge is halted, and let it go on.
    Resume,
}

/// Numbers of operations in proposals.
mod number {
    pub(super) const REGISTER: u8 = 1;
    pub(super) const MAP: u8 = 2;
    pub(super) const UNMAP: u8 = 3;
    pub(super) const LIMIT: u8 = 4;
    pub(super) const PAUSE: u8 = 5;
    pub(super) const UNPAUSE: u8 = 6;
    pub(super) const UPGRADE: u8 = 7;
    pub(super) const DISMISS: u8 = 8;
    pub(super) const RESUME: u8 = 9;
}

type MapArguments = (Address, String, String, u16, U256, U256, bool);

impl Operation {
    /// Reads a proposal's operation; nothing when it is none.
    pub fn decode(operation: &IGovernance::BridgeOperation) -> Option<Self> {
        let at = GatewayId { root_chain_id: operation.rootChainId, gateway: operation.gateway };
        let data = &operation.data;
        Some(match operation.kind {
            number::REGISTER => {
                let (name, set_id) = <(String, u64)>::abi_decode_params_validate(data).ok()?;
                Self::Register { at, name, set_id }
            }
            number::MAP => {
                let (root, name, symbol, decimals, minimum, floor, native) =
                    MapArguments::abi_decode_params_validate(data).ok()?;
                let decimals = u8::try_from(decimals).ok()?;
                Self::Map(at, TokenTerms { root, name, symbol, decimals, minimum, floor, native })
            }
            number::UNMAP => Self::Unmap(at, Address::abi_decode_validate(data).ok()?),
            number::LIMIT => {
                let (root, minimum, floor) = <(Address, U256, U256)>::abi_decode_params_validate(data).ok()?;
                Self::Limit(at, root, minimum, floor)
            }
            number::PAUSE if data.is_empty() => Self::Pause(at),
            number::UNPAUSE if data.is_empty() => Self::Unpause(at),
            number::UPGRADE => Self::Upgrade(at, Address::abi_decode_validate(data).ok()?),
            number::DISMISS => Self::Dismiss(u32::abi_decode_validate(data).ok()?),
            number::RESUME if data.is_empty() => Self::Resume,
            _ => return None,
        })
    }
}

/// Whether an operation loosens or redirects the bridge: more than two thirds of the power must agree, and it waits.
pub(crate) fn is_protected(host: &mut dyn Host, operation: &Operation) -> Result<bool, Fault> {
    Ok(match operation {
        Operation::Unmap(..) | Operation::Pause(_) => false,
        Operation::Limit(at, root, minimum, floor) => match known(host, *at) {
            Ok((_, gateway)) => {
                let token = gateway.tokens().entry(*root);
                *floor > U256::from(token.floor().get(host)?) || *minimum < U256::from(token.minimum().get(host)?)
            }
            Err(Fault::Revert(_)) => true,
            Err(fault) => return Err(fault),
        },
        _ => true,
    })
}

/// Why an operation cannot be carried out, if so. Asked when proposed and when carried out.
pub(crate) fn obstacle(host: &mut dyn Host, operation: &Operation) -> Result<Option<String>, Fault> {
    let at = match operation {
        Operation::Register { at, name, set_id } => return register_obstacle(host, *at, name, *set_id),
        Operation::Dismiss(id) => {
            let open = accusations::is_accused(host, *id)?;
            return Ok((!open).then(|| format!("validator {id} does not stand accused")));
        }
        Operation::Resume => {
            let halted = bridge().halted().get(host)?;
            return Ok((!halted).then(|| "the bridge is not halted".to_owned()));
        }
        Operation::Map(at, _)
        | Operation::Unmap(at, _)
        | Operation::Limit(at, ..)
        | Operation::Pause(at)
        | Operation::Unpause(at)
        | Operation::Upgrade(at, _) => *at,
    };
    let gateway = match known(host, at) {
        Ok((_, gateway)) => gateway,
        Err(Fault::Revert(_)) => return Ok(Some(format!("there is no gateway {at}"))),
        Err(fault) => return Err(fault),
    };
    match operation {
        Operation::Map(_, terms) => map_obstacle(host, at, &gateway, terms),
        Operation::Unmap(_, root) | Operation::Limit(_, root, ..) => {
            if !gateway.tokens().entry(*root).mapped().get(host)? {
                return Ok(Some(format!("{root} is not mapped")));
            }
            match operation {
                Operation::Limit(_, _, minimum, floor) => Ok(limits_obstacle(*minimum, *floor)),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

fn limits_obstacle(minimum: U256, floor: U256) -> Option<String> {
    (minimum.is_zero() || minimum > MAX_LOCKED || floor > MAX_LOCKED)
        .then(|| "limits must be below 2^112 and the minimum not zero".to_owned())
}

fn register_obstacle(host: &mut dyn Host, at: GatewayId, name: &str, set_id: u64) -> Result<Option<String>, Fault> {
    if at.gateway == Address::ZERO || at.root_chain_id == 0 || at.root_chain_id > u64::from(u32::MAX) {
        return Ok(Some("no proper chain and contract".into()));
    }
    if !(1..=32).contains(&name.len()) {
        return Ok(Some("a name has 1 to 32 bytes".into()));
    }
    if bridge().places().entry(at.key()).get(host)? != 0 {
        return Ok(Some(format!("{at} is registered already")));
    }
    if bridge().gateways().len(host)? >= MAX_GATEWAYS {
        return Ok(Some(format!("there are {MAX_GATEWAYS} gateways already")));
    }
    if bridge().sets().entry(set_id).members().len(host)? == 0 {
        return Ok(Some(format!("bridge set {set_id} is not known")));
    }
    Ok(None)
}

fn map_obstacle(
    host: &mut dyn Host,
    at: GatewayId,
    gateway: &Gateway,
    terms: &TokenTerms,
) -> Result<Option<String>, Fault> {
    if terms.root == Address::ZERO || gateway.tokens().entry(terms.root).mapped().get(host)? {
        return Ok(Some(format!("{} is mapped already, or zero", terms.root)));
    }
    if !(1..=64).contains(&terms.name.len()) || !(1..=32).contains(&terms.symbol.len()) {
        return Ok(Some("a name has 1 to 64 bytes, a symbol 1 to 32".into()));
    }
    if gateway.token_list().len(host)? >= MAX_TOKENS {
        return Ok(Some(format!("the gateway has {MAX_TOKENS} tokens already")));
    }
    let native = bridge().native_place().get(host)?;
    if terms.native && native != 0 && bridge().places().entry(at.key()).get(host)? != native {
        return Ok(Some("another gateway holds TRON's BTT".into()));
    }
    let here = wrapped_address(at.root_chain_id, terms.root);
    if !terms.native && !wrapped::exists(host, here)? && !host.is_vacant(here)? {
        return Ok(Some(format!("the account {here} is in use")));
    }
    Ok(limits_obstacle(terms.minimum, terms.floor))
}

/// Carries an operation out; false when it cannot be.
pub(crate) fn execute(host: &mut dyn Host, operation: &Operation) -> Result<bool, Fault> {
    if obstacle(host, operation)?.is_some() {
        return Ok(false);
    }
    match operation {
        Operation::Register { at, name, set_id } => register(host, *at, name, *set_id)?,
        Operation::Map(at, terms) => {
            let (place, gateway) = known(host, *at)?;
            map(host, *at, place, &gateway, terms)?;
        }
        Operation::Unmap(at, root) => {
            let (_, gateway) = known(host, *at)?;
            gateway.tokens().entry(*root).mapped().set(host, false)?;
            command(host, &gateway, &Command::UnmapToken { token: *root })?;
        }
        Operation::Limit(at, root, minimum, floor) => {
            let (_, gateway) = known(host, *at)?;
            set_limits(host, &gateway.tokens().entry(*root), *minimum, *floor)?;
            command(host, &gateway, &Command::SetLimit { token: *root, minimum: *minimum, floor: *floor })?;
        }
        Operation::Pause(at) => {
            let (_, gateway) = known(host, *at)?;
            gateway.paused().set(host, true)?;
            command(host, &gateway, &Command::Pause)?;
        }
        Operation::Unpause(at) => {
            let (_, gateway) = known(host, *at)?;
            gateway.paused().set(host, false)?;
            command(host, &gateway, &Command::Unpause)?;
        }
        Operation::Upgrade(at, implementation) => {
            let (_, gateway) = known(host, *at)?;
            command(host, &gateway, &Command::Upgrade { implementation: *implementation })?;
        }
        Operation::Dismiss(id) => {
            accusations::dismiss(host, *id)?;
        }
        Operation::Resume => {
            for id in bridge().accused().values(host)? {
                accusations::punish(host, id)?;
            }
            bridge().halted().set(host, false)?;
        }
    }
    Ok(true)
}

/// Queues a command, which members sign and a relayer carries to the gateway.
fn command(host: &mut dyn Host, gateway: &Gateway, command: &Command) -> Result<(), Fault> {
    let nonce = gateway.command_count().get(host)?.plus(1)?;
    gateway.command_count().set(host, nonce)?;
    let record = gateway.commands().entry(nonce);
    record.kind().set(host, command.kind())?;
    record.payload().set(host, &command.payload())
}

fn register(host: &mut dyn Host, at: GatewayId, name: &str, set_id: u64) -> Result<(), Fault> {
    let place: u32 = narrow(bridge().gateways().len(host)?)?;
    let gateway = bridge().gateways().push(host)?;
    gateway.gateway().set(host, at.gateway)?;
    gateway.root_chain_id().set(host, at.root_chain_id)?;
    gateway.name().set(host, name.as_bytes())?;
    gateway.tree_id().set(host, 1)?;
    let acc = first_accumulator(host.env().bridge_id, at);
    gateway.deposit_acc().set(host, acc)?;
    bridge().places().entry(at.key()).set(host, place.plus(1)?)?;
    let latest = bridge().set_id().get(host)?;
    if place == 0 && set_id != latest {
        // Until now sets followed each other without a word. The one that the gateway knows hands over to the latest.
        bridge().set_id().set(host, set_id)?;
        bridge().next_set_id().set(host, latest)?;
        bridge().unsaid().set(host, true)?;
    }
    Ok(())
}

fn map(host: &mut dyn Host, at: GatewayId, place: u32, gateway: &Gateway, terms: &TokenTerms) -> Result<(), Fault> {
    let token = gateway.tokens().entry(terms.root);
    let new = token.wrapped().get(host)? == Address::ZERO;
    let here = if terms.native { BTT_ADDRESS } else { wrapped_address(at.root_chain_id, terms.root) };
    if terms.native {
        bridge().native_place().set(host, place.plus(1)?)?;
        wrapped::set_native_root(host, terms.root)?;
    } else {
        wrapped::register(host, here, at.root_chain_id, place, terms)?;
    }
    if new {
        gateway.token_list().append(host, terms.root)?;
        token.wrapped().set(host, here)?;
    }
    token.mapped().set(host, true)?;
    set_limits(host, &token, terms.minimum, terms.floor)?;
    let (minimum, floor) = (terms.minimum, terms.floor);
    command(host, gateway, &Command::MapToken { token: terms.root, minimum, floor })
}

fn set_limits(host: &mut dyn Host, token: &Token, minimum: U256, floor: U256) -> Result<(), Fault> {
    token.minimum().set(host, units(minimum)?)?;
    token.floor().set(host, units(floor)?)
}

/// The bridge of a genesis file.
pub(crate) fn initialize(host: &mut dyn Host, spec: &ChainSpec) -> Result<(), Fault> {
    bridge().reserve().set(host, spec.bttc.supply.reserve)?;
    let section = &spec.bttc.bridge;
    let members: Vec<Member> = (1u32..)
        .zip(&spec.bttc.validators)
        .filter_map(|(id, entry)| entry.bridge.map(|key| Member { key, id, power: entry.power }))
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    checkpoints::store(host, 1, members)?;
    bridge().set_id().set(host, 1)?;
    let now = host.env().time_ms;
    bridge().set_taken_ms().set(host, now)?;
    bridge().sets().entry(1).since_ms().set(host, now)?;
    for entry in &section.gateways {
        let at = GatewayId { root_chain_id: entry.root_chain_id, gateway: entry.gateway };
        register(host, at, &entry.name, 1)?;
        let (place, gateway) = known(host, at)?;
        for token in &entry.tokens {
            let terms = TokenTerms {
                root: token.root,
                name: token.name.clone(),
                symbol: token.symbol.clone(),
                decimals: token.decimals,
                minimum: token.minimum,
                floor: token.floor,
                native: token.native,
            };
            map(host, at, place, &gateway, &terms)?;
            if token.native {
                // What circulates from the beginning was locked there before.
                let locked = units(spec.bttc.supply.tron_locked)?;
                let record = gateway.tokens().entry(token.root);
                record.locked().set(host, locked)?;
                record.minted().set(host, locked)?;
            }
        }
    }
    Ok(())
}
