//! What the router promises, with time as an input.

use super::*;
use std::hash::{BuildHasherDefault, DefaultHasher};

fn router(peers: u64) -> Router<BuildHasherDefault<DefaultHasher>> {
    configured(RouterConfig::default(), peers)
}

fn configured(config: RouterConfig, peers: u64) -> Router<BuildHasherDefault<DefaultHasher>> {
    let mut router = Router::new(config, BuildHasherDefault::default());
    for peer in 0..peers {
        router.add_peer(peer, PeerId::random(), false, 0);
    }
    router
}

#[test]
fn a_message_is_delivered_once_and_passed_on_to_those_who_lack_it() {
    let mut router = router(4);
    let Arrival::Deliver(number) = router.arrived(0, Lane::Votes, b"vote", 0) else { panic!() };
    assert_eq!(router.arrived(1, Lane::Votes, b"vote", 0), Arrival::Duplicate);
    assert_eq!(router.forward(number), [2, 3]);
    assert!(router.forward(number).is_empty());
    assert!(matches!(router.arrived(0, Lane::Evidence, b"vote", 0), Arrival::Deliver(_)), "lanes are apart");
}

#[test]
fn a_message_that_came_too_early_is_delivered_when_it_comes_again() {
    let mut router = router(2);
    let Arrival::Deliver(number) = router.arrived(0, Lane::Votes, b"vote", 0) else { panic!() };
    router.forget(number);
    assert_eq!(router.arrived(0, Lane::Votes, b"vote", 1), Arrival::Deliver(number));
}

#[test]
fn our_own_message_does_not_come_back() {
    let mut router = router(2);
    router.published(Lane::Votes, b"mine");
    assert_eq!(router.arrived(1, Lane::Votes, b"mine", 0), Arrival::Duplicate);
}

#[test]
fn quotas_are_per_peer_and_lane_and_refill() {
    let mut router = router(2);
    let message = |index: u32| index.to_be_bytes();
    let mut index = 0;
    while router.arrived(0, Lane::Evidence, &message(index), 0) != Arrival::OverQuota {
        index += 1;
    }
    assert_eq!(u64::from(index), Lane::Evidence.quota_messages() * 4);
    assert!(matches!(router.arrived(0, Lane::Votes, b"x", 0), Arrival::Deliver(_)));
    assert!(matches!(router.arrived(1, Lane::Evidence, b"x", 0), Arrival::Deliver(_)));
    assert!(matches!(router.arrived(0, Lane::Evidence, b"later", 1_000), Arrival::Deliver(_)));
}

#[test]
fn faults_lead_to_a_ban_that_expires() {
    let mut router = router(1);
    let id = PeerId::random();
    router.add_peer(7, id, false, 0);
    for _ in 0..3 {
        assert_eq!(router.rejected(7, 0), Consequence::Keep);
    }
    assert_eq!(router.rejected(7, 0), Consequence::Disconnect);
    assert!(router.is_banned(&id, 599_999));
    assert!(!router.is_banned(&id, 600_000));
    router.add_peer(8, PeerId::random(), true, 0);
    assert_eq!(router.protocol_fault(8, 0), Consequence::Disconnect, "nothing can be understood any more");
    for _ in 0..100 {
        assert_eq!(router.rejected(8, 0), Consequence::Keep, "a protected peer stays");
    }
    assert_eq!(router.bans.len(), 0, "protected peers are not banned");
}

#[test]
fn the_oldest_messages_are_forgotten() {
    let remembered = RouterConfig::default().remembered as u64;
    let mut router = router(2);
    for index in 0..=remembered {
        // Slow enough for the quota.
        let arrival = router.arrived(0, Lane::Votes, &index.to_be_bytes(), index);
        assert!(matches!(arrival, Arrival::Deliver(_)));
    }
    let last = remembered.to_be_bytes();
    assert_eq!(router.arrived(1, Lane::Votes, &last, remembered), Arrival::Duplicate);
    let first = 0u64.to_be_bytes();
    assert!(matches!(router.arrived(1, Lane::Votes, &first, remembered), Arrival::Deliver(_)));
}

#[test]
fn bans_are_bounded_and_old_ones_make_room() {
    let mut router = router(0);
    for index in 0..MAX_BANS as u64 + 5 {
        router.add_peer(index, PeerId::random(), false, 0);
        assert_eq!(router.protocol_fault(index, 0), Consequence::Disconnect, "it goes, whether banned or not");
    }
    assert_eq!(router.bans.len(), MAX_BANS);
    let id = PeerId::random();
    router.add_peer(1_000_000, id, false, 600_000);
    router.protocol_fault(1_000_000, 600_001);
    assert!(router.is_banned(&id, 600_002), "expired bans have made room");
}

