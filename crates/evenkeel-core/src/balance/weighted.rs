//! Drawing an index at random, by weight, in constant time.
//!
//! # The idea
//! Vose's alias method cuts the weights into as many columns of equal height as there are members, each filled by at
//! most two of them. A draw throws one die for the column and one coin for which of its two.
//!
//! Everything is an integer, so the probabilities are exact: weight over total, whatever the weights. Equal weights
//! keep no table: the die alone decides.
//!
//! A draw is O(1), building O(n), memory 16 bytes a member.
//!
//! Source: M. Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE Transactions on
//! Software Engineering 17(9), 1991.

use super::Pick;
use crate::backend::{Member, Snapshot};

/// How often a draw that hit a tried backend is repeated before the rest is drawn from in O(n).
const REDRAWS: usize = 4;

/// The weights of one snapshot, prepared for drawing. Without a table, as by default, all weights count as equal.
#[derive(Debug, Default)]
pub(super) struct WeightedTable {
    columns: Box<[Column]>,
    height: u64,
}

/// One column of the table: below `threshold` it belongs to its own index, above to `alias`.
#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: u64,
    alias: u32,
}

/// Draws by weight from the candidates that are neither tried nor `except`, in O(n): exact, and needs no table.
pub(super) fn draw_from_rest(
    candidates: &Snapshot,
    request: &mut Pick<'_>,
    except: Option<usize>,
) -> Option<usize> {
    let tried = request.tried;
    let rest = || {
        let untried = move |&(index, _): &(usize, _)| Some(index) != except && !tried.contains(index);
        candidates.members().iter().map(weight).enumerate().filter(untried)
    };
    let total: u64 = rest().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut point = request.rng.u64(..total);
    for (index, weight) in rest() {
        match point.checked_sub(weight) {
            Some(beyond) => point = beyond,
            None => return Some(index),
        }
    }
    None
}

fn weight(member: &Member) -> u64 {
    u64::from(member.weight.get())
}

// === impl WeightedTable ===

impl WeightedTable {
    pub(super) fn new(candidates: &Snapshot) -> Self {
        let weights: Vec<u64> = candidates.members().iter().map(weight).collect();
        let equal = weights.iter().all(|weight| Some(weight) == weights.first());
        if equal || u32::try_from(weights.len()).is_err() {
            return Self::default();
        }
        // Scaled by the number of columns, the mean weight is the total: each column is that high.
        let count = weights.len() as u64;
        let height = weights.iter().sum();
        Self { columns: fill(weights.iter().map(|weight| weight * count), height), height }
    }

    /// Draws from the candidates that are neither tried nor `except`, each with a probability in proportion to its
    /// weight. `None` when there is none.
    #[inline]
    pub(super) fn draw_untried(
        &self,
        candidates: &Snapshot,
        request: &mut Pick<'_>,
        except: Option<usize>,
    ) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        for _ in 0..REDRAWS {
            let index = self.draw(candidates.len(), request.rng);
            if Some(index) != except && !request.tried.contains(index) {
                return Some(index);
            }
        }
        draw_from_rest(candidates, request, except)
    }

    /// Draws one of `count` indices; `count` must not be zero.
    #[inline]
    pub(super) fn draw(&self, count: usize, rng: &mut fastrand::Rng) -> usize {
        let index = rng.usize(..count);
        // A table of another set (which would be its owner's mistake) must not lead outside this one.
        if self.columns.len() != count {
            return index;
        }
        match self.columns.get(index) {
            Some(column) if rng.u64(..self.height) >= column.threshold => column.alias as usize,
            _ => index,
        }
    }
}

/// Levels the columns: each too low one is filled up from one that is too high, which may become too low by it.
fn fill(scaled: impl Iterator<Item = u64>, height: u64) -> Box<[Column]> {
    let mut columns: Vec<Column> =
        scaled.zip(0..).map(|(threshold, alias)| Column { threshold, alias }).collect();
    let indices = || 0..columns.len();
    let is_low = |&index: &usize| columns.get(index).is_some_and(|column| column.threshold < height);
    let (mut low, mut high): (Vec<usize>, Vec<usize>) = indices().partition(is_low);
    while let (Some(small), Some(&big)) = (low.pop(), high.last()) {
        let Some(small) = columns.get_mut(small) else { break };
        let gap = height - small.threshold;
        small.alias = big as u32;
        let Some(big_column) = columns.get_mut(big) else { break };
        big_column.threshold -= gap;
        if big_column.threshold < height {
            high.pop();
            low.push(big);
        }
    }
    columns.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{random_weights, snapshot};

    /// How much of all columns each member holds: `weight * n`, were the table exact.
    fn held(table: &WeightedTable) -> Vec<u64> {
        let mut held = vec![0; table.columns.len()];
        for (index, column) in table.columns.iter().enumerate() {
            held[index] += column.threshold.min(table.height);
            held[column.alias as usize] += table.height - column.threshold.min(table.height);
        }
        held
    }

    #[test]
    fn a_table_is_exact_for_any_weights() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..500 {
            let weights = random_weights(&mut rng, 1 + round % 60);
            let table = WeightedTable::new(&snapshot(&weights));
            if table.columns.is_empty() {
                assert!(weights.iter().all(|&weight| weight == weights[0]));
                continue;
            }
            let count = weights.len() as u64;
            let expected: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) * count).collect();
            assert_eq!(held(&table), expected, "weights {weights:?}");
        }
    }

    #[test]
    fn equal_weights_keep_no_table() {
        assert!(WeightedTable::new(&snapshot(&[7; 1000])).columns.is_empty());
        assert!(WeightedTable::new(&snapshot(&[])).columns.is_empty());
    }

    #[test]
    fn the_rest_is_drawn_by_weight() {
        let candidates = snapshot(&[1, 2, 3, 4]);
        let tried = crate::balance::testing::tried(&[3]);
        let mut rng = fastrand::Rng::with_seed(2);
        let mut counts = [0_u32; 4];
        for _ in 0..30_000 {
            let index = draw_from_rest(&candidates, &mut Pick::new(0, &tried, &mut rng), Some(0)).unwrap();
            counts[index] += 1;
        }
        assert_eq!((counts[0], counts[3]), (0, 0));
        assert!((11_700..12_300).contains(&counts[1]), "{counts:?}");
    }
}
