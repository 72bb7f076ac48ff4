//! Which provider and key next: by order, then by chance within one order, past those that are to be left alone.

use crate::Timestamp;

/// Something a call can be sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Smaller is tried first.
    pub order: u32,
    /// Its share among those of the same order; 0 is taken only when nothing else of its order is left.
    pub weight: u32,
    /// Why not now: the moment before which it is to be left alone.
    pub not_before: Option<Timestamp>,
}

impl Candidate {
    fn is_free(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }
}

/// The place of the next candidate, none when all that are left must be left alone. `tried` are places; `chance` is any number.
#[must_use]
pub fn choose(candidates: &[Candidate], tried: &[usize], chance: u64, now: Timestamp) -> Option<usize> {
    let free = candidates.iter().enumerate().filter(|(at, candidate)| candidate.is_free(now) && !tried.contains(at));
    let order = free.clone().map(|(_, candidate)| candidate.order).min()?;
    let equals: Vec<(usize, u64)> =
        free.filter(|(_, candidate)| candidate.order == order).map(|(at, candidate)| (at, u64::from(candidate.weight))).collect();
    let total: u64 = equals.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        return equals.first().map(|(at, _)| *at);
    }
    let mut left = chance % total;
    for (at, weight) in equals {
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    None
}

/// When asking again may help, if nothing can be chosen: the first moment at which one becomes free.
#[must_use]
pub fn free_again(candidates: &[Candidate]) -> Option<Timestamp> {
    candidates.iter().filter_map(|candidate| candidate.not_before).min()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000);

    const fn free(order: u32, weight: u32) -> Candidate {
        Candidate { order, weight, not_before: None }
    }

    #[test]
    fn order_goes_before_weight_and_weight_is_a_share() {
        let candidates = [free(2, 100), free(1, 3), free(1, 1), free(1, 0)];
        let chosen: Vec<_> = (0..8).map(|chance| choose(&candidates, &[], chance, NOW)).collect();
        assert_eq!(chosen, [1, 1, 1, 2, 1, 1, 1, 2].map(Some));
        assert_eq!(choose(&candidates, &[1, 2], 7, NOW), Some(3), "without a share, but before another order");
        assert_eq!(choose(&candidates, &[1, 2, 3], 7, NOW), Some(0));
        assert_eq!(choose(&candidates, &[0, 1, 2, 3], 7, NOW), None, "each is tried once");
    }

    #[test]
    fn what_is_to_be_left_alone_is_passed_over() {
        let later = |micros| Candidate { not_before: Some(Timestamp(micros)), ..free(1, 1) };
        let candidates = [later(3000), later(2000), later(1000), free(9, 1)];
        assert_eq!(choose(&candidates, &[], 0, NOW), Some(2), "its time has come");
        assert_eq!(choose(&candidates, &[2], 0, NOW), Some(3));
        assert_eq!(choose(&candidates, &[2, 3], 0, NOW), None);
        assert_eq!(free_again(&candidates[..2]), Some(Timestamp(2000)));
        assert_eq!((free_again(&[]), choose(&[], &[], 0, NOW)), (None, None));
    }

    proptest! {
        #[test]
        fn all_that_are_free_are_tried_once_in_order(
            orders in prop::collection::vec((0..4_u32, 0..5_u32, any::<bool>()), 0..12),
            chances in prop::collection::vec(any::<u64>(), 12),
        ) {
            let candidates: Vec<_> = orders
                .iter()
                .map(|&(order, weight, busy)| Candidate { not_before: busy.then_some(Timestamp(2000)), ..free(order, weight) })
                .collect();
            let mut tried = Vec::new();
            for chance in chances {
                match choose(&candidates, &tried, chance, NOW) {
                    Some(at) => {
                        prop_assert!(!tried.contains(&at) && candidates[at].not_before.is_none());
                        tried.push(at);
                    }
                    None => break,
                }
            }
            prop_assert_eq!(tried.len(), candidates.iter().filter(|candidate| candidate.not_before.is_none()).count());
            prop_assert!(tried.iter().map(|at| candidates[*at].order).is_sorted());
        }
    }
}
