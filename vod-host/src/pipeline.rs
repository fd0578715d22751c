//! Work on many items at once, results in order.

use std::collections::VecDeque;
use std::sync::mpsc;

use crate::error::Result;

/// Items that are worked on or wait for their turn, for each thread; bounds the memory.
const AHEAD: usize = 4;

/// Runs `work` on all items on rayon's threads while the calling thread takes the results to
/// `sink`, in the order of the items. One thread works on each item; a lone item is worked on by
/// the calling thread, so that what is parallel within it can use all threads.
///
/// # Errors
/// Those of `sink`, after which no more items are started.
pub fn in_order<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(&I) -> T + Sync,
    mut sink: impl FnMut(I, T) -> Result<()>,
) -> Result<()> {
    let mut items = items.into_iter().peekable();
    let within_task = rayon::current_thread_index().is_some();
    let Some(first) = items.next() else {
        return Ok(());
    };
    if within_task || items.peek().is_none() {
        let result = work(&first);
        sink(first, result)?;
        return items.try_for_each(|item| {
            let result = work(&item);
            sink(item, result)
        });
    }
    let limit = rayon::current_num_threads() * AHEAD;
    let mut items = std::iter::once(first).chain(items);
    rayon::in_place_scope(|scope| {
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < limit {
                let Some(item) = items.next() else { break };
                let (done, result) = mpsc::sync_channel(1);
                let work = &work;
                scope.spawn(move |_| {
                    let result = work(&item);
                    // Nobody listens any more after an error of `sink`.
                    let _ = done.send((item, result));
                });
                pending.push_back(result);
            }
            let Some(next) = pending.pop_front() else {
                return Ok(());
            };
            // An error is a panic of that task, which the scope passes on.
            let Ok((item, result)) = next.recv() else {
                return Ok(());
            };
            sink(item, result)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order_and_few_wait() {
        let started = AtomicUsize::new(0);
        let mut handed = 0;
        let limit = rayon::current_num_threads() * AHEAD;
        in_order(
            0..500usize,
            |item| {
                started.fetch_add(1, Ordering::Relaxed);
                if item % 7 == 0 {
                    std::thread::yield_now();
                }
                item * item
            },
            |item, square| {
                assert_eq!((item, square), (handed, handed * handed));
                handed += 1;
                assert!(started.load(Ordering::Relaxed) <= handed + limit);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(handed, 500);
    }

    #[test]
    fn an_error_of_the_sink_ends_it() {
        let started = AtomicUsize::new(0);
        let result = in_order(
            0..10_000usize,
            |_| started.fetch_add(1, Ordering::Relaxed),
            |item, _| match item {
                3 => Err(Error::Data("full".into())),
                _ => Ok(()),
            },
        );
        assert!(matches!(result, Err(Error::Data(_))));
        let limit = rayon::current_num_threads() * AHEAD;
        assert!(started.load(Ordering::Relaxed) <= 4 + limit);
    }

    #[test]
    #[should_panic(expected = "broken")]
    fn a_panic_is_passed_on() {
        let _ = in_order(
            0..100usize,
            |item| assert!(*item != 50, "broken"),
            |_, ()| Ok(()),
        );
    }
}
