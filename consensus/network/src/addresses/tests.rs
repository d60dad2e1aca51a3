//! The book: shares, forgetting, dialling, telling, and who is believed.

use super::shares::{MAX_FROM_SUBNET, MAX_FROM_TELLER, MAX_IN_SUBNET, MAX_NAMES, MAX_NAMES_FROM_TELLER};
use super::*;

fn teller(octet: u8) -> Teller {
    Teller { id: PeerId::random(), subnet: Some(Subnet::of_ip([192, 168, octet, 1].into())) }
}

/// A made-up peer at an address without its identity.
fn made_up(text: &str) -> (PeerId, Vec<u8>) {
    let id = PeerId::random();
    let address: Multiaddr = format!("{text}/p2p/{id}").parse().unwrap();
    (id, address.to_vec())
}

fn learn(book: &mut AddressBook, text: &str, teller: Teller) -> Option<PeerId> {
    let (id, bytes) = made_up(text);
    book.learn(&bytes, teller, &PeerId::random(), Instant::now());
    book.entries.contains_key(&id).then_some(id)
}

/// A session with a peer begins, which we dialled at the address that is known.
fn reached(book: &mut AddressBook, id: &PeerId, public: bool) {
    let route = book.entries[id].address.clone();
    book.met(id, public, Some(&route));
}

#[test]
fn a_teller_a_subnet_and_names_have_their_share() {
    let mut book = AddressBook::new();
    let liar = teller(0);
    let count = |book: &mut AddressBook, teller: Teller, text: &dyn Fn(u32) -> String| {
        (0..300).filter(|index| learn(book, &text(*index), teller).is_some()).count()
    };
    let anywhere = |index: u32| format!("/ip4/11.{}.{}.1/tcp/1", index / 250, index % 250);
    assert_eq!(count(&mut book, liar, &anywhere), MAX_FROM_TELLER, "of one teller");
    for _ in 0..20 {
        count(&mut book, Teller { id: PeerId::random(), ..liar }, &anywhere);
    }
    assert_eq!(book.entries.len(), MAX_FROM_SUBNET, "of many tellers in one subnet");
    let mut book = AddressBook::new();
    for octet in 0..10 {
        count(&mut book, teller(octet), &|index| format!("/ip4/10.0.0.{}/tcp/1", index % 250));
    }
    assert_eq!(book.entries.len(), MAX_IN_SUBNET, "in one subnet");
    let name = |index: u32| format!("/dns4/n{index}.example/tcp/1");
    assert_eq!(count(&mut book, teller(20), &name), MAX_NAMES_FROM_TELLER, "names of one teller");
    for octet in 21..100 {
        count(&mut book, teller(octet), &name);
    }
    assert_eq!(book.shares.names, MAX_NAMES);
    assert!(learn(&mut book, "/ip4/12.0.0.1/tcp/1", teller(200)).is_some(), "there is room for others");
}

#[test]
fn a_full_book_forgets_what_never_answered_and_keeps_what_did() {
    let mut book = AddressBook::new();
    let mut ids = Vec::new();
    for index in 0..MAX_ADDRESSES as u32 {
        let text = format!("/ip4/13.{}.{}.1/tcp/1", index / 250, index % 250);
        let from = Teller { id: PeerId::random(), subnet: Some(Subnet::of_ip([20, 0, (index / 100) as u8, 1].into())) };
        ids.push(learn(&mut book, &text, from).unwrap());
    }
    assert_eq!(learn(&mut book, "/ip4/14.0.0.1/tcp/1", teller(1)), None, "nothing is known to be dead");
    for id in &ids[..10] {
        reached(&mut book, id, true);
    }
    for id in &ids[..20] {
        book.failed(id, Instant::now());
    }
    for index in 0..10 {
        assert!(learn(&mut book, &format!("/ip4/14.0.{index}.1/tcp/1"), teller(1)).is_some());
    }
    assert_eq!(learn(&mut book, "/ip4/14.0.99.1/tcp/1", teller(1)), None);
    assert!(ids[..10].iter().all(|id| book.entries.contains_key(id)), "those that have answered are kept");
    assert!(ids[10..20].iter().all(|id| !book.entries.contains_key(id)));
    for _ in 0..MAX_FAILURES {
        book.failed(&ids[30], Instant::now());
    }
    assert!(!book.entries.contains_key(&ids[30]), "what never answers is forgotten");
    assert_eq!(book.entries.len(), book.shares.told);
}

