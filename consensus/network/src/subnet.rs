//! Which addresses are neighbours: an attacker has many in one subnet, honest peers seldom have.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// A neighbourhood: the first 24 bits of an IPv4 address, or the first 48 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subnet([u8; 7]);

impl Subnet {
    /// The neighbourhood of an address; none when it begins with no IP address.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        let mut bytes = [0u8; 7];
        match address.iter().next()? {
            Protocol::Ip4(ip) => {
                bytes[0] = 4;
                bytes[1..4].copy_from_slice(&ip.octets()[..3]);
            }
            Protocol::Ip6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => {
                    bytes[0] = 4;
                    bytes[1..4].copy_from_slice(&ip.octets()[..3]);
                }
                None => {
                    bytes[0] = 6;
                    bytes[1..].copy_from_slice(&ip.octets()[..6]);
                }
            },
            _ => return None,
        }
        Some(Self(bytes))
    }
}

/// Addresses kept of peers that others told of, and of them in one subnet.
const MAX_ADDRESSES: usize = 1_000;
const MAX_SUBNET_ADDRESSES: usize = 32;

/// Whether a further address may be learnt beside those that are known.
pub(crate) fn has_room<'a>(known: impl ExactSizeIterator<Item = &'a Multiaddr>, address: &Multiaddr) -> bool {
    // First what costs nothing: a full book must not be searched for every address that a peer makes up.
    if known.len() >= MAX_ADDRESSES {
        return false;
    }
    let Some(subnet) = Subnet::of(address) else { return true };
    known.filter(|other| Subnet::of(other) == Some(subnet)).count() < MAX_SUBNET_ADDRESSES
}

#[cfg(test)]
mod tests {
    use super::{MAX_ADDRESSES, MAX_SUBNET_ADDRESSES, Subnet, has_room};
    use libp2p::Multiaddr;

    #[test]
    fn one_subnet_cannot_fill_the_address_book() {
        let mut known: Vec<Multiaddr> = Vec::new();
        let learn = |known: &mut Vec<Multiaddr>, text: String| {
            let address: Multiaddr = text.parse().unwrap();
            let room = has_room(known.iter(), &address);
            if room {
                known.push(address);
            }
            room
        };
        for host in 0..255 {
            learn(&mut known, format!("/ip4/10.0.0.{host}/tcp/1"));
        }
        assert_eq!(known.len(), MAX_SUBNET_ADDRESSES);
        assert!(learn(&mut known, "/ip4/10.0.1.1/tcp/1".into()));
        for subnet in 0..2_000 {
            learn(&mut known, format!("/ip4/11.{}.{}.1/tcp/1", subnet / 250, subnet % 250));
        }
        assert_eq!(known.len(), MAX_ADDRESSES);
        assert!(!learn(&mut known, "/ip4/12.0.0.1/tcp/1".into()));
    }

    #[test]
    fn neighbours_share_their_first_bits() {
        let of = |text: &str| Subnet::of(&text.parse().unwrap());
        assert_eq!(of("/ip4/10.1.2.3/tcp/1"), of("/ip4/10.1.2.250/udp/7/quic-v1"));
        assert_ne!(of("/ip4/10.1.2.3/tcp/1"), of("/ip4/10.1.3.3/tcp/1"));
        assert_eq!(of("/ip6/2001:db8:1::1/tcp/1"), of("/ip6/2001:db8:1:ffff::2/tcp/1"));
        assert_ne!(of("/ip6/2001:db8:1::1/tcp/1"), of("/ip6/2001:db8:2::1/tcp/1"));
        assert_eq!(of("/ip6/::ffff:10.1.2.3/tcp/1"), of("/ip4/10.1.2.9/tcp/1"));
        assert_eq!(of("/dns4/example.org/tcp/1"), None);
    }
}
