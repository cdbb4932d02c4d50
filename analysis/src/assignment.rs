//! The assignment problem: pairs from two sets of equal size at the least total cost.

use ndarray::ArrayView2;

use crate::Error;

/// The cheapest way to give every row a column of its own.
///
/// Returns the column of every row, a permutation. The sum of its costs is the least there is; of several such
/// permutations it is always the same one.
///
/// # Arguments
/// - `costs`: of every pair, `[row, column]`, square. Any sign.
///
/// # Method
/// One row after the other is added along a shortest augmenting path, found by Dijkstra's algorithm on costs that are
/// reduced by potentials of rows and columns, so that none is negative. O(n^3).
///
/// # Errors
/// [`Error::Shape`] where the costs are not square, [`Error::NotFinite`].
///
/// # Reference
/// R. Jonker and A. Volgenant, Computing 38, 325 (1987).
pub fn assignment(costs: ArrayView2<'_, f64>) -> Result<Vec<usize>, Error> {
    let n = costs.nrows();
    Error::check_shape("costs, columns", n, costs.ncols())?;
    if !costs.iter().all(|cost| cost.is_finite()) {
        return Err(Error::NotFinite { what: "a cost" });
    }
    let (mut row_potential, mut column_potential) = (vec![0.0; n], vec![0.0; n]);
    let (mut row_of, mut column_of) = (vec![None; n], vec![0; n]);
    let mut distance = vec![0.0; n];
    let mut reached_from = vec![0; n];
    for start in 0..n {
        distance.fill(f64::INFINITY);
        let mut open: Vec<usize> = (0..n).collect();
        let mut tree = Vec::new();
        let (mut row, mut length) = (start, 0.0);
        // Before n rows have columns there is a free one, so that `open` does not run empty.
        let end = loop {
            let mut nearest = 0;
            for (place, &column) in open.iter().enumerate() {
                let reduced = costs[[row, column]] - row_potential[row] - column_potential[column];
                if length + reduced < distance[column] {
                    distance[column] = length + reduced;
                    reached_from[column] = row;
                }
                if distance[column] < distance[open[nearest]] {
                    nearest = place;
                }
            }
            let column = open.swap_remove(nearest);
            length = distance[column];
            match row_of[column] {
                Some(next) => {
                    tree.push((column, next));
                    row = next;
                }
                None => break column,
            }
        };
        // Costs along the path become 0, and none negative.
        row_potential[start] += length;
        for (column, row) in tree {
            row_potential[row] += length - distance[column];
            column_potential[column] -= length - distance[column];
        }
        let mut column = end;
        loop {
            let row = reached_from[column];
            row_of[column] = Some(row);
            let before = std::mem::replace(&mut column_of[row], column);
            if row == start {
                break;
            }
            column = before;
        }
    }
    Ok(column_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn total(costs: &Array2<f64>, columns: &[usize]) -> f64 {
        let rows = columns.iter().enumerate();
        rows.map(|(row, &column)| costs[[row, column]]).sum()
    }

    /// The least total over all permutations of what `columns` holds from `first` on.
    fn least(costs: &Array2<f64>, columns: &mut Vec<usize>, first: usize) -> f64 {
        if first == columns.len() {
            return total(costs, columns);
        }
        let mut least_so_far = f64::INFINITY;
        for other in first..columns.len() {
            columns.swap(first, other);
            least_so_far = least_so_far.min(least(costs, columns, first + 1));
            columns.swap(first, other);
        }
        least_so_far
    }

    #[test]
    fn the_cheapest_column_of_each_row_is_not_always_free() {
        let costs = array![[1.0, 2.0, 9.0], [1.0, 5.0, 9.0], [7.0, 8.0, 3.0]];
        assert_eq!(assignment(costs.view()), Ok(vec![1, 0, 2]));
        assert_eq!(assignment(Array2::zeros((0, 0)).view()), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_assigned_is_an_error() {
        let shape = assignment(Array2::zeros((2, 3)).view());
        assert!(matches!(shape, Err(Error::Shape { .. })));
        let infinite = assignment(array![[f64::INFINITY]].view());
        assert_eq!(infinite, Err(Error::NotFinite { what: "a cost" }));
    }

    proptest! {
        #[test]
        fn no_permutation_is_cheaper(
            n in 1_usize..=7, values in prop::collection::vec(-10_i32..10, 49), fine in any::<bool>()
        ) {
            // Small integers make ties; the others make none.
            let costs = Array2::from_shape_fn((n, n), |(i, j)| {
                let cost = f64::from(values[7 * i + j]);
                if fine { cost + (f64::from(values[7 * j + i]) + 0.3 * (7 * i + j) as f64).sin() } else { cost }
            });
            let columns = assignment(costs.view()).unwrap();
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &(0..n).collect::<Vec<_>>());
            let best = least(&costs, &mut sorted, 0);
            prop_assert!((total(&costs, &columns) - best).abs() < 1e-12);
        }
    }
}
