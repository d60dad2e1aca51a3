//! Who is blamed how often: whoever is must be out of the way soon, by whatever connection it comes.

use std::collections::{HashMap, VecDeque};

/// How many times a node may blame one peer in [`WINDOW_US`]. Four are enough for a ban.
const MOST: usize = 8;

/// The time in which they are counted, microseconds: less than a ban of the simulation lasts.
const WINDOW_US: u64 = 1_000_000;

/// When nodes blamed peers that are not honest.
#[derive(Debug, Default)]
pub struct Standing {
    blames: HashMap<(usize, usize), VecDeque<u64>>,
}

impl Standing {
    /// A node blames a peer; what is wrong with that, if it has done so too often without a ban.
    pub fn blamed(&mut self, node: usize, peer: usize, time_us: u64) -> Option<String> {
        let times = self.blames.entry((node, peer)).or_default();
        times.push_back(time_us);
        while times.front().is_some_and(|first| first + WINDOW_US < time_us) {
            times.pop_front();
        }
        let count = times.len();
        (count > MOST).then(|| format!("node {node} has blamed peer {peer} {count} times in a second and keeps it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blames_count_by_peer_and_are_forgotten() {
        let mut standing = Standing::default();
        for index in 0..20 {
            assert_eq!(standing.blamed(0, 1, index * 200_000), None, "five a second");
            assert_eq!(standing.blamed(1, 0, index * 200_000), None);
        }
        for _ in 0..MOST {
            assert_eq!(standing.blamed(2, 3, 0), None);
        }
        assert!(standing.blamed(2, 3, 500_000).is_some());
    }
}
