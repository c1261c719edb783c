//! Medians and ranges of a handful of runs.

/// The middle value; of an even number of values the mean of the two in the middle. 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The smallest and the largest value; (0, 0) for none.
pub fn range(values: &[f64]) -> (f64, f64) {
    let smallest = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let largest = values.iter().copied().reduce(f64::max).unwrap_or(0.0);
    (smallest, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(range(&[4.0, 1.0, 2.0]), (1.0, 4.0));
    }
}