#[test]
fn persistent_peers_are_always_dialled_and_strangers_few_at_a_time() {
    let mut book = AddressBook::new();
    let now = Instant::now();
    let own = PeerId::random();
    book.add_persistent(own, "/ip4/10.0.0.1/tcp/1".parse().unwrap(), now);
    for octet in 0..20 {
        learn(&mut book, &format!("/ip4/15.0.{octet}.1/tcp/1"), teller(octet)).unwrap();
    }
    let later = Instant::now();
    let due = book.due(8, |_| false, later);
    assert_eq!(due.len(), 9);
    assert_eq!(due[0].0, own);
    assert!(book.due(0, |_| false, later).is_empty(), "it was dialled this moment");
    let due = book.due(0, |_| false, later + Duration::from_secs(60));
    assert_eq!(due.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [own]);
    for _ in 0..100 {
        book.failed(&own, Instant::now());
    }
    assert!(book.entries.contains_key(&own));
}

#[test]
fn an_address_is_told_when_its_peer_has_said_that_it_is_no_validator() {
    let mut book = AddressBook::new();
    let now = Instant::now();
    let own = PeerId::random();
    book.add_persistent(own, "/ip4/10.0.0.1/tcp/1".parse().unwrap(), now);
    let stranger = learn(&mut book, "/ip4/15.0.0.1/tcp/1", teller(0)).unwrap();
    assert!(book.to_tell(|_| false).is_empty());
    book.met(&own, false, None);
    assert!(book.to_tell(|_| false).is_empty(), "a validator");
    reached(&mut book, &stranger, true);
    assert_eq!(book.to_tell(|_| false).len(), 1);
    assert!(book.to_tell(|id| *id == stranger).is_empty());
    book.met(&own, true, None);
    assert_eq!(book.to_tell(|_| false).len(), 2);
}

/// Somebody at an address.
fn at(text: &str, id: PeerId) -> Multiaddr {
    format!("{text}/p2p/{id}").parse().unwrap()
}

const LIE: &str = "/ip4/66.0.0.1/tcp/1";
const TRUTH: &str = "/ip4/15.0.0.1/tcp/1";
const OTHER: &str = "/ip4/15.0.9.1/tcp/1";

fn tell(book: &mut AddressBook, text: &str, id: PeerId, teller: Teller, now: Instant) {
    book.learn(&at(text, id).to_vec(), teller, &PeerId::random(), now);
}

/// What is told of a peer, and where it is dialled.
fn believed(book: &mut AddressBook, id: PeerId, now: Instant) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    book.lost(&id, now);
    let due = book.due(100, |other| *other != id, now + FIRST_PAUSE);
    (book.to_tell(|other| *other != id), due.into_iter().map(|(_, address)| address).collect())
}

#[test]
fn what_somebody_says_of_itself_replaces_what_others_said() {
    let (mut book, now, id) = (AddressBook::new(), Instant::now(), PeerId::random());
    tell(&mut book, LIE, id, teller(1), now);
    tell(&mut book, TRUTH, id, Teller { id, ..teller(2) }, now);
    book.met(&id, true, None);
    let truth = vec![at(TRUTH, id)];
    assert_eq!(believed(&mut book, id, now), (truth.clone(), truth.clone()));
    tell(&mut book, LIE, id, teller(1), now);
    assert_eq!(believed(&mut book, id, now), (truth.clone(), truth), "and is not replaced by it");
    assert_eq!(book.shares.told, 1);
    tell(&mut book, OTHER, id, Teller { id, ..teller(2) }, now);
    book.met(&id, true, None);
    let moved = vec![at(OTHER, id)];
    assert_eq!(believed(&mut book, id, now), (moved.clone(), moved), "it has moved");
}

