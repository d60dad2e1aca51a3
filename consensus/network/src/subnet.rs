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

    /// A number that is no other subnet's, and below 2^56.
    pub(crate) fn number(self) -> u64 {
        self.0.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
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

/// How often something may be done for a subnet, and for all of them together: identities cost nothing, addresses do. What
/// has no subnet, such as a name, is of one subnet.
///
/// Whoever has many subnets can use up what all have together. So there is a reserve, from which a subnet has no more than
/// one in the time in which its own bucket fills.
#[derive(Debug)]
pub(crate) struct SubnetRates {
    each: Rate,
    all: Rate,
    kept: Rate,
    subnets: LruCache<Option<Subnet>, Share>,
    total: Bucket,
    reserve: Bucket,
}

#[derive(Debug)]
struct Share {
    bucket: Bucket,
    /// When it last took of the reserve, milliseconds.
    reserved: Option<u64>,
}

impl SubnetRates {
    /// Full buckets. The reserve is a quarter of `all`, beside it.
    pub(crate) fn new(each: Rate, all: Rate, now_ms: u64) -> Self {
        let subnets = LruCache::new(NonZeroUsize::new(SUBNETS).unwrap_or(NonZeroUsize::MIN));
        let kept = Rate { interval_ms: all.interval_ms.saturating_mul(4), burst: (all.burst / 4).max(1) };
        let (total, reserve) = (Bucket::full(all, now_ms), Bucket::full(kept, now_ms));
        Self { each, all, kept, subnets, total, reserve }
    }

    /// Whether it may be done now; if so, it counts. What a subnet has too much of does not count in the total.
    pub(crate) fn take(&mut self, subnet: Option<Subnet>, now_ms: u64) -> bool {
        let each = self.each;
        let full = || Share { bucket: Bucket::full(each, now_ms), reserved: None };
        let share = self.subnets.get_or_insert_mut(subnet, full);
        if !share.bucket.take(each, now_ms) {
            return false;
        }
        if self.total.take(self.all, now_ms) {
            return true;
        }
        let rest = each.interval_ms.saturating_mul(each.burst);
        let due = share.reserved.is_none_or(|reserved| now_ms.saturating_sub(reserved) >= rest);
        let taken = due && self.reserve.take(self.kept, now_ms);
        if taken {
            share.reserved = Some(now_ms);
        }
        taken
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
        assert_eq!(
            (0..100).filter(|index| rates.take(subnet(*index), 0)).count(),
            8,
            "many: the rest of ten, and the reserve"
        );
        assert_eq!((0..100).filter(|_| rates.take(subnet(200), 1_000)).count(), 4, "it refills");
        assert_eq!((0..100).filter(|_| rates.take(None, 2_000)).count(), 4, "what has no subnet");
    }

    #[test]
    fn many_subnets_leave_a_part_to_others() {
        let mut rates = SubnetRates::new(Rate { interval_ms: 250, burst: 32 }, Rate { interval_ms: 10, burst: 256 }, 0);
        let subnet = |index: u64| Some(Subnet::of_ip([10, (index / 200) as u8, (index % 200) as u8, 1].into()));
        let mut taken = 0;
        for moment in 0..600 {
            let now = 100 * moment;
            taken += (0..10).flat_map(|_| 0..40).filter(|index| rates.take(subnet(*index), now)).count();
            assert!(rates.take(subnet(1_000 + moment), now), "a newcomer at {now} ms");
        }
        assert!(taken <= 256 + 60 * 100 + 40 * 8, "{taken}");
    }
}
