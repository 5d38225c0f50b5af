//! Many measurements of one thing: their middle and how far they spread.

use std::time::Duration;

/// Measurements of one thing, in whatever unit its figure has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Of durations, in µs.
    pub(crate) fn micros(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self(durations.into_iter().map(|duration| duration.as_secs_f64() * 1e6).collect())
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value below which this share of the samples lies (0 to 1); 0 if there is none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// p25 and p75.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_none_of_nothing_is_zero() {
        let samples = Samples((1..=101).rev().map(f64::from).collect());
        assert_eq!((samples.quantile(0.0), samples.median(), samples.quantile(1.0)), (1.0, 51.0, 101.0));
        assert_eq!(samples.spread(), (26.0, 76.0));
        assert_eq!(Samples::default().median(), 0.0);
    }
}