#[test]
fn a_session_says_nothing_of_an_address_that_it_does_not_use() {
    let (mut book, now, id) = (AddressBook::new(), Instant::now(), PeerId::random());
    tell(&mut book, LIE, id, teller(1), now);
    // It came by itself and does not say where it is; and we went to it elsewhere.
    book.met(&id, true, None);
    book.met(&id, true, Some(&at(TRUTH, id)));
    assert_eq!(believed(&mut book, id, now).0, []);
    for _ in 0..MAX_FAILURES {
        book.failed(&id, now);
    }
    assert!(book.entries.is_empty(), "it is forgotten like any that never answered");
    tell(&mut book, TRUTH, id, teller(1), now);
    book.met(&id, true, Some(&at(TRUTH, id)));
    assert_eq!(believed(&mut book, id, now).0, [at(TRUTH, id)], "we went there");
    book.met(&id, false, None);
    assert_eq!(believed(&mut book, id, now).0, [], "it is a validator now");
}

#[test]
fn an_address_that_answers_us_is_better_than_one_that_its_peer_takes_for_its_own() {
    let (mut book, now, id) = (AddressBook::new(), Instant::now(), PeerId::random());
    let itself = Teller { id, ..teller(2) };
    tell(&mut book, TRUTH, id, teller(1), now);
    book.met(&id, true, Some(&at(TRUTH, id)));
    tell(&mut book, OTHER, id, itself, now);
    assert_eq!(believed(&mut book, id, now).1, [at(TRUTH, id)]);
    book.failed(&id, now);
    tell(&mut book, OTHER, id, itself, now);
    assert_eq!(believed(&mut book, id, now).1, [at(OTHER, id)]);
}

#[test]
fn what_has_not_answered_for_a_day_may_be_replaced() {
    let (mut book, now, id) = (AddressBook::new(), Instant::now(), PeerId::random());
    tell(&mut book, TRUTH, id, Teller { id, ..teller(2) }, now);
    book.met(&id, true, None);
    book.failed(&id, now);
    tell(&mut book, OTHER, id, teller(1), now + STALE / 2);
    assert_eq!(believed(&mut book, id, now).1, [at(TRUTH, id)]);
    tell(&mut book, OTHER, id, teller(1), now + STALE);
    let (told, due) = believed(&mut book, id, now + STALE);
    assert_eq!((told, due), (vec![], vec![at(OTHER, id)]), "dialled, and told when it is there");
}

#[test]
fn of_several_addresses_in_a_hello_the_first_is_taken_and_stays() {
    let (mut book, now, id) = (AddressBook::new(), Instant::now(), PeerId::random());
    let (itself, local) = (Teller { id, ..teller(2) }, PeerId::random());
    let bytes = |address: Multiaddr| Bytes::from(address.to_vec());
    let (truth, other) = (bytes(at(TRUTH, id)), bytes(at(OTHER, id)));
    book.introduce(&[bytes(at(LIE, PeerId::random())), truth.clone(), other.clone()], itself, &local, now);
    assert_eq!(book.entries.len(), 1, "nobody introduces others");
    assert_eq!(believed(&mut book, id, now).1, [at(TRUTH, id)]);
    book.introduce(&[other.clone(), truth], itself, &local, now);
    assert_eq!(believed(&mut book, id, now).1, [at(TRUTH, id)]);
    book.introduce(&[other], itself, &local, now);
    assert_eq!(believed(&mut book, id, now).1, [at(OTHER, id)]);
}