#[test]
fn standing_survives_sessions() {
    let mut router = router(0);
    let id = PeerId::random();
    let peer = router.number_of(&id, 0);
    router.add_peer(peer, id, false, 0);
    let mut index = 0u32;
    while router.arrived(peer, Lane::Evidence, &index.to_be_bytes(), 0) != Arrival::OverQuota {
        index += 1;
    }
    for _ in 0..3 {
        assert_eq!(router.rejected(peer, 0), Consequence::Keep);
        router.remove_peer(peer);
        assert_eq!(router.number_of(&id, 0), peer, "one number for one identity");
        router.add_peer(peer, id, false, 0);
        assert_eq!(router.arrived(peer, Lane::Evidence, b"once more", 0), Arrival::OverQuota);
    }
    assert_eq!(router.score(peer, 0), -75);
    assert_eq!(router.rejected(peer, 0), Consequence::Disconnect);
    assert!(router.is_banned(&id, 1));
}

#[test]
fn what_is_judged_after_a_session_ended_counts() {
    let mut router = router(0);
    let id = PeerId::random();
    let peer = router.number_of(&id, 0);
    router.add_peer(peer, id, false, 0);
    router.remove_peer(peer);
    for _ in 0..4 {
        router.rejected(peer, 0);
    }
    assert!(router.is_banned(&id, 1));
}

#[test]
fn what_is_known_already_costs_no_quota_and_nobody_pays_for_passing_on() {
    let gossip = Lane::ALL.into_iter().filter(|lane| *lane != Lane::Control);
    for lane in gossip {
        let mut router = configured(RouterConfig { remembered: 1 << 18, ..RouterConfig::default() }, 2);
        let mut count = 0u64;
        while matches!(router.arrived(0, lane, &count.to_be_bytes(), 0), Arrival::Deliver(_)) {
            count += 1;
        }
        // The flood of one comes again by another, whose quota is whole afterwards.
        for index in 0..count {
            assert_eq!(router.arrived(1, lane, &index.to_be_bytes(), 0), Arrival::Duplicate);
        }
        assert!(matches!(router.arrived(1, lane, b"honest", 0), Arrival::Deliver(_)), "{}", lane.name());
        for _ in 0..1_000 {
            assert_eq!(router.arrived(0, lane, b"too much", 0), Arrival::OverQuota);
            assert_eq!(router.over_quota(0, lane, 0), Consequence::Keep);
        }
        assert_eq!((router.score(0, 0), router.score(1, 0)), (0, 0));
    }
}

#[test]
fn repeating_is_bounded_in_bytes_and_blames_nobody() {
    let mut router = router(1);
    let message = vec![7; Lane::Evidence.max_message()];
    let mut repeated = 0u64;
    while router.arrived(0, Lane::Evidence, &message, 0) != Arrival::OverQuota {
        repeated += 1;
    }
    let bound = Lane::Evidence.quota_bytes() * 16 / Lane::Evidence.max_message() as u64;
    assert_eq!(repeated, bound);
    assert_eq!(router.over_quota(0, Lane::Evidence, 0), Consequence::Keep);
}

#[test]
fn a_message_costs_something_though_there_be_nothing_in_it() {
    for lane in Lane::ALL {
        let mut router = router(1);
        let bound = lane.quota_bytes() * 16 / 256;
        let taken = (0..=bound).take_while(|_| router.arrived(0, lane, b"", 0) != Arrival::OverQuota).count() as u64;
        assert_eq!(taken, bound, "{}", lane.name());
        let later =
            (0..=bound).take_while(|_| router.arrived(0, lane, b"", 1_000) != Arrival::OverQuota).count() as u64;
        assert_eq!(later, bound / 4, "{}", lane.name());
    }
}

#[test]
fn what_a_peer_says_of_itself_is_its_own_act() {
    let mut router = router(1);
    let faults = (0..100).take_while(|_| router.over_quota(0, Lane::Control, 0) == Consequence::Keep).count();
    assert_eq!(faults, 49);
}

#[test]
fn streams_and_greetings_are_rare_for_each_identity() {
    let mut router = router(0);
    let id = PeerId::random();
    let peer = router.number_of(&id, 0);
    let opened = (0..100u64).filter(|index| router.may_open(peer, index * 10)).count();
    assert_eq!(opened, 3, "in a second");
    let greeted = (0..100u64).filter(|index| router.may_greet(peer, index * 10)).count();
    assert_eq!(greeted, 1);
    assert!(router.may_open(peer, 3_000) && router.may_greet(peer, 6_000));
    let mut faults = 0;
    while router.opened_too_often(peer, 0) == Consequence::Keep {
        faults += 1;
    }
    assert_eq!(faults, 49);
}

#[test]
fn faults_heal_with_time() {
    let mut router = router(1);
    for step in 0..20 {
        assert_eq!(router.rejected(0, step * 30_000), Consequence::Keep);
    }
}
