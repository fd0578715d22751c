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
/// A histogram of the integer residuals gives the ranks of each value; the weights of those ranks
/// are added up and multiplied by the value. Same integer as sorting first. Residuals outside
/// `-255..=255` can't come from int8 rows and are clamped.
pub fn weighted_values(
    residual: impl Iterator<Item = i16>,
    kind: ValueKind,
    weights: impl Iterator<Item = i16>,
) -> i64 {
    let mut counts = [0u16; BINS];
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
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    let mut weights = weights;
    let mut total = 0i64;
    for (bin, &count) in counts.iter().enumerate() {
        if count != 0 {
            let sum: i64 = weights
                .by_ref()
                .take(usize::from(count))
                .map(i64::from)
                .sum();
            total += (bin as i64 - LIMIT as i64) * sum;
        }
    }
    total
}
