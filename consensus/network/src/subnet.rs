//! Which addresses are neighbours: an attacker has many in one subnet, honest peers seldom have.

use crate::standing::{Bucket, Rate};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use lru::LruCache;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// A neighbourhood: the first 24 bits of an IPv4 address, or the first 48 of an IPv6 address, which are what one customer
/// of a provider has at most; whoever has less than that, such as 64 bits, shares its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subnet([u8; 7]);

/// The IP address with which a multiaddress begins; an IPv4 address that is written as an IPv6 one is an IPv4 address.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

impl Subnet {
    /// The neighbourhood of an address; none when it begins with no IP address.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        ip_of(address).map(Self::of_ip)
    }

    /// The neighbourhood of an IP address.
    pub(crate) fn of_ip(ip: IpAddr) -> Self {
        let mut bytes = [0u8; 7];
        match ip {
            IpAddr::V4(ip) => {
                bytes[0] = 4;
                bytes[1..4].copy_from_slice(&ip.octets()[..3]);
            }
            IpAddr::V6(ip) => {
                bytes[0] = 6;
                bytes[1..].copy_from_slice(&ip.octets()[..6]);
            }
        }
        Self(bytes)
    }
}

/// Subnets whose rates are kept at once; the total holds whoever is forgotten.
const SUBNETS: usize = 4_096;

/// How often something may be done for a subnet, and for all of them together: identities cost nothing, addresses do.
#[derive(Debug)]
pub(crate) struct SubnetRates {
    each: Rate,
    all: Rate,
    subnets: LruCache<Subnet, Bucket>,
    total: Bucket,
}

impl SubnetRates {
    /// Full buckets.
    pub(crate) fn new(each: Rate, all: Rate, now_ms: u64) -> Self {
        let subnets = LruCache::new(NonZeroUsize::new(SUBNETS).unwrap_or(NonZeroUsize::MIN));
        Self { each, all, subnets, total: Bucket::full(all, now_ms) }
    }

    /// Whether it may be done now; if so, it counts. What a subnet has too much of does not count in the total.
    pub(crate) fn take(&mut self, subnet: Option<Subnet>, now_ms: u64) -> bool {
        if let Some(subnet) = subnet {
            let each = self.each;
            if !self.subnets.get_or_insert_mut(subnet, || Bucket::full(each, now_ms)).take(each, now_ms) {
                return false;
            }
        }
        self.total.take(self.all, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Subnet, SubnetRates};
    use crate::standing::Rate;

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

    #[test]
    fn a_subnet_has_its_rate_and_all_of_them_have_one() {
        let (each, all) = (Rate { interval_ms: 1_000, burst: 4 }, Rate { interval_ms: 100, burst: 10 });
        let mut rates = SubnetRates::new(each, all, 0);
        let subnet = |index: u8| Some(Subnet::of_ip([10, 0, index, 1].into()));
        assert_eq!((0..100).filter(|_| rates.take(subnet(0), 0)).count(), 4, "one subnet");
        assert_eq!((0..100).filter(|index| rates.take(subnet(*index), 0)).count(), 6, "many subnets: the rest of ten");
        assert_eq!((0..100).filter(|_| rates.take(subnet(200), 1_000)).count(), 4, "it refills");
        assert_eq!((0..100).filter(|_| rates.take(None, 2_000)).count(), 10);
    }
}
