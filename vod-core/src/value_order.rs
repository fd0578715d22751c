//! Value-order decomposition of a residual (arXiv 2606.14475; method, step 5).
//!
//! `order = argsort(r)`, `values[i] = r[order[i]]`: together they are `r`, without loss. The values
//! are the same for every permutation of the channels; they alone are scored. The order says which
//! channel carries what and explains a verdict.

use crate::bank::ValueKind;

/// Largest size of one channel's residual.
const LIMIT: usize = 255;
/// Distinct residual values.
const BINS: usize = 2 * LIMIT + 1;

/// Values (ascending) and order of one residual, in the caller's buffers.
#[derive(Debug, PartialEq, Eq)]
pub struct Decomposition<'s> {
    /// Order statistics of the residual, or of its magnitudes.
    pub values: &'s [i16],
    /// `order[i]` is the channel that holds `values[i]`; equal values by channel.
    pub order: &'s [u16],
}

/// Sorts a residual into values and order: the definition that [`weighted_values`] is held against.
///
/// `values` and `order` are the caller's, at least as long as the residual (longer residuals are
/// cut to the shorter of the two).
pub fn decompose<'s>(
    residual: impl Iterator<Item = i16>,
    kind: ValueKind,
    values: &'s mut [i16],
    order: &'s mut [u16],
) -> Decomposition<'s> {
    let room = values.len().min(order.len());
    let mut len = 0;
    for ((value, channel), r) in values.iter_mut().zip(order.iter_mut()).zip(residual) {
        *value = match kind {
            ValueKind::Signed => r,
            ValueKind::Magnitude => r.saturating_abs(),
        };
        *channel = len as u16;
        len += 1;
    }
    let len = len.min(room);
    let (values, _) = values.split_at_mut(len);
    let (order, _) = order.split_at_mut(len);
    heapsort(order, |&channel| {
        let value = values.get(usize::from(channel)).copied();
        (value.unwrap_or_default(), channel)
    });
    heapsort(values, |&value| value);
    Decomposition { values, order }
}

/// Sorts in place. The standard library's sorts are ten times the code, and hold panics.
fn heapsort<T: Copy, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (1..items.len()).rev() {
        let Some(heap) = items.get_mut(..=end) else {
            return;
        };
        if let [first, .., last] = heap {
            core::mem::swap(first, last);
        }
        if let [heap @ .., _] = heap {
            sift_down(heap, 0, &key);
        }
    }
}

/// Lets the item at `parent` sink until no child is greater.
fn sift_down<T: Copy, K: Ord>(heap: &mut [T], mut parent: usize, key: &impl Fn(&T) -> K) {
    let Some(&item) = heap.get(parent) else {
        return;
    };
    loop {
        let left = 2 * parent + 1;
        let Some(&(mut greatest)) = heap.get(left) else {
            break;
        };
        let mut child = left;
        if let Some(right) = heap.get(left + 1)
            && key(right) > key(&greatest)
        {
            greatest = *right;
            child = left + 1;
        }
        if key(&greatest) <= key(&item) {
            break;
        }
        if let Some(slot) = heap.get_mut(parent) {
            *slot = greatest;
        }
        parent = child;
    }
    if let Some(slot) = heap.get_mut(parent) {
        *slot = item;
    }
}

/// `sum_i weights[i] * values[i]` over the sorted values of a residual, without sorting.
///
/// With `c(x)` the number of values up to `x`, `W(k)` the sum of the first `k` weights and `n` values
/// from `low` to `high`, summation by parts gives
/// `high * W(n) - W(c(low)) - W(c(low + 1)) - ... - W(c(high - 1))`: a histogram and one addition a
/// bin. Same integer as sorting first. Residuals outside `-255..=255` can't come from int8 rows and
/// are clamped.
pub fn weighted_values(
    residual: impl Iterator<Item = i16>,
    kind: ValueKind,
    weights: impl Iterator<Item = i16>,
) -> i64 {
    let mut weights = weights;
    let mut sum = 0i64;
    histogram(residual, kind).fold(|count| {
        sum += weights
            .by_ref()
            .take(usize::from(count))
            .map(i64::from)
            .sum::<i64>();
        sum
    })
}

/// Sums of the first `0..=D` weights, for many residuals of one bank.
#[derive(Debug)]
#[cfg(feature = "std")]
pub(crate) struct WeightSums(heapless::Vec<i32, { crate::bank::MAX_DIMENSION + 1 }>);

#[cfg(feature = "std")]
impl WeightSums {
    pub(crate) const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Adds the weights up, unless that was done.
    pub(crate) fn fill(&mut self, weights: impl Iterator<Item = i16>) {
        if self.0.is_empty() {
            let mut sum = 0;
            let sums = weights.map(|weight| {
                // 4096 weights of 16 bits stay below 2^28.
                sum += i32::from(weight);
                sum
            });
            self.0.extend(core::iter::once(0).chain(sums));
        }
    }

    /// `sums[k]` is the sum of the first `k` weights.
    pub(crate) fn as_slice(&self) -> &[i32] {
        &self.0
    }

    /// What [`weighted_values`] gives with the weights.
    pub(crate) fn weighted_values(
        &self,
        residual: impl Iterator<Item = i16>,
        kind: ValueKind,
    ) -> i64 {
        let mut rank = 0;
        histogram(residual, kind).fold(|count| {
            rank += usize::from(count);
            self.0.get(rank).copied().map_or(0, i64::from)
        })
    }
}

/// How often each residual value occurs.
struct Histogram {
    counts: [u16; BINS],
    /// First and last bin that is not empty.
    first: usize,
    last: usize,
}

fn histogram(residual: impl Iterator<Item = i16>, kind: ValueKind) -> Histogram {
    let mut counts = [0u16; BINS];
    let (mut first, mut last) = (BINS - 1, 0);
    for r in residual {
        let value = match kind {
            ValueKind::Signed => r,
            ValueKind::Magnitude => r.saturating_abs(),
        };
        let bin = usize::from(
            value
                .saturating_add(LIMIT as i16)
                .clamp(0, BINS as i16 - 1)
                .unsigned_abs(),
        );
        first = first.min(bin);
        last = last.max(bin);
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    Histogram {
        counts,
        first,
        last,
    }
}

impl Histogram {
    /// The sum of weighted values; `sum_to` gives the sum of the weights of all values so far, when
    /// told how many more they are.
    fn fold(&self, mut sum_to: impl FnMut(u16) -> i64) -> i64 {
        let Some(counts) = self.counts.get(self.first..=self.last) else {
            return 0;
        };
        let (mut below, mut all) = (0, 0);
        for &count in counts {
            below += all;
            all = sum_to(count);
        }
        (self.last as i64 - LIMIT as i64) * all - below
    }
}
