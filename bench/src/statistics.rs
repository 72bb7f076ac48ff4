//! Many measurements, few numbers.

use std::time::Duration;

/// A duration as milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^53")]
pub const fn number(count: u64) -> f64 {
    count as f64
}

/// The value that `percent` of all values don't exceed (nearest rank). `None` if there are none.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// What the left one of each pair takes more than the right one. Pairs are measured one right after the other, so what
/// the machine does beside touches both.
pub fn differences(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| left - right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100_u32).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&hundred, 100), Some(100.0));
        assert_eq!(percentile(&hundred, 0), Some(1.0));
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 50), Some(2.0));
        assert_eq!(percentile(&[4.0], 99), Some(4.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn one_outlier_moves_the_99th_but_not_the_median() {
        let mut times = vec![1.0; 50];
        times.push(1_000.0);
        assert_eq!(percentile(&times, 50), Some(1.0));
        assert_eq!(percentile(&times, 99), Some(1_000.0));
    }

    #[test]
    fn the_median_difference_is_that_of_pairs_not_that_of_medians() {
        // The machine was slow in the third and fourth round: both sides were.
        let (left, right) = ([2.0, 2.0, 9.0, 9.0, 2.5], [1.0, 1.0, 8.0, 8.0, 1.0]);
        assert_eq!(differences(&left, &right), [1.0, 1.0, 1.0, 1.0, 1.5]);
        assert_eq!(percentile(&differences(&left, &right), 50), Some(1.0));
        assert!(percentile(&differences(&[1.0], &[3.0]), 50).is_some_and(|added| added < 0.0), "faster is told as well");
    }

    #[test]
    fn a_pair_needs_both_sides() {
        assert_eq!(differences(&[5.0, 6.0], &[1.0]), [4.0]);
    }

    #[test]
    fn durations_are_told_in_milliseconds() {
        assert!((millis(Duration::from_micros(1_500)) - 1.5).abs() < 1e-9);
    }
}
