//! TRON's addresses: `0x41` and the 20 bytes of Ethereum's, in base 58 with four bytes of checksum.

use crate::Error;
use alloy_primitives::{Address, hex};
use sha2::{Digest, Sha256};

/// The first byte of an address.
const PREFIX: u8 = 0x41;

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let twice = Sha256::digest(Sha256::digest(bytes));
    [twice[0], twice[1], twice[2], twice[3]]
}

/// The 21 bytes of an address.
pub fn tron_address(address: Address) -> [u8; 21] {
    let mut bytes = [PREFIX; 21];
    bytes[1..].copy_from_slice(address.as_slice());
    bytes
}

/// As people write it: `T…`.
pub fn to_base58(address: Address) -> String {
    let mut bytes = tron_address(address).to_vec();
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    bs58::encode(bytes).into_string()
}

/// Reads `T…`, `41…` in hex, or `0x…` of 20 bytes.
///
/// # Errors
/// [`Error::BadAccount`].
pub fn from_base58(text: &str) -> Result<Address, Error> {
    let bad = || Error::BadAccount(text.chars().take(64).collect());
    if let Ok(bytes) = hex::decode(text) {
        return match bytes.as_slice() {
            [PREFIX, rest @ ..] if rest.len() == 20 => Ok(Address::from_slice(rest)),
            all if all.len() == 20 => Ok(Address::from_slice(all)),
            _ => Err(bad()),
        };
    }
    let bytes = bs58::decode(text).into_vec().map_err(|_| bad())?;
    let (body, sum) = bytes.split_at_checked(21).ok_or_else(bad)?;
    if body[0] != PREFIX || sum != checksum(body) {
        return Err(bad());
    }
    Ok(Address::from_slice(&body[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_tronweb_read_back() {
        let address = from_base58("TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC").unwrap();
        assert_eq!(hex::encode(tron_address(address)), "417e5f4552091a69125d5dfcb7b8c2659029395bdf");
        assert_eq!(to_base58(address), "TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC");
        assert_eq!(from_base58("417e5f4552091a69125d5dfcb7b8c2659029395bdf").unwrap(), address);
        for bad in ["TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HD", "", "T", "0x41", "TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2H"] {
            assert!(from_base58(bad).is_err(), "{bad}");
        }
    }
}
