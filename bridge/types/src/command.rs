//! What governance tells a gateway.

use crate::domain::{BridgeId, GatewayId, digest, type_hash};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// What a gateway is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type")]
pub enum Command {
    /// Accept and release a token.
    MapToken {
        /// On the root chain.
        token: Address,
        /// Smallest deposit and withdrawal, smallest units.
        minimum: U256,
        /// What may leave in one window whatever is locked, smallest units.
        floor: U256,
    },
    /// Accept no further deposits of a token; claims go on.
    UnmapToken {
        /// On the root chain.
        token: Address,
    },
    /// Change a token's limits.
    SetLimit {
        /// On the root chain.
        token: Address,
        /// As in `MapToken`.
        minimum: U256,
        /// As in `MapToken`.
        floor: U256,
    },
    /// Stop deposits and claims until told otherwise.
    Pause,
    /// Go on.
    Unpause,
    /// Run another implementation after the waiting time; the zero address calls a waiting one off.
    Upgrade {
        /// Its contract.
        implementation: Address,
    },
}

impl Command {
    /// Its number.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::MapToken { .. } => 1,
            Self::UnmapToken { .. } => 2,
            Self::SetLimit { .. } => 3,
            Self::Pause => 4,
            Self::Unpause => 5,
            Self::Upgrade { .. } => 6,
        }
    }

    /// Its arguments, ABI-encoded.
    pub fn payload(&self) -> Bytes {
        match *self {
            Self::MapToken { token, minimum, floor } | Self::SetLimit { token, minimum, floor } => {
                (token, minimum, floor).abi_encode().into()
            }
            Self::UnmapToken { token } => token.abi_encode().into(),
            Self::Upgrade { implementation } => implementation.abi_encode().into(),
            Self::Pause | Self::Unpause => Bytes::new(),
        }
    }

    /// From number and arguments; nothing when they are no command.
    pub fn from_parts(kind: u8, payload: &[u8]) -> Option<Self> {
        let limits = || <(Address, U256, U256)>::abi_decode_validate(payload).ok();
        let address = || Address::abi_decode_validate(payload).ok();
        let command = match kind {
            1 => limits().map(|(token, minimum, floor)| Self::MapToken { token, minimum, floor }),
            2 => address().map(|token| Self::UnmapToken { token }),
            3 => limits().map(|(token, minimum, floor)| Self::SetLimit { token, minimum, floor }),
            4 if payload.is_empty() => Some(Self::Pause),
            5 if payload.is_empty() => Some(Self::Unpause),
            6 => address().map(|implementation| Self::Upgrade { implementation }),
            _ => None,
        };
        // Bytes behind the fields would give one command two encodings.
        command.filter(|command| command.payload().as_ref() == payload)
    }
}

/// A command for a gateway, as members sign it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayCommand {
    /// For whom.
    #[serde(flatten)]
    pub at: GatewayId,
    /// Its number at the gateway, from 1 without gaps.
    pub command_nonce: u64,
    /// What to do.
    pub command: Command,
}

impl GatewayCommand {
    /// What is signed.
    pub fn digest(&self, bridge: BridgeId) -> B256 {
        let name = type_hash(
            "GatewayCommand(uint64 rootChainId,address gateway,uint64 commandNonce,uint8 kind,bytes payload)",
        );
        let (kind, payload) = (U256::from(self.command.kind()), keccak256(self.command.payload()));
        let fields = (name, self.at.root_chain_id, self.at.gateway, self.command_nonce, kind, payload);
        digest(bridge, keccak256(fields.abi_encode()))
    }
}
