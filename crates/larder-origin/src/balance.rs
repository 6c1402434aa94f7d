//! Chooses the order in which the origins of a [`Failover`](crate::Failover) get a request.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::Health;

/// How [`Failover`](crate::Failover) chooses among healthy origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// The first healthy origin; the others are standbys. Weights have no effect.
    #[default]
    First,
    /// Each healthy origin in turn, as often as its weight.
    RoundRobin,
    /// The healthy origin with the fewest responses in progress, divided by its weight. Responses
    /// of all users of the same [`Health`] count, until the end of their bodies.
    LeastConnections,
}

/// Largest weight of an origin; larger ones count as this.
const MAX_WEIGHT: u32 = 100;

/// The balance among origins.
#[derive(Debug)]
pub(crate) struct Balancer {
    balance: Balance,
    weights: Box<[u32]>,
    /// The turns of one round: each origin as often as its weight, spread evenly.
    round: Box<[usize]>,
    turn: AtomicUsize,
}

impl Balancer {
    /// Creates a balance among `count` origins. Those without a weight have 1.
    pub(crate) fn new(balance: Balance, count: usize, weights: &[u32]) -> Self {
        let weight = |index: usize| weights.get(index).map_or(1, |weight| (*weight).clamp(1, MAX_WEIGHT));
        let weights: Box<[u32]> = (0..count).map(weight).collect();
        Self { balance, round: round(&weights), weights, turn: AtomicUsize::new(0) }
    }

    /// Returns the order of the attempts as indexes of origins: healthy ones first, then unhealthy
    /// ones. Health is read once, so that a failure during the request does not change the order.
    pub(crate) fn order(&self, health: &Health) -> Vec<usize> {
        let count = self.weights.len();
        if count == 1 {
            return vec![0];
        }
        let mut order: Vec<usize> = match self.balance {
            Balance::First => (0..count).collect(),
            Balance::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let turns =
                    (0..self.round.len()).map(|step| self.round[turn.wrapping_add(step) % self.round.len()]);
                let mut order = Vec::with_capacity(count);
                for index in turns {
                    if !order.contains(&index) {
                        order.push(index);
                    }
                    if order.len() == count {
                        break;
                    }
                }
                order
            }
            Balance::LeastConnections => {
                let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
                let mut order: Vec<usize> = (0..count).map(|step| (first + step) % count).collect();
                // Equal loads stay in turn: the sort is stable. One more response is counted, so
                // that the weights matter among origins without load.
                order.sort_by_cached_key(|index| {
                    (health.in_progress(*index) as u64 + 1) * 1_000_000 / u64::from(self.weights[*index])
                });
                order
            }
        };
        order.sort_by_cached_key(|index| !health.is_healthy(*index));
        order
    }

    /// Counts a response in progress, if the balance depends on it.
    pub(crate) fn begin(&self, health: &Arc<Health>, index: usize) -> Option<InProgress> {
        let counts = self.balance == Balance::LeastConnections && self.weights.len() > 1;
        counts.then(|| InProgress::new(health, index))
    }
}

/// Returns the turns of one round: each origin as often as its weight, spread evenly. In each turn,
/// all origins gain their weight, and the one that has most gives up the sum.
fn round(weights: &[u32]) -> Box<[usize]> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: i64 = weights.iter().map(|weight| i64::from(weight / divisor)).sum();
    let mut gained = vec![0_i64; weights.len()];
    let turn = |_| {
        for (gained, weight) in gained.iter_mut().zip(weights) {
            *gained += i64::from(weight / divisor);
        }
        let most = gained.iter().copied().max().unwrap_or_default();
        let index = gained.iter().position(|gained| *gained == most).unwrap_or_default();
        gained[index] -= sum;
        index
    };
    (0..sum).map(turn).collect()
}

/// Returns the greatest common divisor.
fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// A response in progress. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct InProgress {
    health: Arc<Health>,
    index: usize,
}

impl InProgress {
    /// Counts one more response.
    fn new(health: &Arc<Health>, index: usize) -> Self {
        health.begin(index);
        Self { health: Arc::clone(health), index }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.health.end(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_spreads_the_turns_of_each_origin() {
        for (weights, expected) in [
            (&[1, 1, 1][..], &[0, 1, 2][..]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[10, 10], &[0, 1]),
            (&[100, 50], &[0, 1, 0]),
            (&[7], &[0]),
        ] {
            assert_eq!(&*round(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn each_order_names_each_origin_once() {
        let health = Health::new(["a", "b", "c"]);
        for balance in [Balance::First, Balance::RoundRobin, Balance::LeastConnections] {
            let balancer = Balancer::new(balance, 3, &[3, 0]);
            for _ in 0..7 {
                let mut order = balancer.order(&health);
                order.sort_unstable();
                assert_eq!(order, [0, 1, 2], "{balance:?}");
            }
        }
    }

    #[test]
    fn the_origin_with_the_least_load_is_first() {
        let health = Health::new(["a", "b"]);
        let balancer = Balancer::new(Balance::LeastConnections, 2, &[1, 3]);
        let mut counts = [0, 0];
        let mut responses = Vec::new();
        for _ in 0..8 {
            let first = balancer.order(&health)[0];
            counts[first] += 1;
            responses.extend(balancer.begin(&health, first));
        }
        assert_eq!(counts, [2, 6]);
        responses.clear();
        assert_eq!((health.in_progress(0), health.in_progress(1)), (0, 0));
    }
}
