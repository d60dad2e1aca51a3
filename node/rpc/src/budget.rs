//! What each client may ask for: a bucket of units that fills with time, and what a call of each method takes out of it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A bucket holds what comes in this many seconds.
const BURST_SECONDS: f64 = 10.0;

/// Clients that are told apart; beyond, new ones share a bucket.
const MAX_CLIENTS: usize = 65_536;

/// How often full buckets are looked for when there are too many.
const CLEANING_INTERVAL: Duration = Duration::from_secs(1);

/// Who asks: an IPv4 address, or the network of an IPv6 address, of which one subscriber has 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    V4(u32),
    V6(u64),
    /// All who came when there were too many.
    Others,
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// What a method takes: 1 is a look at one record, 10 a run of the EVM, more what reads or runs many blocks or transactions.
pub(crate) fn weight(method: &str) -> u32 {
    match method {
        "eth_call" | "eth_createAccessList" | "eth_getProof" | "eth_feeHistory" | "eth_getStorageValues" => 10,
        "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => 5,
        "eth_getBlockReceipts" | "eth_getTransactionReceiptsByBlock" => 5,
        "eth_estimateGas" | "eth_getLogs" | "eth_getFilterLogs" | "eth_newFilter" | "eth_subscribe"
        | "bttc_subscribe" => 20,
        "txpool_content" | "txpool_inspect" | "bttc_setChange" => 20,
        "debug_getRawReceipts" | "debug_getRawBlock" | "debug_storageRangeAt" | "debug_accountRange" => 20,
        "eth_simulateV1" | "debug_traceTransaction" | "debug_traceCall" | "trace_call" => 100,
        "trace_callMany" | "trace_filter" => 500,
        _ if method.starts_with("debug_trace") || method.starts_with("trace_") => 200,
        _ if method.starts_with("ots_search") => 200,
        "ots_traceTransaction" | "ots_getTransactionError" => 100,
        "ots_getApiLevel" => 1,
        _ if method.starts_with("ots_get") => 50,
        _ => 1,
    }
}

#[derive(Clone, Copy)]
struct Bucket {
    units: f64,
    filled: Instant,
}

/// The clients' buckets.
pub(crate) struct Budgets {
    /// Units a second.
    rate: f64,
    clients: Mutex<Clients>,
}

struct Clients {
    buckets: HashMap<Client, Bucket>,
    cleaned: Instant,
}

impl Budgets {
    /// Buckets that get so many units a second.
    pub(crate) fn new(rate: u32) -> Self {
        let clients = Clients { buckets: HashMap::new(), cleaned: Instant::now() };
        Self { rate: f64::from(rate), clients: Mutex::new(clients) }
    }

    /// A bucket has room for the dearest method, whatever the rate.
    fn capacity(&self) -> f64 {
        (self.rate * BURST_SECONDS).max(500.0)
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(bucket.filled).as_secs_f64();
        (bucket.units + seconds * self.rate).min(self.capacity())
    }

    /// Takes units of a client.
    ///
    /// # Errors
    /// Milliseconds until it has as many.
    pub(crate) fn take(&self, client: Client, units: u32, now: Instant) -> Result<(), u64> {
        let mut clients = self.clients.lock();
        let Clients { buckets, cleaned } = &mut *clients;
        let mut client = client;
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            if now.saturating_duration_since(*cleaned) >= CLEANING_INTERVAL {
                *cleaned = now;
                let full = self.capacity();
                buckets.retain(|_, bucket| self.filled(*bucket, now) < full);
            }
            if buckets.len() >= MAX_CLIENTS {
                client = Client::Others;
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket { units: self.capacity(), filled: now });
        let (has, wanted) = (self.filled(*bucket, now), f64::from(units));
        *bucket = Bucket { units: if has < wanted { has } else { has - wanted }, filled: now };
        if has < wanted { Err(((wanted - has) / self.rate * 1_000.0).ceil() as u64) } else { Ok(()) }
    }
}

impl Budgets {
    /// Takes more units of a client than it may have: what a call cost is known when it is done.
    pub(crate) fn charge(&self, client: Client, units: u32, now: Instant) {
        let mut clients = self.clients.lock();
        let client = if clients.buckets.contains_key(&client) { client } else { Client::Others };
        let Some(bucket) = clients.buckets.get_mut(&client) else { return };
        *bucket = Bucket { units: self.filled(*bucket, now) - f64::from(units), filled: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Client {
        Client::V4(number)
    }

    #[test]
    fn a_bucket_empties_fills_with_time_and_says_when_to_come_back() {
        let budgets = Budgets::new(100);
        let start = Instant::now();
        assert_eq!(budgets.take(client(1), 1_000, start), Ok(()));
        assert_eq!(budgets.take(client(1), 20, start), Err(200));
        assert_eq!(budgets.take(client(2), 20, start), Ok(()), "clients do not share");
        let later = start + Duration::from_millis(200);
        assert_eq!(budgets.take(client(1), 20, later), Ok(()));
        assert_eq!(budgets.take(client(1), 1, later), Err(10));
        // What is known afterwards is taken, too, beyond what there is.
        budgets.charge(client(2), 1_980, later);
        assert_eq!(budgets.take(client(2), 1, later), Err(10_010 - 200));
        // A long time does not give more than a bucket holds, and a clock that goes back takes nothing away.
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!(budgets.take(client(1), 1_000, much_later), Ok(()));
        assert_eq!(budgets.take(client(1), 1, start), Err(10));
    }

    #[test]
    fn too_many_clients_share_a_bucket_and_the_table_stays_bounded() {
        let budgets = Budgets::new(1);
        let start = Instant::now();
        for number in 0..MAX_CLIENTS as u32 {
            budgets.take(client(number), 500, start).unwrap();
        }
        assert_eq!(budgets.take(client(1 << 20), 500, start), Ok(()));
        assert!(budgets.take(client(1 << 21), 500, start).is_err(), "they share");
        budgets.charge(client(1 << 21), 100, start);
        assert_eq!(budgets.take(client(1 << 20), 1, start), Err(101_000), "what answers cost, too");
        assert!(budgets.clients.lock().buckets.len() <= MAX_CLIENTS + 1);
        // When the buckets are full again, they are forgotten.
        assert_eq!(budgets.take(client(1 << 22), 500, start + Duration::from_secs(600)), Ok(()));
        assert_eq!(budgets.clients.lock().buckets.len(), 1);
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_client() {
        let of = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
