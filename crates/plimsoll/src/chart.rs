//! A course over time in one line of blocks.
//!
//! Invariant: a chart has the width that was asked for or less, and its last
//! column shows the newest value.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Values from oldest to newest; a full block is `full` and more, the lowest is nothing
/// and less. Of columns that stand for several values, the last counts.
pub(crate) fn sparkline(values: &[i64], full: i64, columns: usize) -> String {
    groups(values.len(), columns)
        .filter_map(|group| values.get(group)?.last())
        .map(|value| block(*value, full))
        .collect()
}

/// Shares from oldest to newest as parts of wholes, and the largest of all that were drawn. A
/// dot stands where the whole is nothing.
pub(crate) fn shares(values: &[(u64, u64)], columns: usize) -> (String, Option<(u64, u64)>) {
    let sums: Vec<(u64, u64)> = groups(values.len(), columns)
        .map(|group| {
            let group = values.get(group).unwrap_or_default();
            let sum = |part: fn(&(u64, u64)) -> u64| {
                group.iter().map(part).fold(0u64, u64::saturating_add)
            };
            (sum(|it| it.0), sum(|it| it.1))
        })
        .collect();
    // a/b < c/d, without dividing.
    let cross = |(a, b): (u64, u64), (c, d): (u64, u64)| {
        (u128::from(a) * u128::from(d)).cmp(&(u128::from(c) * u128::from(b)))
    };
    let counted = sums.iter().copied().filter(|(_, whole)| *whole > 0);
    let most = counted.max_by(|a, b| cross(*a, *b));
    let line = sums.iter().map(|(part, whole)| match most {
        Some(_) if *whole == 0 => '·',
        None => '·',
        Some((most, of)) => {
            // Thousandths of the largest share.
            let height = u128::from(*part) * u128::from(of) * 1000;
            let height = height / (u128::from(*whole) * u128::from(most)).max(1);
            block(i64::try_from(height).unwrap_or(i64::MAX), 1000)
        }
    });
    (line.collect(), most.filter(|(part, _)| *part > 0))
}

/// Which values each column stands for: as many to each, the rest spread evenly.
fn groups(values: usize, columns: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let columns = columns.min(values);
    (0..columns).map(move |at| at * values / columns..(at + 1) * values / columns)
}

/// Only what has reached `full` has a full block.
fn block(value: i64, full: i64) -> char {
    let below = BLOCKS.len() as i64 - 1;
    let height = match full {
        1.. if value >= full => below,
        1.. => value.max(0).saturating_mul(below) / full,
        _ => 0,
    };
    usize::try_from(height)
        .ok()
        .and_then(|height| BLOCKS.get(height))
        .copied()
        .unwrap_or('▁')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_fills_a_block() {
        assert_eq!(
            sparkline(&[-500, 0, 100, 3500, 6899, 6900, 9000], 6900, 60),
            "▁▁▁▄▇██"
        );
        assert_eq!(sparkline(&[], 6900, 60), "");
        assert_eq!(sparkline(&[1, 2], 0, 60), "▁▁");
        assert_eq!(sparkline(&[i64::MIN, i64::MAX], i64::MAX, 60), "▁█");
    }

    #[test]
    fn the_newest_value_is_always_there() {
        for count in 1..150 {
            let mut values = vec![0; count];
            values[count - 1] = 10;
            for columns in 1..70 {
                let line = sparkline(&values, 10, columns);
                assert_eq!(line.chars().count(), count.min(columns));
                assert!(line.ends_with('█'), "{count} in {columns}: {line}");
            }
        }
    }

    #[test]
    fn shares_are_drawn_against_the_largest() {
        let (line, most) = shares(&[(0, 100), (1, 100), (0, 0), (5, 100), (10, 100)], 60);
        assert_eq!((line.as_str(), most), ("▁▁·▄█", Some((10, 100))));
        // Two seconds in one column: what failed of both.
        let (line, most) = shares(&[(0, 100), (1, 100), (5, 100), (10, 100)], 2);
        assert_eq!((line.as_str(), most), ("▁█", Some((15, 200))));
        assert_eq!(shares(&[(0, 0), (0, 0)], 9), ("··".to_owned(), None));
        assert_eq!(shares(&[(0, 7), (0, 7)], 9), ("▁▁".to_owned(), None));
    }
}
